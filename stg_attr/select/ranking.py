"""Ranking: the features of every example in order, and the selections of the top k."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

__all__ = ["Ranking", "places"]


@dataclass(frozen=True)
class Ranking(Batch):
    """The features of every example in order of their gate parameters, the largest first.

    Attributes:
        parameter: gate parameters, [batch, gates].
        visible: features that exist and that the model reacts to, bool [batch, gates]; only these can be
            selected.
        rank: place of each visible feature, 0 for the first, long [batch, gates].
    """

    parameter: Tensor = field(metadata=per_example())
    visible: Tensor = field(metadata=per_example())
    rank: Tensor = field(metadata=per_example())

    @classmethod
    def of(cls, parameter: Tensor, visible: Tensor) -> Ranking:
        """Rank features by their parameters; of equal ones, the first column comes first."""
        order = parameter.masked_fill(~visible, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return cls(parameter, visible, order.argsort(1))  # argsort of an order gives the place of each column

    @property
    def n_visible(self) -> Tensor:
        """Number of features that can be selected, long [batch]."""
        return self.visible.sum(1)

    def top(self, counts: Tensor) -> Tensor:
        """The selections of the first n features, for n in counts [batch, k]; bool [k, batch, gates]."""
        return (self.rank < counts.T.unsqueeze(2)) & self.visible

    def promoted(self, selected: Tensor, place: Tensor | None = None, worth: Tensor | None = None) -> Ranking:
        """Reassign the parameter values so that the selected features rank first.

        The order within the selected features, and within the others, does not change, unless it is given.

        Args:
            selected: visible features, bool [batch, gates].
            place: a new order of the selected features, smallest first, long [batch, gates], with values from
                minus to plus the number of gates.
            worth: a new order of the other features, largest first, [batch, gates].
        """
        chosen = self.rank if place is None else place
        rest = self.rank if worth is None else places(worth)
        last = self.rank.shape[1]
        # `chosen` is between -last and last, and `rest` between 0 and last. So `chosen - 2 * last` puts all
        # selected features first, and `+ last` puts those that are not visible after all others.
        place = torch.where(selected, chosen - 2 * last, rest) + last * ~self.visible
        rank = place.argsort(1).argsort(1)
        # the same parameter values in descending order, given to the features in their new order
        ordered = self.parameter.gather(1, self.rank.argsort(1))
        return Ranking(ordered.gather(1, rank), self.visible, rank)

    def boundary(self, selected: Tensor) -> Tensor:
        """The parameter halfway between the last selected feature and the next one below it, [batch, 1].

        If all features are selected, it is one unit below the last one; if none, one unit above the first.

        Args:
            selected: bool [batch, gates].
        """
        inside = self.parameter.masked_fill(~selected, torch.inf).amin(1, keepdim=True)
        # a feature that the model does not react to may have a larger parameter than selected ones; it is
        # not the next one below
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
        # features that are not selected may have the parameter of one that is, or a larger one if the model
        # does not react to them; they must not be above `half`
        shifted = self.parameter - self.boundary(selected) + half
        return torch.where(selected, shifted, shifted.clamp_max(half))


def places(values: Tensor) -> Tensor:
    """The place of each value, 0 for the largest, long [batch, gates]."""
    return values.argsort(dim=1, descending=True, stable=True).argsort(1)
