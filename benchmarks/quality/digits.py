"""P7: scikit-learn's 8x8 digits and a small CNN, judged by insertion and deletion of pixels into black."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from . import measures
from .nets import batches, fit, one_cycle, trained
from .problem import Problem


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    epochs: int = 30
    batch: int = 64
    lr: float = 3e-3
    n_train: int = 1397


@cache
def images() -> tuple[Tensor, Tensor]:
    """All 1797 digits `[1797, 1, 8, 8]` in [0, 1] and their classes, in scikit-learn's order (by writer)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target).long()


def shuffled() -> tuple[Tensor, Tensor]:
    """The digits in an order that mixes the writers, the same for every seed."""
    pixels, label = images()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    return pixels[order], label[order]


class DigitProbabilities(nn.Module):
    """Two convolutions of 16 and 32 channels and a hidden layer of 64; probabilities of the ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of images `[rows, 1, 8, 8]`, `[rows, 10]`."""
        return self.logits(x).softmax(1)


def train(net: DigitProbabilities, recipe: Recipe, seed: int) -> None:
    """Cross-entropy on the first rows of the mixed order."""
    pixels, label = shuffled()
    steps = batches(recipe.n_train, recipe.batch, recipe.epochs, 1000 + seed)
    fit(
        net,
        lambda step: nn.functional.cross_entropy(net.logits(pixels[steps[step]]), label[steps[step]]),
        len(steps),
        lr=recipe.lr,
        schedule=one_cycle,
    )


def load(name: str, model_seed: int, *, n_rows: int = 48) -> Problem:
    """The digits and their trained net; the images explained are the same for every model seed."""
    recipe = Recipe()
    net = trained(
        name, model_seed, recipe, DigitProbabilities, partial(train, recipe=recipe, seed=model_seed)
    )
    pixels, label = shuffled()
    found = net(pixels[recipe.n_train :]).argmax(1)
    return Problem(
        name,
        model_seed,
        net,
        pixels[recipe.n_train :][:n_rows],
        (measures.insertion_deletion, measures.smallest_sets),
        "score",
        evaluations=800,
        target=found[:n_rows],
        accuracy=float((found == label[recipe.n_train :]).float().mean()),
    )
