"""Data sets: which features many rows of a table need, as a summary and row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.errors import ArgumentError

from .colours import NEUTRAL, SCALE, heat_colours
from .features import Features, Names, best, feature_names, rows_of
from .picture import Picture, colour_bar, figure_for, label_rows, with_description
from .source import Array, Source
from .tabular import draw_bars

__all__ = ["beeswarm", "importance", "matrix"]

_BINS = 60  # dots of a beeswarm in the same bin of the probability scale are drawn above each other


def importance(
    source: Source, *, names: Names | None = None, top: int = 10, ax: Axes | None = None
) -> Picture:
    """Mean active probability of each feature over rows; a tick marks the share of rows that select it.

    Args:
        source: an explanation of many rows, or attributions [batch, features].
        names: of the features, or of the input's elements; a DataFrame hands over its columns.
        top: how many to draw.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, rows have different features, or the attributions are no
            probabilities.
    """
    rows = _with_same_features(rows_of(source))
    mean, share = _stack(rows, "probabilities").mean(0), _stack(rows, "selected").mean(0)
    chosen = best(mean, share, top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    fig, ax = figure_for(ax, (6.4, 1.2 + 0.32 * len(chosen)))
    ends = np.maximum(mean, share)[chosen]
    draw_bars(ax, mean[chosen], np.ones(len(chosen), dtype=bool), labels, ends)
    ax.plot(
        share[chosen], np.arange(len(chosen)), linestyle="none", marker="|", markersize=16, markeredgewidth=2,
        color="black", label="share of rows that select it",
    )  # fmt: skip
    ax.set_xlabel(f"mean active probability, {len(rows)} rows")
    ax.legend(fontsize="small", loc="lower right")
    shown = ", ".join(f"{label} {mean[i]:.2f}" for label, i in zip(labels, chosen, strict=True))
    return with_description(fig, ax, f"Mean active probability over {len(rows)} rows: {shown}.")


def beeswarm(
    source: Source,
    *,
    inputs: Tensor | NDArray[np.generic] | None = None,
    names: Names | None = None,
    top: int = 10,
    ax: Axes | None = None,
) -> Picture:
    """One dot per row and feature, at its active probability, coloured by the rank of its value.

    Args:
        source: an explanation of many rows, or attributions [batch, features].
        inputs: the rows, in the shape of the attributions; only with plain attributions.
        names: of the features, or of the input's elements; a DataFrame hands over its columns.
        top: how many features to draw, by mean active probability.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, rows have different features, or the attributions are no
            probabilities.
    """
    rows = _with_same_features(rows_of(source, None, inputs))
    table, values = _stack(rows, "probabilities"), _stack(rows, "values")
    chosen = best(table.mean(0), _stack(rows, "selected").mean(0), top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    fig, drawn = figure_for(ax, (7.0, 1.2 + 0.45 * len(chosen)))
    for place, i in enumerate(chosen):
        _draw_swarm(drawn, place, table[:, i], _ranks(values[:, i]))
    label_rows(drawn, range(len(chosen)), labels)
    drawn.set(
        xlim=(-0.03, 1.03), ylim=(len(chosen) - 0.5, -0.5), xlabel=f"active probability, {len(rows)} rows"
    )
    drawn.spines[["top", "right"]].set_visible(False)
    bar = colour_bar(drawn, heat_colours(), "value of the feature, by rank", inside=ax is not None)
    bar.set_ticks([0.0, 1.0], labels=["low", "high"])
    shown = ", ".join(f"{label} {table[:, i].mean():.2f}" for label, i in zip(labels, chosen, strict=True))
    return with_description(
        fig, drawn, f"Active probabilities of {len(rows)} rows by feature; means: {shown}."
    )


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
    rows = _with_same_features(rows_of(source, examples))
    table = _stack(rows, "probabilities")
    chosen = best(table.mean(0), _stack(rows, "selected").mean(0), top)
    labels = [feature_names(names, rows[0])[i] for i in chosen]
    shown = table[:, chosen]
    fig, drawn = figure_for(ax, (7.5, 1.3 + 0.32 * len(chosen)))
    if examples is None:
        drawn.set_xticks([])  # after sorting, a place says nothing about which row it is
        shown = shown[np.lexsort((-shown.round(1)).T[::-1])]  # by the first feature, then the second, ...
    drawn.imshow(shown.T, cmap=heat_colours(), norm=SCALE, aspect="auto", interpolation="nearest")
    label_rows(drawn, range(len(chosen)), labels)
    drawn.set_xlabel(f"{len(rows)} rows" + (", alike ones together" if examples is None else ""))
    colour_bar(drawn, heat_colours(), "active probability", inside=ax is not None)
    means = ", ".join(f"{label} {mean:.2f}" for label, mean in zip(labels, shown.mean(0), strict=True))
    return with_description(
        fig, drawn, f"Heat map of active probabilities, features by {len(rows)} rows; means: {means}."
    )


def _with_same_features(rows: list[Features]) -> list[Features]:
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


def _stack(rows: list[Features], name: str) -> Array:
    """One array of every row, [rows, gates]."""
    return np.stack([np.asarray(getattr(row, name), dtype=np.float64) for row in rows])


def _ranks(values: Array) -> Array:
    """Ranks from 0 to 1; equal values have equal ranks, and NaN stays NaN."""
    ranks = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    distinct, place = np.unique(values[known], return_inverse=True)
    ranks[known] = place / max(len(distinct) - 1, 1) if len(distinct) > 1 else 0.5
    return ranks


def _draw_swarm(ax: Axes, lane: int, x: Array, ranks: Array) -> None:
    ax.axhline(lane, color="0.85", linewidth=0.6, zorder=0)
    y = lane + _offsets(x)
    known = np.isfinite(ranks)
    ax.scatter(x[~known], y[~known], s=9, color=NEUTRAL, linewidths=0)
    if known.any():
        ax.scatter(x[known], y[known], s=9, c=ranks[known], cmap=heat_colours(), norm=SCALE, linewidths=0)


def _offsets(x: Array) -> Array:
    """Vertical offsets of dots, so that dots in the same bin do not overlap: 0, up, down, further up, ..."""
    bins = np.minimum((x * _BINS).astype(int), _BINS - 1)
    offsets = np.zeros(len(x))
    for number in np.unique(bins):
        inside = np.flatnonzero(bins == number)
        k = np.arange(len(inside))
        step = min(0.08, 0.7 / len(inside))
        offsets[inside] = np.where(k % 2 == 1, 1, -1) * ((k + 1) // 2) * step
    return offsets
