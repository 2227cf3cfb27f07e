"""Points of a curve: an explanation read at another measured number of features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from stg_attr.batch import Batch
from stg_attr.errors import ArgumentError, check_share
from stg_attr.select import Ranking

from .records import Curve

__all__ = ["point_of", "read_at"]

E = TypeVar("E", bound=Batch)


def read_at(explanation: E, point: Tensor) -> E:
    """The explanation at one point of its curve for each example; the model is not run.

    Args:
        explanation: an `Explanation` with a measured curve.
        point: places along the curve, long [batch].
    """
    known: Any = explanation
    index = point.to(known.log_alpha.device).unsqueeze(1)
    visible = known.visible
    ranking = Ranking.of(known.log_alpha, visible)
    selected = ranking.top(known.curve.n_open.gather(1, index))[0]
    log_alpha = ranking.at(selected, known.gates.half)
    log_alpha = torch.where(visible.any(1, keepdim=True), log_alpha, known.log_alpha)
    probabilities = known.gates.active_probability(log_alpha)
    scores = replace(
        known.scores,
        kept=known.curve.kept.gather(1, index).squeeze(1),
        removed=known.curve.removed.gather(1, index).squeeze(1),
    )
    found: E = replace(
        known,
        attributions=known.laid_out(probabilities),
        log_alpha=log_alpha,
        active_probabilities=probabilities,
        selected=selected,
        scores=scores,
        certificate=None,
        restarts=None,
    )
    return found


def point_of(explanation: Any, budget: float | None, retain: float | None) -> Tensor:
    """The measured point that `Explanation.at` reads for each example, long [batch].

    Raises:
        ArgumentError: not exactly one of the two is given, or it is outside its range.
    """
    if (budget is None) == (retain is None):
        raise ArgumentError(
            "at",
            expected="either budget or retain",
            found="both" if budget is not None else "neither",
            mend="For example explanation.at(budget=0.1) or explanation.at(retain=0.9).",
        )
    asked = budget if budget is not None else retain
    mend = "It is a share, not a count or a percentage."
    check_share("budget" if retain is None else "retain", asked, zero=True, mend=mend)
    assert asked is not None
    most = asked * (explanation.feature_ids >= 0).sum(1, keepdim=True) + 1e-6
    curve: Curve = explanation.curve
    return curve.largest(most) if retain is None else curve.smallest(asked)
