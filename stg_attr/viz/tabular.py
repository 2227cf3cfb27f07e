"""Tables: which features of one row are needed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation

from .colours import KEPT
from .features import Names, Values, feature_names, feature_values, rows_of
from .picture import Picture, evidence_title, figure_for, label_rows, with_description
from .source import Array, Source, evidence_line

__all__ = ["bars"]


def bars(
    source: Source,
    example: int = 0,
    *,
    names: Names | None = None,
    values: Values | None = None,
    top: int = 10,
    inputs: Tensor | NDArray[np.generic] | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The most active features of one row; selected ones are filled, the others hollow.

    Args:
        source: an explanation, or attributions, [batch, features] or [features].
        example: its place in the batch.
        names: of the features, or of the input's elements, which name their group together; of a DataFrame
            the columns are taken.
        values: of the features, to write beside the names; the input's own by default.
        top: how many to draw.
        inputs: the rows, in the shape of the attributions; only with plain attributions.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, or the attributions are no probabilities.

    Example:
        >>> import torch
        >>> from stg_attr import viz
        >>> fig, ax = viz.bars(torch.tensor([0.1, 0.9]), names=["width", "height"], values=[3.0, 4.0])
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['height = 4', 'width = 3']
    """
    (row,) = rows_of(source, [example], inputs)
    chosen = row.best(top)
    labels = _labels(chosen, feature_names(names, row), feature_values(values, row))
    fig, drawn = figure_for(ax, (6.4, 1.3 + 0.32 * len(chosen)))
    draw_bars(drawn, row.probabilities[chosen], row.selected[chosen], labels, row.probabilities[chosen])
    drawn.set_xlabel("active probability")
    claim = evidence_line(source, example) if isinstance(source, Explanation) else ""
    evidence_title(drawn, claim, inside=ax is not None)
    shown = ", ".join(f"{label} {p:.2f}" for label, p in zip(labels, row.probabilities[chosen], strict=True))
    return with_description(fig, drawn, f"Bars of active probability: {shown}. {claim}".strip())


def draw_bars(ax: Axes, lengths: Array, filled: NDArray[np.bool_], labels: list[str], ends: Array) -> None:
    """Draw horizontal bars on the scale from 0 to 1, the first at the top; numbers stand behind `ends`."""
    places = np.arange(len(lengths))
    faces = [KEPT if full else "none" for full in filled]
    ax.barh(places, lengths, color=faces, edgecolor=KEPT, height=0.7)
    for place, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        ax.text(end + 0.01, place, f"{length:.2f}", va="center", fontsize="small")
    label_rows(ax, places, labels)
    ax.set_ylim(len(lengths) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.12)  # room for the numbers; the scale itself ends at 1
    ax.xaxis.set_major_locator(MultipleLocator(0.25))
    ax.spines[["top", "right"]].set_visible(False)


def _labels(chosen: list[int], names: list[str], values: list[str]) -> list[str]:
    return [f"{names[i]} = {values[i]}" if values[i] else names[i] for i in chosen]
