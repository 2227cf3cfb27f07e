"""P8: 100, 500 or 2,000 standardised columns, ten of which decide with signs both ways, behind a trained net.

x ~ N(0, I). With d_0 to d_9 the ten columns that decide, at random places,

    z = d_0 + d_1 + d_2 + d_3 + d_4 - d_5 - d_6 - d_7 - d_8 - d_9 + 1.5 (d_0 d_5 - d_1 d_6)

and P(Y=1 | x) = sigmoid(z). The net gives a score to each of the two classes; that of its own class is
explained. All ten columns are the truth of every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from . import measures
from .nets import TwoClasses, fit, one_cycle, trained
from .problem import Problem, Variant

WIDTH = {"columns_100": 100, "columns_500": 500, "columns_2000": 2000}
N_TRUE = 10
SIGNS = torch.tensor([1.0] * 5 + [-1.0] * 5)
PRODUCT = 1.5
VARIANTS = (
    Variant("", "match", "rows"),
    Variant("max_evals=300", "match", "rows", 300),
    Variant("max_evals=100", "match", "rows", 100),
    Variant("Hybrid, zero", "score", "zero"),
    Variant("Hybrid, zero, max_evals=300", "score", "zero", 300),
    Variant("Hybrid, zero, max_evals=100", "score", "zero", 100),
)
PEERS = (
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "GradientShap",
    "FeatureAblation",
    "KernelShap",
)


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    width: int
    steps: int
    hidden: int = 64
    batch: int = 256
    lr: float = 3e-3


def places(width: int, seed: int) -> Tensor:
    """The columns that decide, `[10]`."""
    return torch.randperm(width, generator=torch.Generator().manual_seed(3000 + seed))[:N_TRUE]


def logit(x: Tensor, deciding: Tensor) -> Tensor:
    """True log-odds z of rows `[rows, columns]`, `[rows]`."""
    d = x[:, deciding]
    return d @ SIGNS + PRODUCT * (d[:, 0] * d[:, 5] - d[:, 1] * d[:, 6])


def build(recipe: Recipe) -> nn.Module:
    """Net width-64-64-1 with a score for each class."""
    return TwoClasses(
        nn.Sequential(
            nn.Linear(recipe.width, recipe.hidden),
            nn.ReLU(),
            nn.Linear(recipe.hidden, recipe.hidden),
            nn.ReLU(),
            nn.Linear(recipe.hidden, 1),
            nn.Flatten(0),
        )
    )


def train(net: TwoClasses, recipe: Recipe, deciding: Tensor, seed: int) -> None:
    """Cross-entropy against the true probability, on fresh rows at every step."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(_: int) -> Tensor:
        x = torch.randn(recipe.batch, recipe.width, generator=generator)
        return nn.functional.binary_cross_entropy_with_logits(net.log_odds(x), logit(x, deciding).sigmoid())

    fit(net, loss, recipe.steps, lr=recipe.lr, schedule=one_cycle)


def load(name: str, model_seed: int, *, n_rows: int = 50, n_references: int = 1000) -> Problem:
    """One of columns_100, columns_500 and columns_2000, with its trained net."""
    width = WIDTH[name]
    recipe = Recipe(width, steps=6000 if width > 1000 else 3000)
    deciding = places(width, model_seed)
    net = trained(
        name,
        model_seed,
        recipe,
        partial(build, recipe),
        partial(train, recipe=recipe, deciding=deciding, seed=model_seed),
    )
    generator = torch.Generator().manual_seed(2000 + model_seed)
    rows = torch.randn(n_rows, width, generator=generator)
    references = torch.randn(n_references, width, generator=generator)
    right = (net(references).argmax(1) == 1) == (logit(references, deciding) > 0)
    return Problem(
        name,
        model_seed,
        net,
        rows,
        (measures.precision_at_k,),
        "match",
        evaluations=512,
        target=net(rows).argmax(1),
        data=references,
        truth=torch.zeros(n_rows, width, dtype=torch.bool).index_fill(1, deciding, True),
        accuracy=float(right.float().mean()),
        variants=VARIANTS,
        peers=PEERS,
    )
