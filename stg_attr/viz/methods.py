"""Comparison: attributions of one example by several methods, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .colours import KEPT, NEUTRAL, REMOVED, SCALE, heat_colours
from .features import Names, best
from .image import draw_image, not_none
from .picture import Picture, figure_with_axes, label_rows, with_description
from .pixels import ColourScale, Numbers, channel_axis
from .source import Array, Source, as_array, checked_position, read_example, replace_invisible

__all__ = ["comparison"]

Attributions = Source | tuple[Tensor, ...]


@dataclass(frozen=True)
class _Method:
    """Attributions of one method.

    Attributes:
        name: of the method.
        values: of one example, in the shape of the input.
        limit: the number at the end of the scale; 1 for active probabilities.
        is_probability: whether they are active probabilities of gates.
    """

    name: str
    values: Array
    limit: float
    is_probability: bool

    @property
    def colours(self) -> Colormap:
        """Cividis for probabilities; for signed values orange to purple, different with all colour vision."""
        return heat_colours() if self.is_probability else colormaps["PuOr_r"]

    @property
    def scale(self) -> Normalize:
        """From 0 to 1 for probabilities, else from minus the limit to the limit."""
        return SCALE if self.is_probability else Normalize(-self.limit, self.limit)

    @property
    def title(self) -> str:
        """The name, and the scale of the picture."""
        if self.is_probability:
            return f"{self.name}\n0 to 1"
        if not self.values.any():
            return f"{self.name}\nall zero"
        return f"{self.name}\n" + ("0 to " if (self.values >= 0).all() else "±") + f"{self.limit:.2g}"


def comparison(
    methods: Mapping[str, Attributions],
    example: int = 0,
    *,
    which: int = 0,
    inputs: Tensor | NDArray[np.generic] | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    names: Names | None = None,
    top: int = 10,
) -> Picture:
    """One example, explained by several methods: explanations, or any attributions that Captum returns.

    Active probabilities keep their scale from 0 to 1. Every other method is scaled by its own largest
    absolute value, which its title states, and pixels show the sum over channels.

    Args:
        methods: explanations or attributions by name, all [batch, ...], of one shape: images with height and
            width, or rows of features.
        example: its place in the batch.
        which: the input to draw, where there are several.
        inputs: the images, to draw beside the maps; those of an explanation by default.
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.
        names: of the features of rows; those of the first explanation by default.
        top: how many features of rows to draw, by their largest share of any method's scale.

    Returns:
        The figure and its axes: the image, if any, and one per method.

    Raises:
        ArgumentError: no methods, different shapes, or numbers that are not finite.
    """
    read_methods = [_method(name, source, example, which) for name, source in methods.items()]
    shape = _common_shape(read_methods)
    if len(shape) == 1:
        return _rows(read_methods, _known_names(methods, shape[0]) if names is None else names, top)
    image = _image(methods, example, which, inputs, mean, std)
    return _maps(read_methods, image)


def _known_names(methods: Mapping[str, Attributions], count: int) -> Names | None:
    """The names of the first explanation that has one for each element, if there is one."""
    known = (source.feature_names for source in methods.values() if isinstance(source, Explanation))
    return next((names for names in known if names is not None and len(names) == count), None)


def _method(name: str, source: Attributions, example: int, which: int) -> _Method:
    if isinstance(source, Explanation):
        return _Method(
            replace_invisible(name),
            read_example(source, example, dims=(), which=which).attribution,
            1.0,
            True,
        )
    part = source[checked_position("which", which, len(source))] if isinstance(source, tuple) else source
    values = as_array(part)
    values = values[checked_position("example", example, len(values))]
    if not np.isfinite(values).all():
        raise ArgumentError(
            f"methods[{name!r}]",
            expected="finite numbers",
            found=f"{int((~np.isfinite(values)).sum())} that are NaN or infinite",
            mend="Replace them, for example with torch.nan_to_num, if you know where they come from.",
        )
    limit = float(np.abs(values).max()) if values.size else 0.0
    return _Method(replace_invisible(name), values, limit or 1.0, False)


def _common_shape(methods: list[_Method]) -> tuple[int, ...]:
    shapes = {method.values.shape for method in methods}
    if len(shapes) == 1:
        return shapes.pop()
    found = ", ".join(f"{method.name} {method.values.shape}" for method in methods) or "no methods"
    raise ArgumentError(
        "methods",
        expected="attributions of one shape",
        found=found,
        mend="Pass a dictionary of names and attributions of the same inputs, each [batch, ...].",
    )


def _image(
    methods: Mapping[str, Attributions],
    example: int,
    which: int,
    inputs: Tensor | NDArray[np.generic] | None,
    mean: Numbers | None,
    std: Numbers | None,
) -> Array | None:
    """The colours of the image, from `inputs` or from the first explanation."""
    explanation = next((s for s in methods.values() if isinstance(s, Explanation)), None)
    if inputs is not None:
        blank = np.zeros(as_array(inputs).shape)
        one = read_example(blank, example, dims=(blank.ndim - 1,), inputs=inputs)
    elif explanation is not None:
        one = read_example(explanation, example, dims=(), which=which)
    else:
        return None
    return ColourScale.of(one, mean, std).colours(not_none(one.shown))


def _maps(methods: list[_Method], image: Array | None) -> Picture:
    maps = [_flat(method) for method in methods]
    height, width = maps[0].shape
    count = len(maps) + (image is not None)
    fig, axes = figure_with_axes(
        1, count, (2.3 * count + 0.3, min(max(2.2 * height / width, 0.8), 6.0) + 0.9)
    )
    if image is not None:
        _draw_input(axes[0, 0], image)
    for ax, method, heat in zip(axes[0, count - len(maps) :], methods, maps, strict=True):
        _draw_map(ax, method, heat)
    names = ", ".join(method.title.replace("\n", " from ") for method in methods)
    return with_description(fig, axes[0], f"Attributions of one image by {len(methods)} methods: {names}.")


def _draw_input(ax: Axes, image: Array) -> None:
    draw_image(ax, image)
    ax.set_title("input\n", fontsize="medium")
    bar = _bar_below(ax, ax.get_images()[0])  # invisible; it makes the image as large as the maps
    bar.ax.tick_params(colors="none")
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_visible(False)


def _bar_below(ax: Axes, shown: AxesImage) -> Colorbar:
    bar = ax.figure.colorbar(shown, ax=ax, location="bottom", fraction=0.06, pad=0.03)
    bar.ax.tick_params(labelsize="x-small")
    return bar


def _flat(method: _Method) -> Array:
    """One value per pixel, [height, width]: the most active channel, or the sum over channels."""
    channel = channel_axis(method.values.shape)
    if channel is None:
        return method.values
    flat: Array = method.values.max(channel) if method.is_probability else method.values.sum(channel)
    return flat


def _draw_map(ax: Axes, method: _Method, heat: Array) -> None:
    limit = float(np.abs(heat).max()) or 1.0
    drawn = method if method.is_probability else _Method(method.name, heat, limit, False)
    shown = ax.imshow(heat, cmap=drawn.colours, norm=drawn.scale, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(drawn.title, fontsize="medium", parse_math=False)
    _bar_below(ax, shown)


def _rows(methods: list[_Method], names: Names | None, top: int) -> Picture:
    share = np.stack([np.abs(method.values) / method.limit for method in methods])
    chosen = best(share.max(0), share.mean(0), top)
    labels = _labels(names, share.shape[1])
    fig, axes = figure_with_axes(1, len(methods), (1.8 + 2.2 * len(methods), 1.4 + 0.3 * len(chosen)))
    for ax, method in zip(axes[0], methods, strict=True):
        _draw_row(ax, method, chosen)
        label_rows(ax, range(len(chosen)), [labels[i] for i in chosen] if ax is axes[0, 0] else [])
    listed = "; ".join(f"{m.name}: {labels[int(np.abs(m.values).argmax())]}" for m in methods)
    return with_description(
        fig, axes[0], f"Attributions of one row by {len(methods)} methods; the largest of {listed}."
    )


def _draw_row(ax: Axes, method: _Method, chosen: list[int]) -> None:
    values = method.values[chosen]
    ax.barh(
        range(len(chosen)), values, color=[KEPT if value >= 0 else REMOVED for value in values], height=0.7
    )
    ax.axvline(0.0, color=NEUTRAL, linewidth=0.8)
    low = 0.0 if (method.values >= 0).all() else -1.05 * method.limit
    ax.set(xlim=(low, 1.05 * method.limit), ylim=(len(chosen) - 0.4, -0.6))
    ax.tick_params(axis="x", labelsize="small")
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_title(method.title, fontsize="medium", parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)


def _labels(names: Names | None, count: int) -> list[str]:
    given = (
        [f"feature {i}" for i in range(count)]
        if names is None
        else [replace_invisible(str(name)) for name in names]
    )
    if len(given) != count:
        raise ArgumentError(
            "names",
            expected=f"{count}, one per feature",
            found=str(len(given)),
            mend="Pass them in the order of the columns; a DataFrame hands over its column names.",
        )
    return given
