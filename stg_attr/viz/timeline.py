"""Time series: channels above each other over one time axis, shaded where gates are active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.errors import ArgumentError, warn

from .colours import KEPT, SCALE, transparent_colours
from .features import shortened
from .picture import Picture, colour_bar, evidence_title, figure_for, label_rows, mark_doubt, with_description
from .source import Array, Example, Source, as_array, evidence_line, read_example

__all__ = ["series", "time_first"]

_FILL = 0.8  # share of the height of its row that a channel uses


def series(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Tensor | NDArray[np.generic] | None = None,
    names: Sequence[str] | None = None,
    times: Sequence[float] | Tensor | NDArray[np.generic] | None = None,
    channels_last: bool | None = None,
    ax: Axes | None = None,
) -> Picture:
    """Every channel in a row of its own, from its smallest to its largest value, shaded where it is active.

    A bar at the bottom of the row marks selected spans.

    Args:
        source: an explanation, or attributions, [batch, channels, time], [channels, time] or [time].
        example: its place in the batch.
        which: the input to draw, where an explanation has several.
        inputs: the series, in the shape of the attributions; only with plain attributions.
        names: of the channels.
        times: of the steps, ascending; 0, 1, ... by default.
        channels_last: the shapes are [batch, time, channels] and [time, channels] instead. None for channels
            first, with a warning if there are more channels than steps.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, times do not ascend, or the attributions are no probabilities.
    """
    one = read_example(source, example, dims=(1, 2), which=which, inputs=inputs)
    heat, chosen, values = _lanes(one, channels_last)
    n_channels, n_steps = heat.shape
    labels = _names(names, n_channels)
    steps = _times(times, n_steps)
    fig, drawn = figure_for(ax, (8.0, 1.4 + 0.65 * min(n_channels, 12)))
    for lane in range(n_channels):
        _draw_lane(drawn, lane, steps, heat[lane], chosen[lane], values[lane])
    _lane_axes(drawn, labels, steps)
    colour_bar(drawn, transparent_colours(), "active probability", inside=ax is not None)
    mark_doubt(drawn, one.doubtful)
    claim = "" if one.explanation is None else evidence_line(one.explanation, one.number)
    evidence_title(drawn, claim, inside=ax is not None)
    return with_description(fig, drawn, _words(labels, chosen, steps, claim))


def _lanes(one: Example, channels_last: bool | None) -> tuple[Array, NDArray[np.bool_], Array]:
    """Probabilities, selection and values, [channels, time]."""
    shown = np.full(one.attribution.shape, np.nan) if one.shown is None else one.shown
    if one.attribution.ndim not in (1, 2):
        raise ArgumentError(
            "attributions",
            expected="[channels, time] or [time] for one example",
            found=str(one.attribution.shape),
            mend="Draw images with viz.panel and tables with viz.bars.",
        )
    is_transposed = time_first(one.attribution.shape, channels_last)
    attribution, selected, values = (
        values.T if is_transposed else np.atleast_2d(values)
        for values in (one.attribution, one.selected, shown)
    )
    return attribution, selected, values


def time_first(shape: tuple[int, ...], channels_last: bool | None) -> bool:
    """Whether the values of one example are [time, channels]; a warning where this is not said but likely."""
    if channels_last is None and len(shape) == 2 and shape[0] > shape[1]:
        warn(
            f"The series is drawn as {shape[0]} channels of {shape[1]} steps. If it is {shape[0]} steps of "
            f"{shape[1]} channels, pass channels_last=True; if not, pass channels_last=False."
        )
    return len(shape) == 2 and bool(channels_last)


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return [f"channel {i}" for i in range(count)] if count > 1 else [""]
    if len(names) != count:
        raise ArgumentError(
            "names",
            expected=f"{count}, one per channel",
            found=str(len(names)),
            mend="Name every channel, or set channels_last if time comes first.",
        )
    return shortened([str(name) for name in names])


def _times(times: Sequence[float] | Tensor | NDArray[np.generic] | None, count: int) -> Array:
    steps = np.arange(count, dtype=np.float64) if times is None else as_array(times)
    if steps.shape != (count,) or not (np.diff(steps) > 0).all():
        raise ArgumentError(
            "times",
            expected=f"{count} ascending numbers",
            found=f"shape {steps.shape}" if steps.shape != (count,) else "numbers that do not ascend",
            mend="Sort the steps; give dates as numbers, for example seconds.",
        )
    return steps


def _edges(steps: Array) -> Array:
    """Edges between the cells of the steps, in the middle between two steps, [steps + 1]."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])


def _draw_lane(
    ax: Axes, lane: int, steps: Array, heat: Array, chosen: NDArray[np.bool_], values: Array
) -> None:
    edges = _edges(steps)
    ax.pcolormesh(edges, [lane, lane + 1], heat[None], cmap=transparent_colours(), norm=SCALE, zorder=0)
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 0.0)
    middle, span = lane + 0.5, high - low
    height = (values - (low + high) / 2) / span * _FILL if span > 0 else np.zeros_like(values)
    if np.isfinite(values).any():
        colour = ax.spines["left"].get_edgecolor()
        ax.plot(steps, middle - height, color=colour, linewidth=1.1)
    starts, ends = _spans(chosen)
    ax.hlines(np.full(len(starts), lane + 0.96), edges[starts], edges[ends], color=KEPT, linewidth=3)


def _spans(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first step of each run of selected steps, and the step after its last."""
    step = np.diff(np.pad(chosen, 1).astype(np.int8))
    return np.flatnonzero(step == 1), np.flatnonzero(step == -1)


def _lane_axes(ax: Axes, labels: Sequence[str], steps: Array) -> None:
    edges, count = _edges(steps), len(labels)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(count, 0), xlabel="time")
    label_rows(ax, np.arange(count) + 0.5, labels)
    ax.tick_params(axis="y", length=0)
    for lane in range(1, count):
        ax.axhline(lane, color="0.7", linewidth=0.6, zorder=1)


def _words(labels: Sequence[str], chosen: NDArray[np.bool_], steps: Array, claim: str) -> str:
    parts = []
    for label, row in zip(labels, chosen, strict=True):
        starts, ends = _spans(row)
        spans = [f"{steps[a]:g} to {steps[b - 1]:g}" for a, b in zip(starts[:5], ends[:5], strict=True)]
        if spans:
            more = " and more" if len(starts) > len(spans) else ""
            parts.append(f"{label or 'the series'} at {', '.join(spans)}{more}")
    return f"Time series; selected spans: {'; '.join(parts) or 'none'}. {claim}".strip()
