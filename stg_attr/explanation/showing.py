"""How explanations show themselves: in words, and in notebooks by the picture that is registered here."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

from .names import labels
from .records import Status, counted, telling_share

__all__ = ["claim", "describe", "in_lines", "percent", "rounded", "show", "show_with", "status_sentence"]

_OF_NO_FEATURE = (
    "input and baseline",
    "selected are",
    "the references that the search was shown",
)  # what sentences begin with that begin with no feature
_DEPENDS_BEFORE_THE_SEARCH = (
    "Depends on the reference: no feature can be selected with references that score as the input does; give "
    "others, or a fixed baseline that scores otherwise."
)
_MOST_LINES = 8  # examples whose evidence is printed
_MOST_NAMED = 3  # selected features that a sentence lists


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


def in_lines(explanation: Any) -> str:
    """An explanation as text: what it cost, and the evidence of its first examples."""
    n = len(explanation)
    evaluations = f"{explanation.n_evaluations.float().mean():.0f} evaluations each"
    lines = [f"Explanation of {counted(n, 'example')}, {evaluations}, seed {explanation.seed}"]
    lines += [f"  {i}: {explanation.describe(i)}" for i in range(min(n, _MOST_LINES))]
    return "\n".join([*lines, "  ..."] if n > _MOST_LINES else lines)


def describe(explanation: Any, example: int) -> str:
    """The evidence of one example of an explanation as sentences."""
    said = claim(explanation, example, named=True)
    sentence = said[0].upper() + said[1:] if said.startswith(_OF_NO_FEATURE) else said
    parts = [f"{sentence}."]
    if _is_measured(explanation, example) and bool(explanation.selected[example].any()):
        certificate = explanation.certificate
        if certificate is not None and explanation.status[example].tells_shares:
            parts.append(_they(explanation, example, certificate.sentence(example, takes_away(explanation))))
    if explanation.population is not None:
        kept = explanation.population.sentence(int(explanation.n_selected[example]))
        parts += [_they(explanation, example, kept)] if kept else []
    if explanation.restarts is not None:
        agreement = float(explanation.restarts.agreement[example])
        parts.append(f"The selections of {len(explanation.restarts)} restarts overlap by {agreement:.0%}.")
    return " ".join([*parts, status_sentence(explanation, example)])


def claim(explanation: Any, example: int, *, named: bool = False) -> str:
    """What the selected features do to the score, from that of the baseline to that of the input.

    Args:
        explanation: the evidence.
        example: its place in the batch.
        named: list the selected features, if they have names.
    """
    scores = explanation.scores
    parts = [float(part[example]) for part in (scores.baseline, scores.full, scores.kept, scores.removed)]
    baseline, full, kept, removed = rounded(parts, parts[1] - parts[0])
    n_selected = int(explanation.n_selected[example])
    who = _who(explanation, example, named)
    if explanation.status[example] is Status.NOTHING_TO_EXPLAIN:
        return f"{_OF_NO_FEATURE[0]} score {full} and {baseline}"
    if explanation.status[example] is Status.REFERENCE_DEPENDENT and not n_selected:
        return f"{_OF_NO_FEATURE[2]} score as the input does ({full}), others do not"
    if not _is_measured(explanation, example):
        return (
            f"{_OF_NO_FEATURE[1]} {who}; what they keep was not measured (score {full}, baseline {baseline})"
        )
    if not n_selected:
        return f"{who} are needed: the score is {full}, that of the baseline {baseline}"
    share = float(explanation.retained[example])
    small = not explanation.status[example].tells_shares
    bring = "brings" if n_selected == 1 else "bring"
    said = f"{who} {bring} the score from {baseline} (baseline) to {kept} of {full}"
    if not small and telling_share(share) and not (named and explanation.certificate is not None):
        said += f" ({percent(share)})"
    if math.isnan(parts[3]):
        return said
    them, left = ("it", "the score") if n_selected == 1 else ("them", "it")
    if bool(explanation.redundant[example]) and not small:
        instead = f"other features can stand in for {them} (without {them} {removed}): see sufficient_sets"
        return f"{said}; {instead}"
    return f"{said}; without {them} {left} is {removed}"


_SINGULAR = {"keep": "keeps", "take": "takes", "move": "moves", "have": "has", "are": "is"}


def takes_away(explanation: Any) -> bool:
    """Whether the objective asks what removing features takes away, and not what they keep."""
    return (explanation.objective or "").startswith("Delete")


def _they(explanation: Any, example: int, said: str) -> str:
    """A sentence about the selected features; `said` begins with a verb in the plural."""
    if int(explanation.n_selected[example]) != 1:
        return f"They {said}."
    return f"It {', '.join(_singular(part) for part in said.split(', '))}."


def _singular(said: str) -> str:
    verb, space, rest = said.partition(" ")
    return _SINGULAR.get(verb, verb) + space + rest


def _is_measured(explanation: Any, example: int) -> bool:
    return not math.isnan(float(explanation.scores.kept[example]))


def _who(explanation: Any, example: int, named: bool) -> str:
    """The selected features: some of their names, with values, or how many of how many they are."""
    n = int((explanation.feature_ids[example] >= 0).sum())
    columns = explanation.selected[example].nonzero().squeeze(1).tolist()
    nameless = explanation.feature_names is None and explanation.tokens is None
    if not named or nameless or not columns:
        return f"{len(columns)} of {n} features"
    contributions = explanation.contributions
    if contributions is not None:  # the largest first
        columns.sort(key=lambda column: -abs(float(contributions[example, column].nan_to_num())))
    shown = labels(explanation, example, columns[:_MOST_NAMED])
    more = len(columns) - len(shown)
    last = f"{more} more of {n} features" if more else shown.pop() if len(shown) > 1 else ""
    return f"{', '.join(shown)} and {last}" if last else shown[0]


def status_sentence(explanation: Any, example: int) -> str:
    """The sentence of the status, with the number of features that it is about where there is one."""
    status: Status = explanation.status[example]
    if status is Status.REFERENCE_DEPENDENT and not bool(explanation.selected[example].any()):
        return _DEPENDS_BEFORE_THE_SEARCH
    if status is not Status.UNSEEN:
        return str(status.value)
    blind = explanation.learned.blind[example] if explanation.learned is not None else False
    unseen = ((explanation.influence[example] == 0) | blind) & (explanation.feature_ids[example] >= 0)
    return f"{status.value} Features without slopes: {int(unseen.sum())}."


def rounded(scores: Sequence[float], difference: float) -> list[str]:
    """Scores with as many decimals as tell apart what differs by so much; four digits where nothing does.

    Example:
        >>> rounded([-0.9612, -1.1493], 0.2881)
        ['-0.96', '-1.15']
        >>> rounded([100000015.0, 100000000.0], 15.0)
        ['100000015', '100000000']
    """
    size = abs(difference)
    if not 0 < size < math.inf:
        return [f"{score:.4g}" for score in scores]
    place = math.floor(math.log10(size))
    decimals = 1 - place if place < 0 else max(0, 2 - place)
    return [
        f"{round(score, decimals) + 0.0:.15g}" if math.isfinite(score) else str(score) for score in scores
    ]


def percent(share: float) -> str:
    """A share as a percentage; zero has no sign, and a share that is not finite is unknown."""
    return f"{round(100 * share):d}%" if math.isfinite(share) else "an unknown share"
