"""P4: two tetrominoes in 8x8 noise (XAI-TRIS, Clark, Wilming, Haufe 2024, https://arxiv.org/abs/2306.12816).

With A the pattern rows and B ~ N(0, 0.5) the noise rows of all samples, each divided by its Frobenius norm,

    linear          x = w A + (1 - w) B,   class 0 shows the T, class 1 the L
    multiplicative  x = (1 - w A) * B,     the same; 1 - w A is normalised, and A has entries 0 and 1
    xor             x = w A + (1 - w) B,   both shown, with equal signs in class 0, opposite signs in class 1

then everything is divided by the largest absolute value. The features that matter are the pixels of both
patterns in all three: the absence of a pattern decides as much as its presence does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from . import measures
from .nets import batches, constant, fit, trained
from .problem import Problem

WEIGHTS = {"linear": 0.18, "multiplicative": 0.70, "xor": 0.35}
SIDE = 8


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    kind: str
    samples: int = 10_000
    held_out: int = 1_000  # for choosing the net, and as many again for explaining it
    epochs: int = 60
    batch: int = 256
    lr: float = 2e-3
    hidden: tuple[int, ...] = (32, 16, 8)
    chosen_by: str = "loss on held-out rows after each epoch"


def patterns() -> tuple[Tensor, Tensor]:
    """The T at rows 1 to 3, columns 1 and 2, and the L at rows 4 to 6, columns 5 and 6, each `[64]`."""
    t, el = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    t[1:4, 1] = 1
    t[2, 2] = 1
    el[4:7, 5] = 1
    el[6, 6] = 1
    return t.flatten(), el.flatten()


def sample(kind: str, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images `[n, 64]` and their classes `[n]`, half of each class, in random order."""
    label = torch.randperm(n_samples, generator=generator) % 2
    noise = _unit(0.5 * torch.randn(n_samples, SIDE * SIDE, generator=generator))
    weight = WEIGHTS[kind]
    t, el = patterns()
    if kind == "xor":
        sign = 2.0 * torch.randint(0, 2, (n_samples, 1), generator=generator) - 1
        shown = sign * (t + (1 - 2.0 * label.unsqueeze(1)) * el)
    else:
        shown = torch.stack([t, el])[label]
    if kind == "multiplicative":
        images = _unit(1 - weight * shown) * noise
    else:
        images = weight * _unit(shown) + (1 - weight) * noise
    return images / images.abs().max(), label


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm()


class LogitDifference(nn.Module):
    """MLP 64-32-16-8-2 whose score is the logit of class 1 minus that of class 0, `[rows]`."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        sizes = (SIDE * SIDE, *recipe.hidden)
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of rows `[rows, 64]`, `[rows]`."""
        logits = self.net(x)
        return logits[:, 1] - logits[:, 0]


def train(net: nn.Module, recipe: Recipe, images: Tensor, label: Tensor, seed: int) -> None:
    """Cross-entropy, here the binary one; ends at the epoch that does best on held-out rows.

    Trained to the end the nets fit the noise of their training rows, which then does matter to them: the
    average precision of Saliency on the linear patterns falls from 1.00 to .80.
    """
    n_train = len(images) - recipe.held_out
    steps = batches(n_train, recipe.batch, recipe.epochs, 1000 + seed)
    an_epoch = len(steps) // recipe.epochs
    best: dict[str, Tensor] = {}
    least = torch.inf

    def loss(rows: Tensor | slice) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(net(images[rows]), label[rows].to(images.dtype))

    def choose(step: int) -> None:
        nonlocal best, least
        if (step + 1) % an_epoch == 0:
            with torch.no_grad():
                found = float(loss(slice(n_train, None)))
            if found < least:
                least, best = found, copy.deepcopy(net.state_dict())

    fit(net, lambda step: loss(steps[step]), len(steps), lr=recipe.lr, schedule=constant, after=choose)
    net.load_state_dict(best)


def load(name: str, model_seed: int, *, n_rows: int = 100, n_references: int = 1000) -> Problem:
    """One of tetromino_linear, tetromino_multiplicative and tetromino_xor, with its trained net."""
    kind = name.removeprefix("tetromino_")
    recipe = Recipe(kind)
    images, label = sample(kind, recipe.samples, torch.Generator().manual_seed(2000 + model_seed))
    seen = recipe.samples - recipe.held_out
    net = trained(
        name,
        model_seed,
        recipe,
        partial(LogitDifference, recipe),
        partial(train, recipe=recipe, images=images[:seen], label=label[:seen], seed=model_seed),
    )
    rows = images[seen : seen + n_rows]
    t, el = patterns()
    right = (net(images[seen:]) > 0) == (label[seen:] == 1)
    return Problem(
        name,
        model_seed,
        net,
        rows,
        (measures.average_precision,),
        "match",
        evaluations=800,
        data=images[:n_references],
        truth=((t + el) > 0).expand(len(rows), -1),
        accuracy=float(right.float().mean()),
    )
