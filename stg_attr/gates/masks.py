"""Feature masks for common inputs: they say which elements share a gate."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count, warn

from .layout import FEWER, Layout

__all__ = ["column_mask", "default_masks", "grid_mask", "pixel_mask", "position_mask", "superpixel_mask"]

_CHOOSE = "Pass a feature_mask, this or another, to choose them yourself."
_NO_BATCH = "Add a batch dimension with x.unsqueeze(0)."


def default_masks(
    inputs: Sequence[Tensor], *, most_elements: int = 4096, most_steps: int = 1000, cells: int = 14
) -> tuple[Tensor, ...]:
    """Make the masks of inputs for which the user gives none.

    Every element is a feature of its own, except in photographs, volumes, videos and long signals. They get
    about `cells` squared regions, which all channels share:

    - images [batch, channels, height, width] of more than `most_elements` get square cells.
    - volumes and videos [batch, channels, depth, height, width] of more than `most_elements` are cut along
      the depth too.
    - signals [batch, channels, time] of more than `most_steps`, at least four times as many as channels, get
      windows of time.

    If the channels seem to come last, or after the frames of a video, they are taken as such, with a warning.
    Masks of single pixels of a photograph are adversarial noise more often than explanations: Interpretable
    Explanations of Black Boxes by Meaningful Perturbation (Fong, Vedaldi, 2017),
    https://arxiv.org/abs/1704.03296.

    Args:
        inputs: each [batch, ...].
        most_elements: images with more elements than this get cells.
        most_steps: signals with more steps than this get windows.
        cells: about how many cells an image gets along each side.

    Returns:
        One mask per input, with 1 for the batch dimension. The ids of an input begin after those of the input
        before it, so that no gate is shared between inputs.

    Raises:
        ArgumentError: one of the numbers is no whole number, or too small.

    Example:
        >>> photograph, table = torch.zeros(1, 3, 224, 224), torch.zeros(1, 5)
        >>> [mask.unique().numel() for mask in default_masks([photograph, table])]
        [196, 5]
    """
    check_count("most_elements", most_elements, least=0, mend="4096 is the default.")
    check_count("most_steps", most_steps, least=0, mend="1000 is the default.")
    check_count("cells", cells, mend="14 is the default.")
    masks, first = [], 0
    for i, x in enumerate(inputs):
        n, cell = prod(x.shape[1:]), None
        if x.dim() == 3:
            cell = _window(x.shape, f"input {i}", most_elements, most_steps, cells)
        elif x.dim() > 3 and n > most_elements:
            cell = _region(x.shape, f"input {i}", cells)
        mask = torch.arange(n, device=x.device).reshape(1, *x.shape[1:])
        if cell is not None:
            mask = grid_mask(x, cell)
        masks.append(mask + first)
        first += int(mask.max()) + 1 if n else 0
    return tuple(masks)


def _region(shape: tuple[int, ...], what: str, cells: int) -> tuple[int, ...]:
    """The cell of an image, volume or video, for `grid_mask`: square in the plane of the last two."""
    layout = Layout.of(shape)
    sizes = [n for dim, n in enumerate(shape) if dim not in (0, layout.channel)]
    along = round(cells ** (2 / len(sizes)))  # cells along each side
    edge = ceil(sqrt(sizes[-1] * sizes[-2]) / along)
    cell = [*(ceil(n / along) for n in sizes[:-2]), edge, edge]
    if layout.channel > 1:
        cell.insert(layout.channel - 1, shape[layout.channel])
    layout.warn_if_unclear(what, shape, f"Its features are those of {_call(cell)}. {_CHOOSE}")
    return tuple(cell)


def _window(
    shape: tuple[int, ...], what: str, most_elements: int, most_steps: int, cells: int
) -> tuple[int, ...] | None:
    """The window of a long signal, for `grid_mask`; None where each element has a gate of its own."""
    _, first, last = shape
    if last >= FEWER * first:
        return (ceil(last / cells**2),) if last > most_steps else None
    if first >= FEWER * last:
        if first <= most_steps:
            return None
        window = (ceil(first / cells**2), last)
        warn(
            f"{what} of shape {tuple(shape)} is taken as [batch, time, channels]. "
            f"Its features are those of {_call(window)}. {_CHOOSE}"
        )
        return window
    if first * last > most_elements:
        edge = ceil(sqrt(first * last) / cells)
        warn(
            f"{what} of shape {tuple(shape)} has {first * last} features, one for each element, since it may "
            f"be an image, a series or embedded tokens. Pass feature_mask={_call([edge])} for images [batch, "
            "height, width], or position_mask(x) or column_mask(x) for a gate per position or per column."
        )
    return None


def _call(cell: Sequence[int]) -> str:
    return f"grid_mask(x, {cell[0] if len(cell) == 1 else tuple(cell)})"


def grid_mask(x: Tensor, cell: int | tuple[int, ...]) -> Tensor:
    """Cut images, volumes or signals into cells. The elements of a cell, in all channels, share one gate.

    Args:
        x: inputs, [batch, ..., height, width] or [batch, channels, depth, height, width], or others.
        cell: edge of a cell. A number cuts all dimensions after the channels, so cells are squares or cubes;
            [batch, height, width] has no channels. A tuple has an edge for each of as many dimensions at the
            end: (height, width) of an image, (time,) of a signal [batch, channels, time], or (height, width,
            channels) where channels come last. Cells at the far edges may be smaller.

    Returns:
        Ids in the order of the elements, [1, ..., height, width] with 1 for the dimensions that are not cut.

    Raises:
        ArgumentError: `x` is no tensor or has too few dimensions, or a cell has no pixels.

    Example:
        >>> grid_mask(torch.zeros(1, 3, 2, 4), 2)
        tensor([[[[0, 0, 1, 1],
                  [0, 0, 1, 1]]]])
        >>> grid_mask(torch.zeros(1, 2, 4), (1, 2))  # windows of two steps, for each of two channels
        tensor([[[0, 0, 1, 1],
                 [2, 2, 3, 3]]])
        >>> grid_mask(torch.zeros(1, 1, 64, 64, 64), 16).unique().numel()
        64
    """
    _check_tensor(x)
    edges = (cell,) * max(x.dim() - 2, 2) if isinstance(cell, int) else tuple(cell)
    sizes = x.shape[x.dim() - len(edges) :]
    if x.dim() <= len(edges) or 0 in sizes:
        dimensions = {1: "time", 2: "height, width"}.get(len(edges), f"{len(edges)} dimensions to cut")
        raise _wrong_shape(x, f"[batch, ..., {dimensions}]")
    if not edges or min(edges) < 1:
        raise ArgumentError(
            "cell", expected="an edge of at least 1 pixel", found=repr(cell), mend="8 or 16 suit photographs."
        )
    ids = torch.zeros((), dtype=torch.long, device=x.device)
    for n, edge in zip(sizes, edges, strict=True):
        ids = ids.unsqueeze(-1) * ceil(n / edge) + torch.arange(n, device=x.device) // edge
    return ids.reshape(*[1] * (x.dim() - len(edges)), *sizes)


def pixel_mask(x: Tensor) -> Tensor:
    """Give each pixel a gate, which its channels share: `grid_mask` with cells of one pixel.

    Example:
        >>> pixel_mask(torch.zeros(5, 3, 1, 2))
        tensor([[[[0, 1]]]])
    """
    return grid_mask(x, 1)


def position_mask(x: Tensor) -> Tensor:
    """Give each token or time step a gate, which all its values share, for inputs [batch, positions, ...].

    Raises:
        ArgumentError: `x` is no tensor, or has no positions.

    Example:
        >>> position_mask(torch.zeros(5, 3, 16)).shape
        torch.Size([1, 3, 1])
    """
    _check_tensor(x)
    if x.dim() < 2:
        raise _wrong_shape(x, "[batch, positions, ...]")
    return torch.arange(x.shape[1], device=x.device).reshape(1, -1, *[1] * (x.dim() - 2))


def column_mask(x: Tensor) -> Tensor:
    """Give each column or channel of the last dimension a gate, for inputs [batch, ..., columns].

    Raises:
        ArgumentError: `x` is no tensor, or has no columns.

    Example:
        >>> column_mask(torch.zeros(5, 50, 2))
        tensor([[[0, 1]]])
    """
    _check_tensor(x)
    if x.dim() < 2:
        raise _wrong_shape(x, "[batch, ..., columns]")
    return torch.arange(x.shape[-1], device=x.device).reshape(*[1] * (x.dim() - 1), -1)


def superpixel_mask(x: Tensor, n_segments: int = 50, compactness: float = 10.0) -> Tensor:
    """Cut each image into superpixels by SLIC. All channels of a superpixel share one gate.

    SLIC Superpixels Compared to State-of-the-Art Superpixel Methods (Achanta et al., 2012),
    https://doi.org/10.1109/TPAMI.2012.120, as scikit-image implements it.

    Args:
        x: images of 1 or 3 channels, [batch, channels, height, width], with values in any range.
        n_segments: about how many superpixels an image gets.
        compactness: weight of distance against colour; with a larger one superpixels are more like squares.

    Returns:
        Ids from 0 for each image, [batch, 1, height, width]. Each image has superpixels of its own.

    Raises:
        ArgumentError: `x` is not a batch of such images, or scikit-image is not installed.
    """
    _check_tensor(x)
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        mend = "Move or choose channels, with x.movedim(-1, 1) or x[:, :1]; or take grid_mask."
        expected = "[batch, 1 or 3 channels, height, width]"
        raise _wrong_shape(x, expected, mend if x.dim() == 4 else _NO_BATCH)
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "superpixel_mask",
            expected="scikit-image",
            found=str(error),
            mend="Install it with: pip install scikit-image. Or use grid_mask, which needs nothing.",
        ) from error
    # SLIC weighs colour against distance, so each image is scaled to [0, 1] first
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    images = ((x - low) / (high - low).clamp_min(1e-12)).movedim(1, 3).detach().cpu().double().numpy()
    labels = [
        slic(image if image.shape[2] == 3 else image.repeat(3, 2), n_segments, compactness, start_label=0)
        for image in images
    ]
    ids = [torch.as_tensor(label, dtype=torch.long, device=x.device) for label in labels]
    return torch.stack(ids).unsqueeze(1)


def _check_tensor(x: Any) -> None:
    if not isinstance(x, Tensor):
        raise ArgumentError(
            "x",
            expected="the inputs, a tensor [batch, ...]",
            found=type(x).__name__,
            mend="Pass the tensor that is explained: torch.as_tensor(rows). To group columns, write the ids "
            "of their groups as feature_mask: torch.tensor([[0, 0, 1]]).",
        )


def _wrong_shape(x: Tensor, expected: str, mend: str = _NO_BATCH) -> ArgumentError:
    return ArgumentError("x", expected=expected, found=str(tuple(x.shape)), mend=mend)
