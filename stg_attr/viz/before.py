"""Before a solve: the features of an image, and the baseline that stands in their place."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Baseline, FeatureGroups, as_references, default_masks, photograph_baseline

from .image import draw_image
from .picture import Picture, figure_with_axes, with_description
from .pixels import ColourScale, Numbers, as_map, borders
from .source import Array, Example, as_array, checked_position

__all__ = ["preview"]

_MOST_OUTLINED = 2000  # features; the borders of more of them would hide the image
_INCHES = 3.4  # of one image


def preview(
    inputs: Tensor,
    feature_mask: Tensor | None = None,
    baselines: Baseline | None = None,
    *,
    example: int = 0,
    mean: Numbers | None = None,
    std: Numbers | None = None,
) -> Picture:
    """What will be explained, before it is solved: an image with the borders of its features; the baseline.

    Args:
        inputs: images, [batch, channels, height, width] or [batch, height, width].
        feature_mask: as for `explain`; the features that `explain` makes by default.
        baselines: as for `explain`; of several references their mean is drawn.
        example: its place in the batch.
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.

    Raises:
        ArgumentError: the inputs are no images, or mask or baselines do not fit them.
    """
    if inputs.dim() not in (3, 4):
        raise ArgumentError(
            "inputs",
            expected="images, [batch, channels, height, width] or [batch, height, width]",
            found=str(list(inputs.shape)),
            mend="Draw inputs of another kind after the solve, for example with viz.series.",
        )
    number = checked_position("example", example, len(inputs))
    one = _example(inputs, feature_mask, baselines, number)
    scale = ColourScale.of(one, mean, std)
    assert one.shown is not None
    assert one.baseline is not None
    fig, axes = figure_with_axes(1, 2, (2 * _INCHES, _height(one)))
    count = np.unique(one.columns[one.columns >= 0]).size
    said = f"{count} feature{'' if count == 1 else 's'}"
    for ax, image, title in zip(axes[0], (one.shown, one.baseline), (said, "baseline"), strict=True):
        draw_image(ax, scale.colours(image))
        ax.set_title(title, fontsize="medium")
    if count <= _MOST_OUTLINED:
        _draw_borders(axes[0, 0], one)
    return with_description(fig, axes, f"Image divided into {said}, and the baseline.")


def _example(inputs: Tensor, feature_mask: Tensor | None, baselines: Baseline | None, number: int) -> Example:
    """One image with its features, of which none is selected."""
    groups = FeatureGroups.from_mask(
        default_masks((inputs,)) if feature_mask is None else feature_mask, (inputs,)
    )
    shown = photograph_baseline((inputs,), groups) if baselines is None else baselines
    (index,), (references,) = groups.index, as_references(shown, (inputs,))
    shape = tuple(inputs.shape[1:])
    columns = np.broadcast_to(_row(index, number).cpu().numpy(), shape)
    hidden = as_array(_row(references.double().mean(0), number))
    return Example(
        attribution=np.zeros(shape),
        selected=np.zeros(shape, dtype=bool),
        columns=columns,
        shown=as_array(inputs[number]),
        baseline=np.broadcast_to(hidden, shape),
        integral=not inputs.is_floating_point(),
        explanation=None,
        number=number,
    )


def _row(values: Tensor, number: int) -> Tensor:
    return values[number if len(values) > 1 else 0]


def _height(one: Example) -> float:
    height, width = as_map(one.columns).shape
    return float(min(max(_INCHES * height / width, 1.2), 7.0)) + 0.4


def _draw_borders(ax: Axes, one: Example) -> None:
    """White lines within black ones, which can be seen on any image."""
    lines: list[Array] = borders(as_map(one.columns))
    for colour, width in (("black", 1.8), ("white", 0.8)):
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=width), autolim=False)
