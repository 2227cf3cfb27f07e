"""Selections, and set sizes, that a search tries next."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["between", "first_of", "spread", "without"]


def without(selected: Tensor, columns: Tensor) -> Tensor:
    """Selections [examples, gates] without columns, long [k, examples, n]; bool [k, examples, gates]."""
    return selected.expand(len(columns), -1, -1).scatter(2, columns, False)


def first_of(order: Tensor, n: Tensor, n_gates: int) -> Tensor:
    """The first n columns of an order, long [examples, columns]; bool [examples, gates]."""
    leading = torch.arange(order.shape[1], device=order.device) < n.unsqueeze(1)
    return leading.new_zeros(len(order), n_gates).scatter(1, order, leading)


def between(low: Tensor, high: Tensor, points: int) -> Tensor:
    """Whole numbers between low and high, both excluded, in geometric steps, long [batch, points].

    Some are repeated where there are fewer than `points` numbers between the two.
    """
    share = torch.arange(1, points + 1, dtype=torch.float32, device=low.device) / (points + 1)
    ratio = (high + 1).to(share.dtype) / (low + 1)
    spread = ((low + 1).unsqueeze(1) * ratio.unsqueeze(1) ** share - 1).round().long()
    # Rounding would make small steps equal; low + 1, low + 2, ... keep the points apart.
    ladder = low.unsqueeze(1) + torch.arange(1, points + 1, device=low.device)
    return spread.maximum(ladder).minimum((high - 1).unsqueeze(1)).maximum((low + 1).unsqueeze(1))


def spread(count: Tensor, points: int) -> Tensor:
    """Whole numbers from 1 to below each count in geometric steps, long [batch] -> long [batch, points]."""
    share = torch.arange(1, points + 1, dtype=torch.float32, device=count.device) / (points + 1)
    found = ((count + 1).unsqueeze(1) ** share).round().long() - 1
    return found.clamp_min(1).minimum(count.unsqueeze(1))
