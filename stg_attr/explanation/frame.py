"""The rows of `Explanation.to_frame`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .names import value_texts
from .tokens import texts_of_features

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["to_frame"]

_FIELDS = {
    "feature": "feature_ids",
    "active_probability": "active_probabilities",
    "log_alpha": "log_alpha",
    "influence": "influence",
    "effect": "effect",
    "selected": "selected",
}
_SCORES = {"score": "full", "baseline_score": "baseline"}


def to_frame(explanation: Any) -> pd.DataFrame:
    """One row per example and feature; see `Explanation.to_frame`."""
    import pandas as pd

    example, column = (explanation.feature_ids >= 0).nonzero(as_tuple=True)
    values = {name: getattr(explanation, field) for name, field in _FIELDS.items()}
    measured = {"contribution": explanation.contributions, "averaged": explanation.averaged}
    values |= {name: value for name, value in measured.items() if value is not None}
    if explanation.certificate is not None:
        values["certified"] = explanation.certificate.holds.unsqueeze(1) & explanation.selected
    if explanation.restarts is not None:
        low, high = explanation.restarts.interval()
        often = {"frequency": explanation.restarts.frequency, "frequency_low": low, "frequency_high": high}
        values |= often
    picked = {name: value[example, column].cpu() for name, value in values.items()}
    picked |= {name: getattr(explanation.scores, part)[example].cpu() for name, part in _SCORES.items()}
    frame = pd.DataFrame({"example": example.cpu(), **picked})
    if explanation.feature_names is not None:
        names = [explanation.feature_names[i] for i in column.tolist()]
        frame.insert(frame.columns.get_loc("feature") + 1, "name", names)
    elif explanation.tokens is not None:
        texts_of = [texts_of_features(explanation, i) for i in range(len(explanation))]
        words = [texts_of[i][gate] for i, gate in zip(example.tolist(), column.tolist(), strict=True)]
        frame.insert(frame.columns.get_loc("feature") + 1, "name", words)
    if explanation.columns is not None:
        texts = [value_texts(explanation, i) for i in range(len(explanation))]
        cells = [texts[i][gate] for i, gate in zip(example.tolist(), column.tolist(), strict=True)]
        frame.insert(frame.columns.get_loc("active_probability"), "value", cells)
    return frame
