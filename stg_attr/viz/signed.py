"""Signed bars: what each feature adds to the score of one row, as bars from zero and as a waterfall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stg_attr.attribution import Explanation
from stg_attr.explanation import rounded

from .colours import LOWERS, NEUTRAL, RAISES
from .features import Features
from .picture import label_rows
from .source import Array

__all__ = ["Shares", "draw_shares", "draw_steps"]

_ROOM = 0.22  # of the width of the axes: room for the numbers at the ends of the bars
_MOST_DECIMALS = 6
_PALE = 0.35  # opacity of the face of a feature that is not needed


@dataclass(frozen=True)
class Shares:
    """What some features of a row add to its score, largest first, and the others together.

    Attributes:
        values: contributions, [rows of the picture].
        needed: whether each is selected, bool [rows of the picture].
        labels: name and value of each.
        full: score of the row.
        baseline: mean score of the baseline rows: what the contributions start from.
        doubtful: whether the status says so; the bars are then hatched and grey.
        whose: whose score `full` is.
    """

    values: Array
    needed: NDArray[np.bool_]
    labels: list[str]
    full: float
    baseline: float
    doubtful: bool
    whose: str = "this row"

    @classmethod
    def of(
        cls, explanation: Explanation, example: int, row: Features, chosen: list[int], labels: list[str]
    ) -> Shares:
        """Those of the chosen features, and of all others in one row at the end.

        Args:
            explanation: which has the scores.
            example: its place in the batch.
            row: the features of the example, with contributions.
            chosen: features to show, in order.
            labels: of the chosen ones.
        """
        assert row.contributions is not None
        values, needed = row.contributions[chosen], row.selected[chosen]
        n_others = len(row.ids) - len(chosen)
        if n_others:
            others = row.contributions.sum() - values.sum()
            values, needed = np.append(values, others), np.append(needed, False)
            labels = [*labels, f"{n_others} other feature{'s' if n_others > 1 else ''}"]
        scores, doubtful = explanation.scores, explanation.status[example].doubtful
        full, baseline = float(scores.full[example]), float(scores.baseline[example])
        whose = "this row" if explanation.population is None else "mean of the rows"
        return cls(values, needed, labels, full, baseline, doubtful, whose)

    @property
    def words(self) -> str:
        """The bars in words."""
        rows = zip(self.labels, self.values, self.needed, strict=True)
        return ", ".join(f"{label} {value:+.3g}{' (needed)' * bool(full)}" for label, value, full in rows)


def draw_shares(ax: Axes, shares: Shares) -> None:
    """Draw bars from zero: to the right where a feature raises the score, to the left where it lowers it."""
    low, high = min(0.0, shares.values.min()), max(0.0, shares.values.max())
    _draw(ax, shares, np.zeros(len(shares.values)), (low, high))
    ax.axvline(0.0, color=NEUTRAL, linewidth=0.8)


def draw_steps(ax: Axes, shares: Shares) -> None:
    """Draw steps from the score of the baseline, at the bottom, to that of the row, at the top."""
    ends = shares.full - np.append(0.0, np.cumsum(shares.values)[:-1])
    starts = ends - shares.values
    steps = np.concatenate([starts, ends])
    _draw(ax, shares, starts, (steps.min(), steps.max()))
    for place, start in enumerate(starts[:-1]):
        ax.plot([start, start], [place + 0.35, place + 0.65], color=NEUTRAL, linewidth=0.8)
    ax.set_ylim(len(starts), -0.6)
    bottom, top, stated = rounded((starts[-1], shares.full, shares.baseline), shares.full - starts[-1])
    # contributions are measured with some of the reference rows, and scores are stated for others
    name = "baseline" if bottom == stated else "contributions start at"
    ax.annotate(
        f"{shares.whose} {top}", (shares.full, -0.6), (0, 2), textcoords="offset points",
        ha="center", va="bottom", fontsize="small",
    )  # fmt: skip
    ax.annotate(
        f"{name} {bottom}", (starts[-1], len(starts)), (4, 2), textcoords="offset points",
        va="bottom", fontsize="small",
    )  # fmt: skip
    for score, y in ((starts[-1], len(starts)), (shares.full, -0.6)):
        ax.plot([score, score], [y, y + (0.25 if y < 0 else -0.65)], color=NEUTRAL, linewidth=0.8)


def _draw(ax: Axes, shares: Shares, starts: Array, limits: tuple[float, float]) -> None:
    places = np.arange(len(shares.values))
    low, high = limits
    margin = ((high - low) or 1.0) * _ROOM
    numbers = _signed(shares.values)
    rows = zip(places, starts, shares.values, shares.needed, numbers, strict=True)
    for place, start, value, needed, text in rows:
        colour = NEUTRAL if shares.doubtful else RAISES if value >= 0 else LOWERS
        (bar,) = ax.barh(place, value, left=start, height=0.7, edgecolor=colour, color=colour)
        if not needed:
            bar.set_facecolor((*bar.get_facecolor()[:3], _PALE))
        if shares.doubtful:
            bar.set(hatch="////", facecolor="none", linestyle="-" if needed else ":")
        side = 1 if value >= 0 else -1
        ax.annotate(
            text, (start + value, place), (4 * side, 0), textcoords="offset points", va="center",
            ha="left" if side > 0 else "right", fontsize="small",
        )  # fmt: skip
    label_rows(ax, places, shares.labels)
    for label, needed in zip(ax.get_yticklabels(), shares.needed, strict=True):
        label.set_fontweight("bold" if needed else "normal")
    ax.set_ylim(len(places) - 0.4, -0.6)
    ax.set_xlim(
        low - margin * bool((shares.values < 0).any()), high + margin * bool((shares.values >= 0).any())
    )
    ax.spines[["top", "right"]].set_visible(False)


def _signed(values: Array) -> list[str]:
    """Numbers with a sign, and so many decimals that the largest has three digits."""
    largest = float(np.abs(values).max()) if len(values) else 0.0
    decimals = max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 2
    return [f"{value:+.{decimals}f}" if decimals < _MOST_DECIMALS else f"{value:+.3g}" for value in values]
