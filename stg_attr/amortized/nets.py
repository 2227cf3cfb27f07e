"""Nets that propose gates: small ones for columns, images and embedded tokens, and modules of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups
from stg_attr.model import GatedModel

from .settings import AmortizedSettings

__all__ = ["GateNet", "default_net"]


class GateNet(nn.Module):
    """A net, and its output as one number for each gate.

    Args:
        net: takes the inputs, returns numbers [batch, gates], or one for each element of the first input:
            [batch, ...], where dimensions may be 1. Each gate gets the mean over its elements.
        start: where gate parameters start; it is added.
        n_slopes: number of gate values at which the net is given the slopes of the score, as a further input
            [n_slopes, batch, gates], and the groups; 0 for none of both.
        spread: see `AmortizedSettings`.
    """

    def __init__(self, net: nn.Module, start: float, n_slopes: int, spread: float) -> None:
        super().__init__()
        self.net, self.start, self.n_slopes, self.spread = net, start, n_slopes, spread

    def of(self, model: GatedModel) -> Tensor:
        """Gate parameters of the rows of a model, [batch, gates]."""
        inputs, groups = model.blend.inputs, model.groups
        if not self.n_slopes:
            return self(inputs, groups)  # type: ignore[no-any-return]
        exists = groups.exists.expand(model.batch, -1)
        opened = 0.5 ** torch.arange(self.n_slopes, dtype=model.dtype, device=model.device)
        with torch.enable_grad():
            gates = opened.reshape(-1, 1, 1).expand(-1, *exists.shape)
            _, slopes = model.score_slopes(gates, model.reference_order[:1].expand(self.n_slopes))
        unit = slopes.abs().amax((0, 2), keepdim=True).clamp_min(torch.finfo(slopes.dtype).tiny)
        return self(inputs, groups, (slopes / unit).float())  # type: ignore[no-any-return]

    def forward(
        self, inputs: Sequence[Tensor], groups: FeatureGroups, slopes: Tensor | None = None
    ) -> Tensor:
        """Gate parameters, [batch, gates].

        Raises:
            ArgumentError: the output has another shape.
        """
        batch = len(inputs[0])
        found = self.net(*inputs) if slopes is None else self.net(*inputs, slopes=slopes, groups=groups)
        if isinstance(found, Tensor) and found.shape == (batch, groups.n_gates):
            return self._spread(found, groups)
        if isinstance(found, Tensor) and len(inputs) == 1 and _fits(found, inputs[0]):
            whole: Tensor = groups.reduce([found.expand(inputs[0].shape)])
            return self._spread(whole.to(found.dtype), groups)
        raise _wrong_output(found, batch, groups.n_gates)

    def _spread(self, found: Tensor, groups: FeatureGroups) -> Tensor:
        """Parameters around the start, whose standard deviation over gates is below `spread`."""
        exists = groups.exists.to(found.dtype)
        n = exists.sum(1, keepdim=True)
        centred = (found - (found * exists).sum(1, keepdim=True) / n) * exists
        variance = centred.square().sum(1, keepdim=True) / n
        return self.start + centred / (1 + variance / self.spread**2).sqrt()


def _fits(found: Tensor, x: Tensor) -> bool:
    """Whether there is a number for each element, or the same for some."""
    sizes = zip(found.shape, x.shape, strict=False)
    return found.dim() == x.dim() and len(found) == len(x) and all(n in (1, m) for n, m in sizes)


def _wrong_output(found: Any, batch: int, n_gates: int) -> ArgumentError:
    return ArgumentError(
        "net",
        expected=f"an output [batch, gates] = {[batch, n_gates]}, or one like the only input",
        found=str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__,
        mend="End it with nn.Linear(width, gates).",
    )


def default_net(
    inputs: Sequence[Tensor], n_gates: int, n_slopes: int, settings: AmortizedSettings
) -> nn.Module:
    """A small net that suits the shape of the inputs.

    A convolutional one for images [batch, channels, height, width], a transformer for token ids [batch,
    positions] and embedded tokens [batch, positions, width], else one with two hidden layers.
    """
    x, width = inputs[0], settings.width
    if len(inputs) == 1 and x.dim() == 4 and min(x.shape[2:]) > 1:
        return _Images(x.shape[1] + n_slopes, max(16, width // 4))
    if len(inputs) == 1 and ((x.dim() == 3 and x.shape[1] > 1) or not x.is_floating_point()):
        return _Tokens(x, n_slopes, settings)
    return _Columns(inputs, n_gates, width, n_slopes)


class _Columns(nn.Module):
    """Elements of all inputs, standardised, through two hidden layers."""

    mean: Tensor
    unit: Tensor

    def __init__(self, inputs: Sequence[Tensor], n_gates: int, width: int, n_slopes: int) -> None:
        super().__init__()
        flat = _flat(inputs)
        self.register_buffer("mean", flat.mean(0))
        self.register_buffer("unit", flat.std(0, correction=0).clamp_min(1e-6))
        self.layers = nn.Sequential(
            nn.Linear(flat.shape[1] + n_slopes * n_gates, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            _last(width, n_gates),
        )

    def forward(self, *inputs: Tensor, slopes: Tensor | None = None, groups: Any = None) -> Tensor:
        flat = (_flat(inputs) - self.mean) / self.unit
        if slopes is not None:
            flat = torch.cat([flat, slopes.transpose(0, 1).flatten(1)], 1)
        return self.layers(flat)  # type: ignore[no-any-return]


class _Images(nn.Module):
    """Convolutions over an image; every other layer sees four times as far. One number for each pixel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=4, dilation=4), nn.ReLU(),
        )  # fmt: skip
        self.whole = nn.Linear(width, width)
        self.last = nn.Conv2d(2 * width, 1, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, slopes: Tensor | None = None, groups: Any = None) -> Tensor:
        near = self.layers(x if slopes is None else torch.cat([x, _laid_out(slopes, groups, x)], 1))
        far = torch.relu(self.whole(near.amax((2, 3))))[:, :, None, None].expand_as(near)
        return self.last(torch.cat([near, far], 1))  # type: ignore[no-any-return]


class _Tokens(nn.Module):
    """A transformer over token ids, or over embedded tokens. One number for each position."""

    def __init__(self, x: Tensor, n_slopes: int, settings: AmortizedSettings) -> None:
        super().__init__()
        width = max(16, settings.width // 4)
        width -= width % settings.heads
        self.ids = settings.ids
        self.embedding = nn.Linear(x.shape[2], width) if x.dim() == 3 else nn.Embedding(settings.ids, width)
        self.slopes = nn.Linear(n_slopes, width) if n_slopes else None
        self.position = nn.Parameter(0.02 * torch.randn(x.shape[1], width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, settings.heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(settings.blocks)
        )
        self.last = _last(width, 1)

    def forward(self, x: Tensor, slopes: Tensor | None = None, groups: Any = None) -> Tensor:
        ids = x.dim() == 2
        hidden = self.embedding(x.long().remainder(self.ids) if ids else x) + self.position
        if slopes is not None and self.slopes is not None:
            each = groups.expand(slopes, 0, ungated=0.0).expand(len(slopes), *x.shape)
            each = each if ids else each[..., 0]  # a token has one gate, which all numbers of it share
            hidden = hidden + self.slopes(each.movedim(0, 2))
        for block in self.blocks:
            hidden = block(hidden)
        found = self.last(hidden)
        return found.squeeze(2) if ids else found  # type: ignore[no-any-return]


def _laid_out(slopes: Tensor, groups: FeatureGroups, x: Tensor) -> Tensor:
    """Slopes as further channels of images, [batch, slopes, height, width]."""
    each = groups.expand(slopes, 0, ungated=0.0)
    return each.expand(len(slopes), *x.shape)[:, :, 0].movedim(0, 1)


def _flat(inputs: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.reshape(len(x), -1).float() for x in inputs], 1)


def _last(width: int, n: int) -> nn.Linear:
    """The last layer; it returns 0 before training."""
    layer = nn.Linear(width, n)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
