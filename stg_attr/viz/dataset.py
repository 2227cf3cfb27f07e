"""Data sets: which features many rows of a table need, as a summary and row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError
from stg_attr.explanation.records import counted

from .colours import KEPT, NEUTRAL, SCALE, heat_colours, value_colours
from .features import Features, Names, best, feature_names, rows_of
from .picture import Picture, colour_bar, figure_for, label_rows, with_description
from .source import Array, Source, percent
from .tabular import draw_bars

__all__ = ["beeswarm", "doubt", "importance", "matrix", "stack", "with_same_features"]

_BINS = 60  # dots of a beeswarm in the same bin of the probability scale are drawn above each other


def importance(
    source: Source, *, names: Names | None = None, top: int = 10, ax: Axes | None = None
) -> Picture:
    """Mean size of each feature's contribution over rows, and the share of rows that need it.

    Where contributions were not measured, and of plain attributions, the mean active probability; a tick
    marks the share of rows that select the feature.

    Args:
        source: an explanation of many rows, or attributions [batch, features].
        names: of the features, or of the input's elements; a DataFrame hands over its columns. Those of the
            explanation by default.
        top: how many to draw.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, rows have different features, or the attributions are no
            probabilities.
    """
    rows = with_same_features(rows_of(source))
    share = stack(rows, "selected").mean(0)
    if all(row.contributions is not None for row in rows):
        return _mean_sizes(rows, share, names, top, ax, doubt(source))
    mean = stack(rows, "probabilities").mean(0)
    chosen = best(mean, share, top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    fig, ax = figure_for(ax, (6.4, 1.2 + 0.32 * len(chosen)))
    ends = np.maximum(mean, share)[chosen]
    draw_bars(ax, mean[chosen], np.ones(len(chosen), dtype=bool), labels, ends)
    ax.plot(
        share[chosen], np.arange(len(chosen)), linestyle="none", marker="|", markersize=16, markeredgewidth=2,
        color="black", label="share of rows that select it",
    )  # fmt: skip
    ax.set_xlabel(f"mean active probability, {counted(len(rows), 'row')}")
    ax.legend(fontsize="small", loc="lower right")
    shown = ", ".join(f"{label} {mean[i]:.2f}" for label, i in zip(labels, chosen, strict=True))
    return with_description(fig, ax, f"Mean active probability over {counted(len(rows), 'row')}: {shown}.")


def _mean_sizes(
    rows: list[Features], share: Array, names: Names | None, top: int, ax: Axes | None, doubt: str
) -> Picture:
    mean = np.abs(stack(rows, "contributions")).mean(0)
    chosen = best(mean, share, top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    fig, drawn = figure_for(ax, (7.2, 1.2 + 0.32 * len(chosen)))
    drawn.barh(range(len(chosen)), mean[chosen], height=0.7, color=KEPT)
    ends = [f"{mean[i]:.3g}, needed in {percent(share[i])}" for i in chosen]
    for place, text in enumerate(ends):
        drawn.annotate(
            text, (mean[chosen[place]], place), (4, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip
    label_rows(drawn, range(len(chosen)), labels)
    xlabel = f"mean size of the contribution to the score, {counted(len(rows), 'row')}{doubt}"
    # room for the text at the ends
    drawn.set(xlim=(0, 2 * mean.max() or 1), ylim=(len(chosen) - 0.4, -0.6))
    drawn.set_xlabel(xlabel, loc="right")
    drawn.spines[["top", "right"]].set_visible(False)
    shown = ", ".join(f"{label} {end}" for label, end in zip(labels, ends, strict=True))
    return with_description(
        fig, drawn, f"Mean size of contributions over {counted(len(rows), 'row')}{doubt}: {shown}."
    )


def beeswarm(
    source: Source,
    *,
    inputs: Tensor | NDArray[np.generic] | None = None,
    names: Names | None = None,
    top: int = 10,
    ax: Axes | None = None,
) -> Picture:
    """One dot per row and feature, at its contribution to the score, coloured by the rank of its value.

    Where contributions were not measured, and of plain attributions, at its active probability.

    Args:
        source: an explanation of many rows, or attributions [batch, features].
        inputs: the rows, in the shape of the attributions; only with plain attributions.
        names: of the features, or of the input's elements; a DataFrame hands over its columns. Those of the
            explanation by default.
        top: how many features to draw, by mean size of the contribution, or mean active probability.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, rows have different features, or the attributions are no
            probabilities.
    """
    rows = with_same_features(rows_of(source, None, inputs))
    signed = all(row.contributions is not None for row in rows)
    table, values = stack(rows, "contributions" if signed else "probabilities"), stack(rows, "values")
    mean = np.abs(table).mean(0)
    chosen = best(mean, stack(rows, "selected").mean(0), top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    fig, drawn = figure_for(ax, (7.0, 1.2 + 0.45 * len(chosen)))
    low, high = (float(table[:, chosen].min()), float(table[:, chosen].max())) if signed else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    for place, i in enumerate(chosen):
        _draw_swarm(drawn, place, table[:, i], _ranks(values[:, i]), (table[:, i] - low) / (high - low))
    label_rows(drawn, range(len(chosen)), labels)
    what, edge = "contribution to the score" if signed else "active probability", 0.03 * (high - low)
    xlabel = f"{what}, {counted(len(rows), 'row')}{doubt(source)}"
    drawn.set(xlim=(low - edge, high + edge), ylim=(len(chosen) - 0.5, -0.5))
    drawn.set_xlabel(xlabel, loc="right")
    if signed:
        drawn.axvline(0.0, color=NEUTRAL, linewidth=0.8, zorder=0)
    drawn.spines[["top", "right"]].set_visible(False)
    bar = colour_bar(drawn, value_colours(), "value of the feature, by rank", inside=ax is not None)
    bar.set_ticks([0.0, 1.0], labels=["low", "high"])
    shown = ", ".join(f"{label} {mean[i]:.2f}" for label, i in zip(labels, chosen, strict=True))
    what = "Contributions" if signed else "Active probabilities"
    means = "mean sizes" if signed else "means"
    alt = f"{what} of {counted(len(rows), 'row')} by feature{doubt(source)}; {means}: {shown}."
    return with_description(fig, drawn, alt)


def doubt(source: Source) -> str:
    """How many rows have a doubtful status, as a part of a sentence."""
    n = sum(status.doubtful for status in source.status) if isinstance(source, Explanation) else 0
    return f", {n} of them doubtful" if n else ""


def matrix(
    source: Source,
    examples: Sequence[int] | None = None,
    *,
    names: Names | None = None,
    top: int = 10,
    ax: Axes | None = None,
) -> Picture:
    """Heat map of features by rows; rows that need the same features are next to each other.

    Args:
        source: an explanation of many rows, or attributions [batch, features].
        examples: rows in the order to draw; all, sorted, by default.
        names: of the features, or of the input's elements; a DataFrame hands over its columns.
        top: how many features to draw, by mean active probability.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, rows have different features, or the attributions are no
            probabilities.
    """
    rows = with_same_features(rows_of(source, examples))
    table = stack(rows, "probabilities")
    chosen = best(table.mean(0), stack(rows, "selected").mean(0), top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    shown = table[:, chosen]
    fig, drawn = figure_for(ax, (7.5, 1.3 + 0.32 * len(chosen)))
    if examples is None:
        drawn.set_xticks([])  # after sorting, a place says nothing about which row it is
        shown = shown[np.lexsort((-shown.round(1)).T[::-1])]  # by the first feature, then the second, ...
    drawn.imshow(shown.T, cmap=heat_colours(), norm=SCALE, aspect="auto", interpolation="nearest")
    label_rows(drawn, range(len(chosen)), labels)
    drawn.set_xlabel(counted(len(rows), "row") + (", alike ones together" if examples is None else ""))
    colour_bar(drawn, heat_colours(), "active probability", inside=ax is not None)
    means = ", ".join(f"{label} {mean:.2f}" for label, mean in zip(labels, shown.mean(0), strict=True))
    return with_description(
        fig,
        drawn,
        f"Heat map of active probabilities, features by {counted(len(rows), 'row')}; means: {means}.",
    )


def with_same_features(rows: list[Features]) -> list[Features]:
    """Check that all rows have the same features, and return them."""
    if not rows:
        raise ArgumentError(
            "source", expected="at least one row", found="none", mend="Explain some rows first."
        )
    if any(row.ids != rows[0].ids or row.members != rows[0].members for row in rows):
        raise ArgumentError(
            "source",
            expected="rows with the same features",
            found="a feature_mask that differs from row to row",
            mend="Draw rows one by one with viz.bars, or explain them with one mask for all.",
        )
    return rows


def stack(rows: list[Features], name: str) -> Array:
    """One array of every row, [rows, gates]."""
    return np.stack([np.asarray(getattr(row, name), dtype=np.float64) for row in rows])


def _ranks(values: Array) -> Array:
    """Ranks from 0 to 1; equal values have equal ranks, and NaN stays NaN."""
    ranks = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    distinct, place = np.unique(values[known], return_inverse=True)
    ranks[known] = place / max(len(distinct) - 1, 1) if len(distinct) > 1 else 0.5
    return ranks


def _draw_swarm(ax: Axes, lane: int, x: Array, ranks: Array, across: Array) -> None:
    """Draw the dots of one feature.

    Args:
        ax: where to draw.
        lane: place of the feature.
        x: one number per row.
        ranks: of the values of the feature, in [0, 1] or NaN.
        across: the same numbers as places between the ends of the picture, in [0, 1].
    """
    ax.axhline(lane, color="0.85", linewidth=0.6, zorder=0)
    y = lane + _offsets(across)
    known = np.isfinite(ranks)
    ax.scatter(x[~known], y[~known], s=9, color=NEUTRAL, linewidths=0)
    if known.any():
        ax.scatter(x[known], y[known], s=9, c=ranks[known], cmap=value_colours(), norm=SCALE, linewidths=0)


def _offsets(x: Array) -> Array:
    """Vertical offsets of dots, so that dots in the same bin do not overlap: 0, up, down, further up, ...

    The bin with most dots is the widest; the distances of all others are the same as there.
    """
    bins = np.minimum((x * _BINS).astype(int), _BINS - 1)
    offsets = np.zeros(len(x))
    most = np.bincount(bins, minlength=1).max() if len(x) else 1
    step = min(0.08, 0.8 / most)
    for number in np.unique(bins):
        inside = np.flatnonzero(bins == number)
        k = np.arange(len(inside))
        offsets[inside] = np.where(k % 2 == 1, 1, -1) * ((k + 1) // 2) * step
    return offsets
