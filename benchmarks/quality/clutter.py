"""P5: a digit somewhere on a cluttered canvas: is the explanation where the digit is.

A digit of scikit-learn, doubled to 16x16, stands on a 32x32 canvas with its corner on a 4-pixel lattice,
among six 6x6 patches cut out of other digits (the brighter value wins where patches meet; the digit's box
covers them, else what is inside the box would not all be true). 64 features of 4x4 pixels; the true ones
are the 16 inside the digit's box. The score is the log-odds of the predicted class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from . import measures
from .digits import images
from .nets import batches, fit, one_cycle, trained
from .problem import Problem

CANVAS, DIGIT, PATCH, CELL = 32, 16, 6, 4
N_PATCHES = 6
N_TRAIN_DIGITS = 1400


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    canvases: int = 20_000
    epochs: int = 6
    batch: int = 128
    lr: float = 5e-3
    box: str = "covers"
    channels: tuple[int, ...] = (16, 32, 64)


def draw(
    pool: Tensor, label: Tensor, n_canvases: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Canvases `[n, 1, 32, 32]`, their classes `[n]` and the corners of their digits `[n, 2]`.

    Args:
        pool: digits to draw from, `[digits, 1, 8, 8]`.
        label: their classes, `[digits]`.
        n_canvases: how many to draw.
        generator: of all random draws.
    """
    double = pool.squeeze(1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    which = torch.randint(len(pool), (n_canvases,), generator=generator)
    corner = CELL * torch.randint((CANVAS - DIGIT) // CELL + 1, (n_canvases, 2), generator=generator)
    canvases = torch.zeros(n_canvases, CANVAS, CANVAS)
    for _ in range(N_PATCHES):
        # an offset below the pool's size never meets the digit itself
        other = (which + torch.randint(1, len(pool), (n_canvases,), generator=generator)) % len(pool)
        cut = torch.randint(DIGIT - PATCH + 1, (n_canvases, 2), generator=generator)
        place = torch.randint(CANVAS - PATCH + 1, (n_canvases, 2), generator=generator)
        patch, spot = double[other][_square(cut, PATCH)], _square(place, PATCH)
        canvases[spot] = torch.maximum(canvases[spot], patch)
    canvases[_square(corner, DIGIT)] = double[which]
    return canvases.unsqueeze(1), label[which], corner


def _square(corner: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, line and column indices of the squares with these corners, to index `[n, height, width]`."""
    span = torch.arange(side)
    rows = torch.arange(len(corner))[:, None, None]
    return rows, (corner[:, :1] + span)[:, :, None], (corner[:, 1:] + span)[:, None, :]


def cells() -> Tensor:
    """Id of the 4x4 cell of every pixel, `[1, 1, 32, 32]`."""
    line = torch.arange(CANVAS) // CELL
    return (line[:, None] * (CANVAS // CELL) + line).reshape(1, 1, CANVAS, CANVAS)


def inside(corner: Tensor) -> Tensor:
    """The cells of the digit's box, `[n, 64]`.

    Args:
        corner: line and column of the upper left corner of each digit, multiples of 4, `[n, 2]`.
    """
    found = torch.zeros(len(corner), CANVAS // CELL, CANVAS // CELL, dtype=torch.bool)
    found[_square(corner // CELL, DIGIT // CELL)] = True
    return found.flatten(1)


class DigitLogOdds(nn.Module):
    """Three convolutions, each halving the canvas; log-odds of the ten classes."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((1, *channels)):
            layers += [
                nn.Conv2d(n_in, n_out, 3, padding=1),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        side = CANVAS // 2 ** len(channels)
        self.logits = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side * side, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds log p - log(1 - p) of canvases `[rows, 1, 32, 32]`, `[rows, 10]`."""
        logits = self.logits(x)
        off = torch.eye(10, dtype=torch.bool, device=x.device)
        others = logits.unsqueeze(1).expand(-1, 10, -1).masked_fill(off, -torch.inf).logsumexp(2)
        return logits - others


def train(net: DigitLogOdds, recipe: Recipe, seed: int) -> None:
    """Cross-entropy on canvases of the first 1400 digits."""
    pixels, label = images()
    generator = torch.Generator().manual_seed(1000 + seed)
    x, y, _ = draw(pixels[:N_TRAIN_DIGITS], label[:N_TRAIN_DIGITS], recipe.canvases, generator)
    steps = batches(len(x), recipe.batch, recipe.epochs, 1000 + seed)
    fit(
        net,
        lambda step: nn.functional.cross_entropy(net.logits(x[steps[step]]), y[steps[step]]),
        len(steps),
        lr=recipe.lr,
        schedule=one_cycle,
    )


@cache
def _unseen(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    pixels, label = images()
    generator = torch.Generator().manual_seed(2000 + seed)
    return draw(pixels[N_TRAIN_DIGITS:], label[N_TRAIN_DIGITS:], 2000, generator)


def load(name: str, model_seed: int, *, n_rows: int = 100, n_data: int = 100) -> Problem:
    """Canvases of digits the net has not seen, and the trained net."""
    recipe = Recipe()
    net = trained(
        name,
        model_seed,
        recipe,
        partial(DigitLogOdds, recipe.channels),
        partial(train, recipe=recipe, seed=model_seed),
    )
    x, y, corner = _unseen(model_seed)
    found = net(x).argmax(1)
    return Problem(
        name,
        model_seed,
        net,
        x[:n_rows],
        (measures.average_precision, measures.insertion_deletion),
        "score",
        evaluations=800,
        target=found[:n_rows],
        data=x[n_rows : n_rows + n_data],
        feature_mask=cells(),
        truth=inside(corner[:n_rows]),
        link=torch.sigmoid,
        accuracy=float((found == y).float().mean()),
    )
