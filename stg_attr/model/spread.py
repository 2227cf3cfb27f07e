"""ScoreSpread: how far the scores of masked inputs are from that of the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ScoreSpread"]


class ScoreSpread:
    """Root mean square distance of the scores of masked inputs from the baseline, for each example.

    Args:
        unit: the difference of scores that counts as 1, above 0, [batch]; squares of distances in the units
            of the score may be too large or too small for their type.
    """

    def __init__(self, unit: Tensor) -> None:
        self._unit, self._sum, self._count = unit, torch.zeros_like(unit), torch.zeros_like(unit)

    @torch.no_grad()
    def add(self, index: Tensor, distances: Tensor) -> None:
        """Note distances [samples, examples] of examples long [examples], any number of times each."""
        where = index.to(distances.device)
        known = distances.nan_to_num(0.0, 0.0, 0.0)  # what is not finite says nothing
        squares = (known / self._unit[where]).square().sum(0)
        self._sum.index_add_(0, where, squares)
        self._count.index_add_(0, where, torch.full_like(squares, len(distances)))

    @property
    def distance(self) -> Tensor:
        """The root mean square of what was noted, in units, [batch]; 0 where that is nothing."""
        return (self._sum / self._count.clamp_min(1)).sqrt()
