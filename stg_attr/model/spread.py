"""ScoreSpread: how far the scores of masked inputs are from that of the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ScoreSpread"]

_MOST_NOTED = 1000  # results of calls of the model that are kept until they are added up


class ScoreSpread:
    """Root mean square distance of the scores of masked inputs from the baseline, for each example.

    Args:
        unit: the difference of scores that counts as 1, above 0, [batch]; squares of distances in the units
            of the score may be too large or too small for their type.
    """

    def __init__(self, unit: Tensor) -> None:
        self._unit, self._sum, self._count = unit, torch.zeros_like(unit), torch.zeros_like(unit)
        self._noted: list[tuple[Tensor, Tensor]] = []  # not yet in the sums

    def add(self, index: Tensor, distances: Tensor) -> None:
        """Note distances [samples, examples] of examples long [examples], any number of times each."""
        self._noted.append((index, distances))
        if len(self._noted) > _MOST_NOTED:
            self._sum_up()

    @property
    def distance(self) -> Tensor:
        """The root mean square of what was noted, in units, [batch]; 0 where that is nothing."""
        self._sum_up()
        return (self._sum / self._count.clamp_min(1)).sqrt()

    @torch.no_grad()
    def _sum_up(self) -> None:
        """Add all that was noted to the sums: a few large operations instead of many small ones."""
        if not self._noted:
            return
        device = self._unit.device
        where = torch.cat([index.to(device).repeat(len(found)) for index, found in self._noted])
        found = torch.cat([found.flatten() for _, found in self._noted])
        known = found.nan_to_num(0.0, 0.0, 0.0)  # what is not finite says nothing
        squares = (known / self._unit[where]).square()
        self._sum.index_add_(0, where, squares)
        self._count.index_add_(0, where, torch.ones_like(squares))
        self._noted.clear()
