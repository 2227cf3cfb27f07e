"""Feature masks for the activations of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, warn

from .layout import is_square_with_channels

__all__ = ["activation_masks"]


def activation_masks(
    feature_mask: Any, activations: Sequence[Tensor], pieces: Sequence[int]
) -> tuple[Any, ...]:
    """One mask for each activation.

    Args:
        feature_mask: as the user gave it, [batch, positions] or with more dimensions, or a tuple; None
            for one gate per position or place, shared by width or channels, and per unit where there are no
            positions.
        activations: each [batch, ...], or [batch, pieces, ...].
        pieces: how many rows of each an example has.

    Raises:
        ArgumentError: there is not one mask for each activation.
    """
    if feature_mask is None:
        return _positions(activations, pieces)
    given = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
    if len(given) != len(activations):
        shapes = [tuple(x.shape) for x in activations]
        raise ArgumentError(
            "feature_mask",
            expected=f"one mask per activation of the layer, {len(shapes)}, of shapes {shapes}",
            found=str(len(given)),
            mend="Pass a tuple; a mask of -1, such as torch.full((1, 1), -1), leaves an activation as it is.",
        )
    return tuple(_with_width(mask, x) for mask, x in zip(given, activations, strict=True))


def _positions(activations: Sequence[Tensor], pieces: Sequence[int]) -> tuple[Tensor, ...]:
    masks, start = [], 0
    for x, n in zip(activations, pieces, strict=True):
        is_folded = n > 1 and x.dim() > 3  # [batch, pieces, width] is as [batch, positions, width]
        row = x.shape[2:] if is_folded else x.shape[1:]
        places = _places(tuple(row))
        shape = (1, n, *places) if is_folded else (1, *places)
        masks.append(torch.arange(start, start + prod(shape), device="cpu").reshape(shape))
        start += prod(shape)
    return tuple(masks)


def _places(row: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the gates of activations [batch, *row], with 1 for the dimension that shares them."""
    if not is_square_with_channels((1, *row)):
        return (1, *row[1:]) if len(row) > 2 else (row[0], 1)[: len(row)]
    shape = ", ".join(map(str, row))
    warn(
        f"The activation of the layer, [batch, {shape}], is taken as [batch, height, width, channels], with "
        "a gate for each place. If channels come first, pass feature_mask=pixel_mask(h) with such a tensor h."
    )
    return (*row[:2], 1)


def _with_width(mask: Any, x: Tensor) -> Any:
    """A mask [batch, positions] as one of [batch, positions, 1]."""
    if not isinstance(mask, Tensor) or mask.dim() < 2:
        return mask
    return mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))
