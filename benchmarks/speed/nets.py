"""Nets to be slow or fast with: their weights are random, since only their cost matters here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A net, and inputs to explain.

    Args:
        name: printed in the tables.
        build: makes the net.
        shape: of one input.
        mask: feature mask, broadcastable to the inputs; None for one gate an element.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    mask: Tensor | None

    def net(self, device: torch.device) -> nn.Module:
        """The net with seeded weights, ready to be explained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().eval().to(device)

    def inputs(self, batch: int, device: torch.device) -> Tensor:
        """Seeded inputs [batch, ...]."""
        return torch.randn(batch, *self.shape, generator=torch.Generator().manual_seed(1)).to(device)

    def mask_on(self, device: torch.device) -> Tensor | None:
        """The feature mask on a device."""
        return None if self.mask is None else self.mask.to(device)


def cells(size: int, cell: int) -> Tensor:
    """Square cells of a square image, [1, 1, size, size]."""
    line = torch.arange(size) // cell
    return (line.unsqueeze(1) * (int(line[-1]) + 1) + line).reshape(1, 1, size, size)


def mlp() -> nn.Module:
    """Two hidden layers of 64 over 30 columns."""
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def small_cnn() -> nn.Module:
    """Five convolutions with batch normalisation."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise((3, 32, 32, 64, 64, 64))):
        layers += [nn.Conv2d(n_in, n_out, 3, stride=1 + i % 2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Transformer(nn.Module):
    """Six encoder layers of width 128 over continuous tokens; one score per class."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [rows, tokens, 128] -> [rows, 4]."""
        scores: Tensor = self.head(self.body(x).mean(1))
        return scores


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        change = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.around = nn.Identity() if stride == 1 and n_in == n_out else change

    def forward(self, x: Tensor) -> Tensor:
        """[rows, n_in, height, width] -> [rows, n_out, ...]."""
        return torch.relu(self.body(x) + self.around(x))


def resnet() -> nn.Module:
    """Eight residual blocks of two convolutions: the layout and size of a ResNet-18, 11.7 M weights.

    Deep Residual Learning for Image Recognition (He et al., 2015), https://arxiv.org/abs/1512.03385.
    """
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    blocks: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        blocks += [Residual(n_in, n_out, 1 + (i > 0)), Residual(n_out, n_out, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


MLP = Case("MLP, 30 columns", mlp, (30,), None)
SMALL_CNN = Case("small CNN, 3 x 32 x 32", small_cnn, (3, 32, 32), cells(32, 4))
TRANSFORMER = Case(
    "transformer, 6 layers, 128 tokens", Transformer, (128, 128), torch.arange(128).reshape(1, 128, 1)
)
RESNET = Case("ResNet-18 layout, 3 x 224 x 224", resnet, (3, 224, 224), cells(224, 16))
