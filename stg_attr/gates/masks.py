"""Feature masks for common inputs: they say which elements share a gate."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count

__all__ = ["column_mask", "default_masks", "grid_mask", "pixel_mask", "position_mask", "superpixel_mask"]


def default_masks(
    inputs: Sequence[Tensor], *, most_elements: int = 4096, cells: int = 14
) -> tuple[Tensor, ...]:
    """Make the masks of inputs for which the user gives none.

    Every element is a feature of its own, except in photographs: images [batch, channels, height, width] of
    more than `most_elements` get square cells, about `cells` by `cells` of them. Masks of single pixels of a
    photograph are adversarial noise more often than explanations: Interpretable Explanations of Black Boxes
    by Meaningful Perturbation (Fong, Vedaldi, 2017), https://arxiv.org/abs/1704.03296.

    Args:
        inputs: each [batch, ...].
        most_elements: images with more elements than this get cells.
        cells: about how many cells such an image gets along each side.

    Returns:
        One mask per input, with 1 for the batch dimension. The ids of an input begin after those of the input
        before it, so that no gate is shared between inputs.

    Raises:
        ArgumentError: `most_elements` or `cells` is no whole number, or too small.

    Example:
        >>> photograph, table = torch.zeros(1, 3, 224, 224), torch.zeros(1, 5)
        >>> [mask.unique().numel() for mask in default_masks([photograph, table])]
        [196, 5]
    """
    check_count("most_elements", most_elements, least=0, mend="4096 is the default.")
    check_count("cells", cells, mend="14 is the default.")
    masks, first = [], 0
    for x in inputs:
        n = prod(x.shape[1:])
        if x.dim() >= 4 and n > most_elements:
            mask = grid_mask(x, ceil(sqrt(x.shape[-1] * x.shape[-2]) / cells))
        else:
            mask = torch.arange(n, device=x.device).reshape(1, *x.shape[1:])
        masks.append(mask + first)
        first += int(mask.max()) + 1 if n else 0
    return tuple(masks)


def grid_mask(x: Tensor, cell: int | tuple[int, int]) -> Tensor:
    """Cut images into cells. The elements of a cell, in all channels, share one gate.

    Args:
        x: images, [batch, ..., height, width].
        cell: edge of a square cell in pixels, or the cell's (height, width). Cells at the right and lower
            edges may be smaller.

    Returns:
        Ids from the top left, row by row, [1, ..., height, width] with 1 for the dimensions between.

    Raises:
        ArgumentError: `x` is not a batch of images, or a cell has no pixels.

    Example:
        >>> grid_mask(torch.zeros(1, 3, 2, 4), 2)
        tensor([[[[0, 0, 1, 1],
                  [0, 0, 1, 1]]]])
    """
    height, width = _image_size(x)
    rows, columns = (cell, cell) if isinstance(cell, int) else cell
    if rows < 1 or columns < 1:
        raise ArgumentError(
            "cell", expected="an edge of at least 1 pixel", found=repr(cell), mend="8 or 16 suit photographs."
        )
    row = torch.arange(height, device=x.device) // rows
    column = torch.arange(width, device=x.device) // columns
    ids = row.unsqueeze(1) * (int(column[-1]) + 1) + column
    return ids.reshape(*[1] * (x.dim() - 2), height, width)


def pixel_mask(x: Tensor) -> Tensor:
    """Give each pixel a gate, which its channels share, for images [batch, ..., height, width].

    Example:
        >>> pixel_mask(torch.zeros(5, 3, 1, 2))
        tensor([[[[0, 1]]]])
    """
    return grid_mask(x, 1)


def position_mask(x: Tensor) -> Tensor:
    """Give each token or time step a gate, which all its values share, for inputs [batch, positions, ...].

    Example:
        >>> position_mask(torch.zeros(5, 3, 16)).shape
        torch.Size([1, 3, 1])
    """
    if x.dim() < 2:
        raise _wrong_shape(x, "[batch, positions, ...]")
    return torch.arange(x.shape[1], device=x.device).reshape(1, -1, *[1] * (x.dim() - 2))


def column_mask(x: Tensor) -> Tensor:
    """Give each column or channel of the last dimension a gate, for inputs [batch, ..., columns].

    Example:
        >>> column_mask(torch.zeros(5, 50, 2))
        tensor([[[0, 1]]])
    """
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
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        raise _wrong_shape(x, "[batch, 1 or 3 channels, height, width]")
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


def _image_size(x: Tensor) -> tuple[int, int]:
    if x.dim() < 3 or 0 in x.shape[-2:]:
        raise _wrong_shape(x, "[batch, ..., height, width]")
    return x.shape[-2], x.shape[-1]


def _wrong_shape(x: Tensor, expected: str) -> ArgumentError:
    return ArgumentError(
        "x", expected=expected, found=str(tuple(x.shape)), mend="Add a batch dimension with x.unsqueeze(0)."
    )
