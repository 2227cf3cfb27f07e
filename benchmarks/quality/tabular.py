"""P1 (Syn1 to Syn6) and P2 (XOR, orange skin): columns with a known rule, behind a trained net.

x ~ N(0, I), P(Y=0 | x) = sigmoid(logit(x)), and with e_k the rules

    e_1 = x0 x1,  e_2 = x2^2 + x3^2 + x4^2 + x5^2 - 4,  e_3 = -10 sin(0.2 x6) + |x7| + x8 + exp(-x9) - 2.4,

Syn1 to Syn3 are e_1 to e_3; Syn4, Syn5 and Syn6 are e_1, e_1, e_2 where x10 < 0 and e_2, e_3, e_3 elsewhere.
XOR is e_1, orange skin is e_2 on x0 to x3. The net's only output is its logit of Y = 0.

INVASE: Instance-wise Variable Selection using Neural Networks (Yoon, Jordon, van der Schaar 2019); Learning
to Explain (Chen, Song, Wainwright, Jordan 2018, https://arxiv.org/abs/1802.07814).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from . import measures
from .nets import fit, trained
from .problem import Problem

SELECTOR = 10  # the column whose sign picks the rule of Syn4 to Syn6
FEATURES = {1: (0, 1), 2: (2, 3, 4, 5), 3: (6, 7, 8, 9)}
BRANCHES = {"syn4": (1, 2), "syn5": (1, 3), "syn6": (2, 3)}  # rule where x10 < 0, rule elsewhere
WIDTH = {"xor": 10, "orange": 10}


def rule(x: Tensor, number: int) -> Tensor:
    """Logit e_number of rows `[rows, columns]`, `[rows]`."""
    if number == 1:
        return x[:, 0] * x[:, 1]
    if number == 2:
        return x[:, 2:6].square().sum(1) - 4
    return -10 * torch.sin(0.2 * x[:, 6]) + x[:, 7].abs() + x[:, 8] + torch.exp(-x[:, 9]) - 2.4


def logit(name: str, x: Tensor) -> Tensor:
    """True log-odds of Y = 0 of rows `[rows, columns]`, `[rows]`."""
    if name == "xor":
        return rule(x, 1)
    if name == "orange":
        return x[:, :4].square().sum(1) - 4
    if name in BRANCHES:
        below, above = BRANCHES[name]
        return torch.where(x[:, SELECTOR] < 0, rule(x, below), rule(x, above))
    return rule(x, int(name[3:]))


def truth(name: str, x: Tensor) -> Tensor:
    """The features that each row's label depends on, `[rows, columns]`."""
    found = torch.zeros(x.shape, dtype=torch.bool)
    if name == "xor":
        found[:, :2] = True
    elif name == "orange":
        found[:, :4] = True
    elif name in BRANCHES:
        below, above = (_columns(number, x.shape[1]) for number in BRANCHES[name])
        found = torch.where((x[:, SELECTOR] < 0).unsqueeze(1), below, above)
        found[:, SELECTOR] = True
    else:
        found[:] = _columns(int(name[3:]), x.shape[1])
    return found


def _columns(number: int, width: int) -> Tensor:
    found = torch.zeros(width, dtype=torch.bool)
    found[list(FEATURES[number])] = True
    return found


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    width: int
    hidden: int = 200
    steps: int = 3000
    batch: int = 512
    lr: float = 1e-3


def build(recipe: Recipe) -> nn.Module:
    """Net width-200-200-200-1, its last axis dropped."""
    layers: list[nn.Module] = []
    for n_in in (recipe.width, recipe.hidden, recipe.hidden):
        layers += [nn.Linear(n_in, recipe.hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(recipe.hidden, 1), nn.Flatten(0))


def train(net: nn.Module, name: str, recipe: Recipe, seed: int) -> None:
    """Cross-entropy against the true probability, on fresh rows at every step."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(_: int) -> Tensor:
        x = torch.randn(recipe.batch, recipe.width, generator=generator)
        return nn.functional.binary_cross_entropy_with_logits(net(x), logit(name, x).sigmoid())

    fit(net, loss, recipe.steps, lr=recipe.lr)


def load(name: str, model_seed: int, *, n_rows: int = 100, n_references: int = 1000) -> Problem:
    """One of syn1 to syn6, xor and orange, with its trained net."""
    recipe = Recipe(WIDTH.get(name, 11))
    net = trained(
        name,
        model_seed,
        recipe,
        partial(build, recipe),
        partial(train, name=name, recipe=recipe, seed=model_seed),
    )
    generator = torch.Generator().manual_seed(2000 + model_seed)
    rows = torch.randn(n_rows, recipe.width, generator=generator)
    references = torch.randn(n_references, recipe.width, generator=generator)
    return Problem(
        name,
        model_seed,
        net,
        rows,
        _measures(name),
        "match",
        data=references,
        truth=truth(name, rows),
        accuracy=_agreement(net, name, references),
    )


def _measures(name: str) -> tuple[Callable[[Problem, Tensor], dict[str, float]], ...]:
    return (measures.median_rank,) if name in WIDTH else (measures.true_positive_rate,)


def _agreement(net: nn.Module, name: str, x: Tensor) -> float:
    """Share of rows on which the net and the true rule name the same class."""
    return float(((net(x) > 0) == (logit(name, x) > 0)).float().mean())
