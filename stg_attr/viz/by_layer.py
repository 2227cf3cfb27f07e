"""Components of a model: layers by heads, MLP blocks, channels or units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .colours import SCALE, transparent_colours
from .picture import Picture, colour_bar, evidence_title, figure_for, label_rows, mark_doubt, with_description
from .source import Array, checked_explanation, checked_position, evidence_line

__all__ = ["components"]

_NAME = re.compile(r"(?P<site>.*?)(?:\[(?P<part>\d+)\])?")
_LAYER = re.compile(r"(?P<layer>(?:.*?\.)?\d+)\.(?P<kind>.+)")
_GAP = 0.5  # columns between two kinds of components
_FEW = 32  # columns: more have no numbers of their own


def components(explanation: Explanation, example: int = 0, *, ax: Axes | None = None) -> Picture:
    """Layers from top to bottom, and the components of each from left to right; selected ones are framed.

    The shade is the active probability. Components of one kind, such as heads or MLP blocks, are below each
    other. The name of a layer is that of its components up to the first number: `layers.0.self_attn[3]` is
    head 3 of `layers.0`. Where names have no number, each site is a layer.

    Args:
        explanation: of `ComponentStochasticGates`.
        example: its place in the batch.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: not an explanation, its features have no names, or the example does not exist.
    """
    explanation = checked_explanation(explanation, "explanation")
    number = checked_position("example", example, len(explanation))
    if explanation.feature_names is None:
        raise ArgumentError(
            "explanation",
            expected="one of ComponentStochasticGates, whose features are named",
            found="no feature_names",
            mend="Draw other explanations with viz.bars.",
        )
    grid = _Grid.of(explanation.feature_names)
    heat = explanation.active_probabilities[number].double().cpu().numpy()
    chosen = explanation.selected[number].cpu().numpy()
    width = grid.starts[-1]
    fig, drawn = figure_for(ax, (min(10.0, 2.6 + 0.45 * width), 1.6 + 0.45 * min(len(grid.layers), 24)))
    _draw(drawn, grid, heat, chosen)
    colour_bar(drawn, transparent_colours(), "active probability", inside=ax is not None)
    mark_doubt(drawn, explanation.status[number].doubtful)
    claim = evidence_line(explanation, number)
    evidence_title(drawn, claim, inside=ax is not None)
    names = [name for name, yes in zip(explanation.feature_names, chosen, strict=True) if yes]
    some = ", ".join(names[:12]) + (" and more" if len(names) > 12 else "")
    words = f"{len(heat)} components in {len(grid.layers)} layers; selected: {some or 'none'}. {claim}"
    return with_description(fig, drawn, words.strip())


@dataclass(frozen=True)
class _Grid:
    """Where the components are drawn.

    Attributes:
        layers: names of the rows, from top to bottom.
        kinds: names of groups of columns, from left to right.
        row: of each component, [components].
        column: left edge of each component, [components].
        part: number of each component among those of its site, -1 for the only one, [components].
        starts: left edge of each kind, and one of what would come next.
    """

    layers: list[str]
    kinds: list[str]
    row: NDArray[np.int64]
    column: Array
    part: NDArray[np.int64]
    starts: list[float]

    @classmethod
    def of(cls, names: Sequence[str]) -> _Grid:
        places = [_place(name) for name in names]
        layers = list(dict.fromkeys(layer for layer, _, _ in places))
        kinds = list(dict.fromkeys(kind for _, kind, _ in places))
        starts = [0.0]
        for kind in kinds:
            most = max(part for _, other, part in places if other == kind)
            starts.append(starts[-1] + max(most, 0) + 1 + _GAP)
        column = [starts[kinds.index(kind)] + max(part, 0) for _, kind, part in places]
        row, part = [layers.index(layer) for layer, _, _ in places], [part for *_, part in places]
        return cls(layers, kinds, np.array(row), np.array(column), np.array(part), starts)


def _place(name: str) -> tuple[str, str, int]:
    """Layer, kind and number of a component; -1 for the only one of its site."""
    found = _NAME.fullmatch(name)
    assert found is not None  # it matches every string without line breaks, which no name of a module has
    site, part = found["site"], -1 if found["part"] is None else int(found["part"])
    layer = _LAYER.fullmatch(site)
    return (site, "", part) if layer is None else (layer["layer"], layer["kind"], part)


def _draw(ax: Axes, grid: _Grid, heat: Array, chosen: NDArray[np.bool_]) -> None:
    edge, colours = ax.spines["left"].get_edgecolor(), transparent_colours()
    for row, column, value, kept in zip(grid.row, grid.column, heat, chosen, strict=True):
        cell = Rectangle((column, row), 1, 1, facecolor=colours(SCALE(value)), edgecolor="0.7", linewidth=0.6)
        ax.add_patch(cell)
        if kept:
            frame = Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, fill=False, linewidth=2.2)
            frame.set(edgecolor=edge, zorder=3)
            ax.add_patch(frame)
    ax.set(xlim=(-0.1, grid.starts[-1] - _GAP + 0.1), ylim=(len(grid.layers) + 0.1, -0.1))
    label_rows(ax, np.arange(len(grid.layers)) + 0.5, grid.layers)
    columns, first = np.unique(grid.column, return_index=True)
    parts = ["" if part < 0 else str(part) for part in grid.part[first]]
    ax.set_xticks(columns + 0.5 if len(columns) <= _FEW else [], parts if len(columns) <= _FEW else None)
    for kind, start, end in zip(grid.kinds, grid.starts, grid.starts[1:], strict=False):
        middle = (start + end - _GAP) / 2
        ax.text(middle, -0.2, kind, ha="center", va="bottom", fontsize="small", color=edge, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
