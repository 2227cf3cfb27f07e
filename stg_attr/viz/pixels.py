"""Pixels: tensors as images, and the lines between regions of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.errors import ArgumentError

from .source import Array, Example, as_array

__all__ = ["ColourScale", "Numbers", "as_map", "borders", "channel_axis"]

Numbers = float | Sequence[float] | Tensor | NDArray[np.generic]

_COLOURS = (1, 3, 4)  # channels of grey, coloured and transparent images


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The dimension of an image that holds the channels: 0 for CHW, 2 for HWC, None for HW.

    If neither the first nor the last dimension has 1, 3 or 4 entries, the channels are last if there are
    fewer of them than rows and columns, else first.

    Raises:
        ArgumentError: the shape is not that of an image.

    Example:
        >>> channel_axis((3, 32, 40)), channel_axis((32, 40, 3)), channel_axis((32, 40))
        (0, 2, None)
        >>> channel_axis((13, 32, 40)), channel_axis((32, 40, 13))
        (0, 2)
    """
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise ArgumentError(
            "image",
            expected="[height, width], or channels first or last",
            found=str(shape),
            mend="Choose the slice or frame to look at, for example image[:, 0].",
        )
    if shape[0] in _COLOURS or shape[2] in _COLOURS:
        return 0 if shape[0] in _COLOURS else 2
    return 2 if shape[2] < min(shape[:2]) else 0


def as_map(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """One value per pixel, [height, width]: the largest over channels, so that every open gate is visible."""
    channel = channel_axis(values.shape)
    flat: NDArray[np.generic] = values if channel is None else values.max(axis=channel)
    return flat


@dataclass(frozen=True)
class ColourScale:
    """Turns the pixels of one image into colours, with the same scale for its kept and removed parts.

    Attributes:
        mean: of each channel, added to undo a normalisation; None if there was none.
        std: of each channel, multiplied to undo a normalisation.
        low: the value that becomes black.
        high: the value that becomes white.
    """

    mean: Array | None
    std: Array | None
    low: float
    high: float

    @classmethod
    def of(cls, example: Example, mean: Numbers | None, std: Numbers | None) -> ColourScale:
        """The scale for an example; without `mean` and `std`, values outside [0, 1] are scaled into it.

        Raises:
            ArgumentError: no input was given, or only one of `mean` and `std`.
        """
        if example.shown is None or example.baseline is None:
            raise ArgumentError(
                "inputs",
                expected="the image that the attributions belong to",
                found="none",
                mend="Pass inputs=image, or an Explanation, which holds it.",
            )
        if (mean is None) != (std is None):
            raise ArgumentError(
                "mean and std",
                expected="both or neither",
                found="one",
                mend="Pass the two that the image was normalised with, (x - mean) / std.",
            )
        if mean is not None and std is not None:
            return cls(as_array(mean), as_array(std), 0.0, 1.0)
        return cls(None, None, *_range(example.shown, example.baseline, example.integral))

    def colours(self, image: Array) -> Array:
        """[height, width] or [height, width, 3 or 4], in [0, 1]."""
        channel = channel_axis(image.shape)
        last = image[..., None] if channel is None else np.moveaxis(image, channel, -1)
        if last.shape[-1] not in _COLOURS:
            raise ArgumentError(
                "image",
                expected="[height, width], or 1, 3 or 4 channels first or last",
                found=str(image.shape),
                mend="Choose the channels to look at, for example image[:3]; viz.heatmap takes any number.",
            )
        if self.mean is not None and self.std is not None:
            last = last * _by_channel(self.std, last, "std") + _by_channel(self.mean, last, "mean")
        span = self.high - self.low
        scaled = ((last - self.low) / (span if span > 0 else 1.0)).clip(0.0, 1.0)
        return scaled[..., 0] if scaled.shape[-1] == 1 else scaled


def _range(shown: Array, baseline: Array, integral: bool) -> tuple[float, float]:
    if not np.isfinite(shown).all():
        raise ArgumentError(
            "inputs",
            expected="finite pixels",
            found=f"{int((~np.isfinite(shown)).sum())} that are NaN or infinite",
            mend="Replace them first, for example with torch.nan_to_num.",
        )
    if integral:
        return 0.0, 255.0
    low, high = min(shown.min(), baseline.min()), max(shown.max(), baseline.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (float(low), float(high))


def _by_channel(values: Array, last: Array, what: str) -> Array:
    flat = values.reshape(-1)
    if flat.size not in (1, last.shape[-1]):
        raise ArgumentError(
            what,
            expected=f"one number, or one for each of the {last.shape[-1]} channels",
            found=f"{flat.size} numbers",
            mend="Pass the numbers that the image was normalised with.",
        )
    return flat


def borders(labels: NDArray[np.generic], *, outer: bool = False) -> list[Array]:
    """Lines between pixels whose labels differ; edges that continue each other are one line.

    Args:
        labels: [height, width].
        outer: also return the border of the image beside pixels whose label is true.

    Returns:
        Lines, each [2, 2]: two corners as (x, y), where pixel centres have whole coordinates.

    Example:
        >>> [line.tolist() for line in borders(np.array([[0, 1], [0, 1]]))]
        [[[0.5, -0.5], [0.5, 1.5]]]
    """
    across = _runs(_differs(labels, outer))
    down = [line[:, ::-1] for line in _runs(_differs(labels.T, outer))]
    return across + down


def _differs(labels: NDArray[np.generic], outer: bool) -> NDArray[np.bool_]:
    """Whether the pixels above and below each horizontal edge differ, [height + 1, width]."""
    inner = labels[1:] != labels[:-1]
    end = labels.astype(bool) if outer else np.zeros(labels.shape, dtype=bool)
    return np.concatenate([end[:1], inner, end[-1:]])


def _runs(edges: NDArray[np.bool_]) -> list[Array]:
    step = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(step == 1), np.argwhere(step == -1)
    return [np.array([[x0, y], [x1, y]]) - 0.5 for (y, x0), (_, x1) in zip(starts, ends, strict=True)]
