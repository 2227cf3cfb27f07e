"""ScoreSpread: how far the scores of masked inputs are from that of the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ScoreSpread"]


class ScoreSpread:
    """Root mean square distance of the scores of masked inputs from the baseline, for each example.

    Args:
        full: scores of the inputs, [batch]; of them, number, precision and device are taken.
    """

    def __init__(self, full: Tensor) -> None:
        self._sum, self._count = torch.zeros_like(full), torch.zeros_like(full)

    @torch.no_grad()
    def add(self, index: Tensor, distances: Tensor) -> None:
        """Note distances [samples, examples] of examples long [examples], any number of times each."""
        where = index.to(distances.device)
        squares = distances.nan_to_num(0.0, 0.0, 0.0).square().sum(0)  # what is not finite says nothing
        self._sum.index_add_(0, where, squares)
        self._count.index_add_(0, where, torch.full_like(squares, len(distances)))

    @property
    def distance(self) -> Tensor:
        """The root mean square of what was noted, [batch]; 0 where that is nothing."""
        return (self._sum / self._count.clamp_min(1)).sqrt()
