"""Nets trained once and kept on disk, keyed by name, seed and recipe."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

CACHE = Path(__file__).resolve().parent.parent / ".cache"


def trained(
    name: str, seed: int, recipe: object, build: Callable[[], nn.Module], train: Callable[[nn.Module], None]
) -> nn.Module:
    """The net of this name, seed and recipe: read from the cache, or built and trained.

    Args:
        name: of the problem.
        seed: of the initial weights.
        recipe: its `repr` holds all that the training depends on; a new recipe is a new net.
        build: makes the untrained net.
        train: trains it in place; draws from its own seeded generators only.
    """
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:10]
    path = CACHE / f"net-{name}-{seed}-{digest}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build()
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(net.train())
        keep(net.state_dict(), path)
    return net.eval().requires_grad_(False)


def keep(value: object, path: Path) -> None:
    """Save so that another process never reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(value, partial)
    partial.replace(path)


def constant(optimizer: Optimizer, steps: int) -> LRScheduler:
    """The same rate at every step."""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, steps)


def cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """The rate falls to zero along half a cosine."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """The rate rises to the optimiser's and falls to zero."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], total_steps=steps)


def fit(
    net: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    *,
    lr: float,
    schedule: Callable[[Optimizer, int], LRScheduler] = cosine,
    after: Callable[[int], None] | None = None,
) -> None:
    """Adam for a number of steps.

    Args:
        net: trained in place.
        loss: step -> scalar loss.
        steps: number of optimiser steps.
        lr: first rate, or largest of one cycle.
        schedule: constant, cosine or one_cycle.
        after: called with the number of every step that has been made.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    rate = schedule(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        rate.step()
        if after is not None:
            after(step)


def batches(n_rows: int, size: int, epochs: int, seed: int) -> list[Tensor]:
    """Shuffled row indices of every step of a training, each `[size]`, the rest of an epoch dropped."""
    generator = torch.Generator().manual_seed(seed)
    return [
        chunk
        for _ in range(epochs)
        for chunk in torch.randperm(n_rows, generator=generator).split(size)
        if len(chunk) == size
    ]


class TwoClasses(nn.Module):
    """Scores `[rows, 2]` of the two classes of a net for log-odds: -z and z.

    Args:
        log_odds: maps rows to the log-odds of class 1, z, `[rows]`.
    """

    def __init__(self, log_odds: nn.Module) -> None:
        super().__init__()
        self.log_odds = log_odds

    def forward(self, x: Tensor) -> Tensor:
        """Scores of rows."""
        z: Tensor = self.log_odds(x)
        return torch.stack([-z, z], 1)
