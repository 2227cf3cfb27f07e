"""Effects: the contribution of one feature against its value, over many rows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .colours import KEPT, NEUTRAL, value_colours
from .dataset import doubt, stack, with_same_features
from .features import Features, Names, feature_names, rows_of, with_contributions
from .picture import Picture, figure_for, with_description
from .source import Array, checked_explanation, checked_position

__all__ = ["scatter"]

_GOLDEN = 0.6180339887498949  # fractional parts of its multiples spread evenly
_FEW = 12  # values: a feature with no more of them gets its dots spread around each
_SPREAD = 0.35  # of the smallest distance of two values
_BINS = 40  # of the histogram
_HEIGHT = 0.1  # of the axes: the highest column of the histogram, which no dot covers


def scatter(
    explanation: Explanation,
    feature: str | int,
    *,
    colour: str | int | None = None,
    names: Names | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The contribution of one feature to the score, against its value, one dot per row.

    Grey columns at the bottom are a histogram of the values. Dots of a feature with few values are spread a
    little around each.

    Args:
        explanation: of many rows.
        feature: its name, or its place among the features.
        colour: another feature, whose value colours the dots.
        names: as for `bars`.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: not an explanation, contributions were not measured, rows have different features, or
            a feature does not exist or has several elements.
    """
    explanation = checked_explanation(explanation, "explanation")
    rows = with_same_features(with_contributions(rows_of(explanation)))
    labels = feature_names(names, rows[0])
    place = _place("feature", feature, labels)
    x, y = _values("feature", rows, place), stack(rows, "contributions")[:, place]
    fig, drawn = figure_for(ax, (6.4, 4.2))
    _histogram(drawn, x)
    drawn.axhline(0.0, color=NEUTRAL, linewidth=0.8, zorder=0)
    shown = f"{len(rows)} rows{doubt(explanation)}"
    alt = f"Contribution of {labels[place]} against its value, {shown}, from {y.min():.3g} to {y.max():.3g}"
    if colour is None:
        drawn.scatter(_spread(x), y, s=12, color=KEPT, linewidths=0)
    else:
        other = _place("colour", colour, labels)
        _coloured(drawn, _spread(x), y, _values("colour", rows, other), labels[other], inside=ax is not None)
        alt += f", coloured by {labels[other]}"
    drawn.margins(y=_HEIGHT / (1 - 2 * _HEIGHT))
    if _is_coded(x):
        drawn.set_xticks(np.unique(x))
    drawn.set_xlabel(f"{labels[place]}, {shown}", parse_math=False)
    drawn.set_ylabel("contribution to the score")
    drawn.spines[["top", "right"]].set_visible(False)
    return with_description(fig, drawn, f"{alt}.")


def _place(what: str, feature: str | int, labels: list[str]) -> int:
    if not isinstance(feature, str):
        return checked_position(what, feature, len(labels))
    if labels.count(feature) == 1:
        return labels.index(feature)
    some = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise ArgumentError(
        what,
        expected=f"one of {some}",
        found=repr(feature),
        mend="Pass feature_names to explain, or names here; or the place of the feature.",
    )


def _values(what: str, rows: list[Features], place: int) -> Array:
    """The values of a feature, [rows]."""
    values = stack(rows, "values")[:, place]
    if np.isfinite(values).all():
        return values
    raise ArgumentError(
        what,
        expected="a feature of one element, with finite values",
        found="several elements, or a value that is not finite",
        mend="Choose another one.",
    )


def _is_coded(x: Array) -> bool:
    """Whether there are few values, each in several rows, as of categories or counts."""
    n = len(np.unique(x))
    return n <= _FEW and 2 * n <= len(x)


def _spread(x: Array) -> Array:
    """The values, with dots of the same value beside each other where there are few values."""
    distinct = np.unique(x)
    if not _is_coded(x) or len(distinct) == 1:
        return x
    width = _SPREAD * np.diff(distinct).min()
    moved: Array = x + width * (np.arange(len(x)) * _GOLDEN % 1 - 0.5)
    return moved


def _coloured(ax: Axes, x: Array, y: Array, other: Array, label: str, *, inside: bool) -> None:
    low, high = np.quantile(other, [0.02, 0.98])  # a few extreme values must not make all others look alike
    scale = Normalize(low, high) if high > low else Normalize(other.min() - 0.5, other.max() + 0.5)
    ax.scatter(x, y, s=12, c=other, cmap=value_colours(), norm=scale, linewidths=0)
    shown = ScalarMappable(scale, value_colours())
    room = {"cax": ax.inset_axes((1.03, 0.0, 0.04, 1.0))} if inside else {"ax": ax, "pad": 0.02}
    bar = ax.figure.colorbar(shown, **room)
    bar.set_label(label, parse_math=False)
    if _is_coded(other):
        bar.set_ticks(np.unique(other).tolist())


def _histogram(ax: Axes, x: Array) -> None:
    """Grey columns in the lowest part of the axes."""
    few = _is_coded(x)
    counts, edges = np.unique(x, return_counts=True)[::-1] if few else np.histogram(x, _BINS)
    width = _SPREAD * np.diff(edges).min() if few and len(edges) > 1 else None
    width = width if few else edges[1] - edges[0]
    centres = edges if few else (edges[:-1] + edges[1:]) / 2
    heights = _HEIGHT * counts / counts.max()
    columns = ax.get_xaxis_transform()
    ax.bar(centres, heights, width or 0.1, color="0.9", zorder=0, transform=columns)
