"""Effects: the contribution of one feature against its value, over many rows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError
from stg_attr.explanation import Column, Kind

from .colours import KEPT, NEUTRAL, value_colours
from .dataset import doubt, stack, with_same_features
from .features import Features, Names, feature_names, rows_of, with_contributions
from .picture import Picture, figure_for, with_description
from .source import Array, checked_explanation, checked_position, replace_invisible

__all__ = ["scatter"]

_GOLDEN = 0.6180339887498949  # fractional parts of its multiples spread evenly
_FEW = 12  # values: a feature with no more of them gets its dots spread around each
_SPREAD = 0.35  # of the smallest distance of two values
_BINS = 40  # of the histogram
_DAY = 86400.0  # seconds
_NUMBERS = (Kind.NUMBER, Kind.WHOLE)
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
    little around each. Missing cells of a table are at the right; where they decide a colour, it is grey.

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
    values, column = _values("feature", explanation, rows, place)
    x = _with_missing(values, column)
    y = stack(rows, "contributions")[:, place]
    fig, drawn = figure_for(ax, (6.4, 4.2))
    _histogram(drawn, x)
    drawn.axhline(0.0, color=NEUTRAL, linewidth=0.8, zorder=0)
    shown = f"{len(rows)} rows{doubt(explanation)}"
    alt = f"Contribution of {labels[place]} against its value, {shown}, from {y.min():.3g} to {y.max():.3g}"
    if colour is None:
        drawn.scatter(_spread(x), y, s=12, color=KEPT, linewidths=0)
    else:
        other = _place("colour", colour, labels)
        shades = _values("colour", explanation, rows, other)
        _coloured(drawn, _spread(x), y, *shades, labels[other], inside=ax is not None)
        alt += f", coloured by {labels[other]}"
    drawn.margins(y=_HEIGHT / (1 - 2 * _HEIGHT))
    _set_ticks(drawn, x, values, column)
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


def _values(
    what: str, explanation: Explanation, rows: list[Features], place: int
) -> tuple[Array, Column | None]:
    """The values of a feature, [rows], and the column of a table that they are of."""
    values, (first, *others) = stack(rows, "values")[:, place], rows[0].members[place]
    columns = explanation.columns
    if columns is not None and not others and np.isfinite(values).any():
        return values, columns[first]
    if np.isfinite(values).all():
        return values, None
    raise ArgumentError(
        what,
        expected="a feature of one element, with finite values",
        found="several elements, or a value that is not finite",
        mend="Choose another one.",
    )


def _with_missing(values: Array, column: Column | None) -> Array:
    """The values, with missing ones to the right of the others."""
    missing = np.isnan(values)
    if column is None or not missing.any():
        return values
    known = values[~missing]
    beyond = known.max() + (1.0 if _is_coded(known) else 0.1 * (float(np.ptp(known)) or 1.0))
    return np.where(missing, beyond, values)


def _set_ticks(ax: Axes, x: Array, values: Array, column: Column | None) -> None:
    """Write values at the axis as a table has them.

    Args:
        ax: the axes.
        x: where the dots are.
        values: what they stand for; NaN where missing.
        column: of the table, if there is one.
    """
    known = values[np.isfinite(values)]
    if column is not None and (len(known) < len(values) or column.kind not in _NUMBERS):
        ticks = np.unique(known) if _is_coded(x) else _round_ticks(ax, known, column.kind)
        texts = [replace_invisible(column.text(tick)) for tick in ticks]
        if len(known) < len(values):
            ticks, texts = np.append(ticks, x.max()), [*texts, column.text(np.nan)]
        ax.set_xticks(ticks, labels=texts)
    elif _is_coded(x):
        ax.set_xticks(np.unique(x))


def _round_ticks(ax: Axes, known: Array, kind: Kind) -> Array:
    """Ticks for many different values: round numbers, whole days, or some of the texts."""
    low, high = known.min(), known.max()
    if kind in _NUMBERS:
        return np.array([tick for tick in ax.get_xticks() if low <= tick <= high])
    whole = _DAY if kind is Kind.DATE and high - low > _FEW * _DAY else 1.0
    return np.unique(np.round(np.linspace(low, high, 4) / whole) * whole)


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


def _coloured(
    ax: Axes, x: Array, y: Array, other: Array, column: Column | None, label: str, *, inside: bool
) -> None:
    known = np.isfinite(other)
    ax.scatter(x[~known], y[~known], s=12, color=NEUTRAL, linewidths=0)
    x, y, other = x[known], y[known], other[known]
    low, high = np.quantile(other, [0.02, 0.98])  # a few extreme values must not make all others look alike
    scale = Normalize(low, high) if high > low else Normalize(other.min() - 0.5, other.max() + 0.5)
    ax.scatter(x, y, s=12, c=other, cmap=value_colours(), norm=scale, linewidths=0)
    shown = ScalarMappable(scale, value_colours())
    room = {"cax": ax.inset_axes((1.03, 0.0, 0.04, 1.0))} if inside else {"ax": ax, "pad": 0.02}
    bar = ax.figure.colorbar(shown, **room)
    bar.set_label(label, parse_math=False)
    ticks = np.unique(other).tolist() if _is_coded(other) else [low, high] if column is not None else None
    if ticks is not None:
        bar.set_ticks(ticks, labels=None if column is None else [column.text(tick) for tick in ticks])


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
