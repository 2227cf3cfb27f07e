"""How explanations show themselves: in words, and in notebooks by the picture that is registered here."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

from .records import Status

__all__ = ["describe", "show", "show_with"]


def _as_text(explanation: Any) -> str:
    return f"<pre>{html.escape(repr(explanation))}</pre>"


_pictures: list[Callable[[Any], str]] = [_as_text]


def show_with(picture: Callable[[Any], str]) -> None:
    """Let explanations show themselves in notebooks by a function that returns HTML.

    Pictures stand above explanations and register themselves here, since nothing below may import them.

    Args:
        picture: called with an explanation; where it raises `ImportError`, the evidence is shown as text.
    """
    _pictures[:] = [picture]


def show(explanation: Any) -> str:
    """The HTML of an explanation."""
    try:
        return _pictures[0](explanation)
    except ImportError:
        return _as_text(explanation)


def describe(explanation: Any, example: int) -> str:
    """The evidence of one example of an explanation as a sentence."""
    n = int((explanation.feature_ids[example] >= 0).sum())
    small = explanation.status[example] is Status.SMALL_DIFFERENCE
    redundant = bool(explanation.redundant[example]) and not small
    again = " The rest suffices as well: see sufficient_sets." if redundant else ""
    scores, kept, left = (
        explanation.scores,
        float(explanation.retained[example]),
        float(explanation.remaining[example]),
    )
    often = ""
    if explanation.restarts is not None:
        agreement = float(explanation.restarts.agreement[example])
        often = f" The selections of {len(explanation.restarts)} restarts overlap by {agreement:.0%}."
    parts = (scores.full, scores.baseline, scores.kept, scores.removed)
    full, baseline, shown, rest = (float(part[example]) for part in parts)
    digits = _digits(full, baseline)
    if math.isnan(shown):
        return (
            f"{int(explanation.n_selected[example])} of {n} features are selected; what they keep was not "
            f"measured (score {full:.{digits}g}, baseline {baseline:.{digits}g}). "
            f"{explanation.status[example].value}"
        )
    words = f"keep {kept:.0%} of the score"
    if explanation.certificate is not None:
        words = explanation.certificate.sentence(example)
    words = "are selected" if small else f"{words}; without them {left:.0%} is left"
    return (
        f"{int(explanation.n_selected[example])} of {n} features {words} "
        f"(score {full:.{digits}g}, baseline {baseline:.{digits}g}, "
        f"kept {shown:.{digits}g}, removed {rest:.{digits}g})."
        f"{again}{often} {_status(explanation, example)}"
    )


def _status(explanation: Any, example: int) -> str:
    """The sentence of the status, with the number of features that it is about where there is one."""
    status: Status = explanation.status[example]
    if status is not Status.UNSEEN:
        return str(status.value)
    blind = explanation.learned.blind[example] if explanation.learned is not None else False
    unseen = ((explanation.influence[example] == 0) | blind) & (explanation.feature_ids[example] >= 0)
    return f"{status.value} Features without slopes: {int(unseen.sum())}."


def _digits(one: float, other: float) -> int:
    """How many digits two scores are shown with: more where the first ones are the same."""
    size, difference = max(abs(one), abs(other)), abs(one - other)
    if not 0 < difference < math.inf:
        return 4
    return min(16, 4 + max(0, int(math.log10(size / difference)) - 1))
