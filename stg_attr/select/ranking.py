"""Ranking: the features of every example in order, and the selections of the top k."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

__all__ = ["Ranking", "places"]


@dataclass(frozen=True)
class Ranking(Batch):
    """The gates of every example in order of their parameters.

    Attributes:
        parameter: gate parameters, [batch, gates].
        visible: gates that exist and that the model reacts to, bool [batch, gates]; only these are selected.
        rank: place of each visible gate, best 0, long [batch, gates].
    """

    parameter: Tensor = field(metadata=per_example())
    visible: Tensor = field(metadata=per_example())
    rank: Tensor = field(metadata=per_example())

    @classmethod
    def of(cls, parameter: Tensor, visible: Tensor) -> Ranking:
        """Rank gates by their parameters."""
        order = parameter.masked_fill(~visible, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return cls(parameter, visible, order.argsort(1))

    @property
    def n_visible(self) -> Tensor:
        """Number of gates that can be selected, long [batch]."""
        return self.visible.sum(1)

    def top(self, counts: Tensor) -> Tensor:
        """The hard selections of the first gates: counts [batch, k] -> bool [k, batch, gates]."""
        return (self.rank < counts.T.unsqueeze(2)) & self.visible

    def promoted(self, selected: Tensor, place: Tensor | None = None, worth: Tensor | None = None) -> Ranking:
        """Reassign the parameter values so that the selected features rank first.

        Within the selected features, and within the others, the order stays as it is, unless it is given.

        Args:
            selected: visible gates, bool [batch, gates].
            place: orders the selected gates by this instead, smallest first, from minus to plus the number of
                gates, long [batch, gates].
            worth: orders the other gates by this instead, largest first, [batch, gates].
        """
        chosen = self.rank if place is None else place
        rest = self.rank if worth is None else places(worth)
        last = self.rank.shape[1]
        place = torch.where(selected, chosen - 2 * last, rest) + last * ~self.visible
        rank = place.argsort(1).argsort(1)
        ordered = self.parameter.gather(1, self.rank.argsort(1))
        return Ranking(ordered.gather(1, rank), self.visible, rank)

    def boundary(self, selected: Tensor) -> Tensor:
        """The parameter halfway between the last selected gate and the next one below it, [batch, 1].

        Args:
            selected: bool [batch, gates]. One unit beyond the end when all gates or none are selected.
        """
        inside = self.parameter.masked_fill(~selected, torch.inf).amin(1, keepdim=True)
        below = ~selected & (self.parameter < inside) & self.parameter.isfinite()
        outside = self.parameter.masked_fill(~below, -torch.inf).amax(1, keepdim=True)
        inside = torch.where(inside.isinf(), outside + 2, inside)
        outside = torch.where(outside.isinf(), inside - 2, outside)
        return (inside + outside) / 2

    def at(self, selected: Tensor, half: float) -> Tensor:
        """Parameters shifted until the boundary of a selection is at `half`, [batch, gates].

        Args:
            selected: bool [batch, gates].
            half: the parameter at which a gate is active as often as not.
        """
        shifted = self.parameter - self.boundary(selected) + half
        return torch.where(self.visible, shifted, shifted.clamp_max(half))


def places(values: Tensor) -> Tensor:
    """The place of each value, 0 for the largest, long [batch, gates]."""
    return values.argsort(dim=1, descending=True, stable=True).argsort(1)
