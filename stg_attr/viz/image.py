"""Images: pictures of one image on one pair of axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from .colours import KEPT, SCALE, dimming_colours, heat_colours
from .picture import Picture, colour_bar, figure_for, mark_doubt, with_description
from .pixels import ColourScale, Numbers, as_map, borders
from .source import SELECTED_FROM, Array, Example, Source, evidence_line, read_example

__all__ = ["contour", "heatmap", "kept", "overlay", "removed", "superpixels"]

Pixels = Tensor | NDArray[np.generic]

_DIMS = (2, 3)


def heatmap(source: Source, example: int = 0, *, which: int = 0, ax: Axes | None = None) -> Picture:
    """Active probability of every pixel, on the fixed scale from 0 to 1.

    Args:
        source: an explanation, or attributions, [batch, channels, height, width], [channels, height, width],
            [height, width, channels] or [height, width]. A pixel shows its most active channel.
        example: its place in the batch.
        which: the input to draw, where an explanation has several.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: the attributions are no image, or no probabilities.
    """
    one = read_example(source, example, dims=_DIMS, which=which)
    fig, drawn = _image_figure(ax, one, bar=True)
    draw_heat(drawn, one)
    colour_bar(drawn, heat_colours(), "active probability", inside=ax is not None)
    mark_doubt(drawn, one.doubtful)
    return with_description(fig, drawn, f"Heat map of active probabilities: {_words(one)}.")


def overlay(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The image with its selection outlined and plain, and the rest dimmed, the more the less active it is.

    Args:
        source: an explanation, or attributions as in `heatmap`.
        example: its place in the batch.
        which: the input to draw, where an explanation has several.
        inputs: the image, in the shape of the attributions; only with plain attributions.
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: the example cannot be shown as an image, or its attributions are no probabilities.
    """
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs)
    scale = ColourScale.of(one, mean, std)
    fig, drawn = _image_figure(ax, one, bar=True)
    draw_overlay(drawn, one, scale)
    colour_bar(drawn, dimming_colours(), "active probability", inside=ax is not None)
    mark_doubt(drawn, one.doubtful)
    return with_description(fig, drawn, f"Image whose other pixels are dimmed: {_words(one)}.")


def contour(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The image in its own colours, with a line around the selection; takes the arguments of `overlay`."""
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs)
    scale = ColourScale.of(one, mean, std)
    fig, ax = _image_figure(ax, one)
    draw_image(ax, scale.colours(not_none(one.shown)))
    draw_outline(ax, one)
    mark_doubt(ax, one.doubtful)
    return with_description(fig, ax, f"Image with the selected pixels outlined: {_words(one)}.")


def kept(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    baselines: Pixels | float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The image that the model was given when only the selection was kept.

    Takes the arguments of `overlay`, and `baselines`: what hidden pixels show, 0 by default; only with plain
    attributions.
    """
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs, baselines=baselines)
    scale = ColourScale.of(one, mean, std)
    fig, ax = _image_figure(ax, one)
    draw_kept(ax, one, scale)
    mark_doubt(ax, one.doubtful)
    return with_description(fig, ax, f"Image of the selected pixels alone: {_words(one)}.")


def removed(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    baselines: Pixels | float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    ax: Axes | None = None,
) -> Picture:
    """The image that the model was given without the selection; takes the arguments of `kept`."""
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs, baselines=baselines)
    scale = ColourScale.of(one, mean, std)
    fig, ax = _image_figure(ax, one)
    draw_removed(ax, one, scale)
    mark_doubt(ax, one.doubtful)
    return with_description(fig, ax, f"Image without the selected pixels: {_words(one)}.")


def superpixels(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    ax: Axes | None = None,
) -> Picture:
    """`overlay` with the borders of all features; takes its arguments."""
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs)
    scale = ColourScale.of(one, mean, std)
    fig, drawn = _image_figure(ax, one, bar=True)
    draw_overlay(drawn, one, scale)
    lines = borders(as_map(one.columns))
    drawn.add_collection(LineCollection(lines, colors="white", linewidths=0.8, alpha=0.8), autolim=False)
    colour_bar(drawn, dimming_colours(), "active probability", inside=ax is not None)
    count = np.unique(one.columns[one.columns >= 0]).size
    mark_doubt(drawn, one.doubtful)
    return with_description(fig, drawn, f"Image divided into {count} features: {_words(one)}.")


def draw_image(ax: Axes, colours: Array) -> None:
    """Draw an image without ticks; it is grey if it has one channel."""
    ax.imshow(colours, cmap="gray", norm=SCALE, interpolation=_interpolation(colours.shape))
    ax.set_axis_off()


def draw_heat(ax: Axes, one: Example) -> None:
    """Draw the active probabilities of one example."""
    heat = as_map(one.attribution)
    ax.imshow(heat, cmap=heat_colours(), norm=SCALE, interpolation=_interpolation(heat.shape))
    ax.set_axis_off()


def draw_overlay(ax: Axes, one: Example, scale: ColourScale) -> None:
    """Draw the image, dim what is not selected by its active probability, and outline the selection."""
    draw_image(ax, scale.colours(not_none(one.shown)))
    shown = np.where(as_map(one.selected), 1.0, as_map(one.attribution))
    ax.imshow(shown, cmap=dimming_colours(), norm=SCALE, interpolation="nearest")
    draw_outline(ax, one)


def draw_kept(ax: Axes, one: Example, scale: ColourScale) -> None:
    """Draw the image with its selection alone; a note says if nothing is selected."""
    draw_image(ax, scale.colours(not_none(one.kept)))
    if not one.selected.any():
        _note(ax, "nothing kept")


def draw_removed(ax: Axes, one: Example, scale: ColourScale) -> None:
    """Draw the image without its selection; a note says if that is nothing or everything."""
    draw_image(ax, scale.colours(not_none(one.removed)))
    if not one.selected.any():
        _note(ax, "nothing removed")
    elif (one.selected | (one.columns < 0)).all():
        _note(ax, "everything removed")


def draw_outline(ax: Axes, one: Example) -> None:
    """Draw a line around the selected pixels: yellow inside black, so that it can be seen on any image."""
    lines = borders(as_map(one.selected), outer=True)
    for colour, width in (("black", 2.4), ("#F0E442", 1.2)):
        drawn = LineCollection(lines, colors=colour, linewidths=width, capstyle="projecting", clip_on=False)
        ax.add_collection(drawn, autolim=False)


def not_none(image: Array | None) -> Array:
    """The image, for the type checker: `ColourScale.of` has refused examples without one."""
    assert image is not None
    return image


def _words(one: Example) -> str:
    if one.explanation is not None:
        return evidence_line(one.explanation, one.number)
    chosen = as_map(one.selected)
    return f"{int(chosen.sum())} of {chosen.size} pixels are at {SELECTED_FROM} or more"


def _image_figure(ax: Axes | None, one: Example, *, bar: bool = False) -> tuple[Figure, Axes]:
    height, width = as_map(one.columns).shape
    tall = min(max(4.0 * height / width, 1.5), 8.0)
    return figure_for(ax, (5.2 if bar else 4.2, tall + 0.3))


def _interpolation(shape: tuple[int, ...]) -> str:
    """Sharp pixels for small images; smooth ones where several pixels share a dot of the picture."""
    return "nearest" if max(shape[:2]) < 256 else "auto"


def _note(ax: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": KEPT, "boxstyle": "round"}
    ax.text(0.5, 0.08, text, transform=ax.transAxes, ha="center", va="bottom", color="black", bbox=box)
