"""References made of the image itself: a blur of it, and what fits the part of it that is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from stg_attr.errors import ArgumentError, check_number, check_share

from .features import FeatureGroups
from .filling import FillIn
from .layout import Layout

__all__ = ["blur", "inpaint", "photograph", "photograph_baseline"]

_COLOURS = 3  # channels of a photograph
_TRUNCATE = 4.0  # radius of the kernel of a blur, in standard deviations
_UNCHANGED = 1e-3  # largest change by a blur, as a share of the largest value, of an image without details
_LITTLE = 1e-4  # weight of the mean of all that is shown, against that of what is near


def blur(sigma: float, *, truncate: float = _TRUNCATE) -> Callable[[Tensor], Tensor]:
    """Blur the image itself by a Gaussian kernel, for inputs [batch, ..., height, width].

    If the channels of [batch, height, width, channels] seem to come last, they are not mixed.

    Interpretable Explanations of Black Boxes by Meaningful Perturbation (Fong, Vedaldi, 2017),
    https://arxiv.org/abs/1704.03296.

    Args:
        sigma: standard deviation in pixels. About a twentieth of the image's width hides details. Beyond the
            border the image is continued by its border pixels.
        truncate: radius of the kernel in units of sigma.

    Raises:
        ArgumentError: sigma or truncate is not above 0. When the blur is used: the input is not an image.

    Example:
        >>> spot = torch.zeros(1, 1, 1, 5).index_fill(3, torch.tensor([2]), 1.0)
        >>> blur(0.5)(spot).round(decimals=2)
        tensor([[[[0.0000, 0.1100, 0.7900, 0.1100, 0.0000]]]])
    """
    if not 0 < sigma < float("inf"):
        raise ArgumentError(
            "sigma", expected="pixels above 0", found=repr(sigma), mend="10 suits photographs."
        )
    check_number("truncate", truncate, mend="4 is the default.")
    weights = _weights(sigma, truncate)
    return lambda x: _blurred(x, weights)


def photograph(share: float = 10 / 224, *, plain: float = 0.2) -> Callable[[Tensor], Tensor]:
    """Blur a photograph; for inputs as those of `blur`. An image on a background of 0 is replaced by 0.

    It is what closed gates show where they are regions of a photograph and no baseline is given. A blur of a
    drawing on a plain background would still show where the lines are. So 0 is taken for an image that has
    much of it, and for one that a blur does not change.

    Args:
        share: standard deviation of the blur, as a share of the shorter side of the image; 10 of 224 pixels
            by default.
        plain: an image has a background of 0 if at least this share of its elements is exactly 0.

    Raises:
        ArgumentError: `share` is not above 0, or `plain` not in (0, 1]. When it is used: as for `blur`.

    Example:
        >>> photo = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
        >>> drawing = torch.zeros(1, 3, 40, 40).index_fill(3, torch.tensor([20]), 1.0)
        >>> photograph()(torch.cat([photo, drawing])).flatten(1).any(1)
        tensor([ True, False])
    """
    check_number("share", share, mend="10 / 224 is the default.")
    check_share("plain", plain, mend="0.2 is the default.")

    def shown(x: Tensor) -> Tensor:
        channel = Layout.of(tuple(x.shape)).channel if x.dim() > 3 else 0
        side = min(n for dim, n in enumerate(x.shape) if dim not in (0, channel))
        found = _blurred(x, _weights(max(1.0, share * side), _TRUNCATE))
        dark = (x == 0).flatten(1).float().mean(1) >= plain
        same = (x - found).flatten(1).abs().amax(1) <= _UNCHANGED * x.flatten(1).abs().amax(1)
        return torch.where((dark | same).reshape(-1, *[1] * (x.dim() - 1)), torch.zeros_like(x), found)

    return shown


def photograph_baseline(
    inputs: Sequence[Tensor], groups: FeatureGroups, *, most_elements: int = 4096
) -> Callable[[Tensor], Tensor] | None:
    """What closed gates show where no baseline is given: `photograph()` of a photograph, else None, for 0.

    A photograph is a single image of three channels and of more elements than an image without cells has by
    default, whose gates are regions.

    Args:
        inputs: each [batch, ...].
        groups: their gates.
        most_elements: as for `default_masks`.
    """
    x = inputs[0]
    if len(inputs) != 1 or x.dim() != 4 or not x.is_floating_point() or x[0].numel() <= most_elements:
        return None
    coloured = x.shape[Layout.of(tuple(x.shape)).channel] == _COLOURS
    return photograph() if coloured and groups.neighbours.shape[2] > 0 else None


def inpaint(sigma: float, *, truncate: float = _TRUNCATE, background: float = 0.0) -> FillIn:
    """Fill in the hidden part of an image by a blur of what is shown, for inputs [batch, ..., height, width].

        fill(x, z) = blur(z x) / blur(z)

    Where nothing is shown within reach of the blur, it is the mean of what is shown.

    Args:
        sigma: as for `blur`.
        truncate: as for `blur`.
        background: what is shown where all is hidden.

    Raises:
        ArgumentError: as for `blur`.

    Example:
        >>> half = torch.tensor([[[[0.0, 1.0, 1.0, 0.0, 0.0]]]])
        >>> inpaint(1.0).fill(4 * half, half).round(decimals=2)
        tensor([[[[4., 4., 4., 4., 4.]]]])
    """
    blur(sigma, truncate=truncate)  # which checks them
    weights = _weights(sigma, truncate)

    def filled(x: Tensor, shown: Tensor) -> Tensor:
        shown = shown.to(x.dtype)
        near, share = _blurred(x * shown, weights), _blurred(shown, weights)
        dims = tuple(range(1, x.dim()))
        total, count = (x * shown).sum(dims, keepdim=True), shown.sum(dims, keepdim=True)
        mean = (total + _LITTLE * background) / (count + _LITTLE)
        return (near + _LITTLE * mean) / (share + _LITTLE)

    return FillIn(filled)


def _weights(sigma: float, truncate: float) -> Tensor:
    """A Gaussian kernel, [2 * radius + 1], whose sum is 1."""
    radius = max(1, round(truncate * sigma))
    weights = torch.exp(-torch.arange(-radius, radius + 1, device="cpu").double().square() / (2 * sigma**2))
    return weights / weights.sum()


def _blurred(x: Tensor, weights: Tensor) -> Tensor:
    """Images [batch, ..., height, width], or with channels last, convolved with a kernel both ways."""
    if x.dim() < 3:
        raise ArgumentError(
            "baselines",
            expected="images [batch, ..., height, width] to blur",
            found=f"shape {tuple(x.shape)}",
            mend="Use another reference, such as references.mean(data).",
        )
    radius = len(weights) // 2
    channel = Layout.of(x.shape).channel if x.dim() > 3 else 1
    first = x.movedim(channel, 1)
    # a Gaussian kernel is a product, so rows and columns are blurred one after the other
    kernel, images = weights.to(x.device, x.dtype), first.reshape(-1, 1, *first.shape[-2:])
    for pad, shape in (((0, 0, radius, radius), (-1, 1)), ((radius, radius, 0, 0), (1, -1))):
        padded = functional.pad(images, pad, mode="replicate")
        images = functional.conv2d(padded, kernel.reshape(1, 1, *shape))
    return images.reshape(first.shape).movedim(1, channel)
