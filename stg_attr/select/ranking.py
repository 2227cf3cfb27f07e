"""Ranking: the features of every example in order, and the selections of the top k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

__all__ = ["OtherOrder", "Ranking", "Worth", "in_other_order", "places"]

# units of rounding: between equal parameters that are moved apart, and from `half` to the last selected one
_STEP, _CLEAR = 8, 64


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

    def replaced(self, where: Tensor, other: Ranking) -> Ranking:
        """The other ranking in the examples of `where`, bool [batch], and this one in the rest."""
        rows = where.unsqueeze(1)
        parameter = torch.where(rows, other.parameter, self.parameter)
        return Ranking(parameter, self.visible, torch.where(rows, other.rank, self.rank))

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

    def at(self, selected: Tensor, half: float, before: Tensor | None = None) -> Tensor:
        """Parameters shifted until the boundary of a selection is at `half`, [batch, gates].

        Those of the selected features are above `half`, and no others are. Equal parameters are moved apart
        by a few units of rounding, so that they fall strictly along the ranking.

        Args:
            selected: the first features of the ranking, bool [batch, gates].
            half: the parameter at which a gate is active as often as not.
            before: features that those not visible come after, bool [batch, gates]; None leaves them where
                they are.
        """
        # features that are not selected may have the parameter of one that is, or a larger one if the model
        # does not react to them; they must not be above `half`
        shifted = self.parameter - self.boundary(selected) + half
        shifted = torch.where(selected, shifted, shifted.clamp_max(half))
        rounding = _CLEAR * torch.finfo(shifted.dtype).eps * max(1.0, abs(half))
        shifted = torch.where(selected, shifted.clamp_min(half + rounding), shifted)
        order = self.rank.argsort(1)
        apart = _apart(shifted.gather(1, order), selected.gather(1, order)).gather(1, self.rank)
        if before is not None:
            lowest = apart.masked_fill(~before, torch.inf).amin(1, keepdim=True)
            shifted = shifted.minimum(torch.nextafter(lowest, torch.full_like(lowest, -torch.inf)))
        return torch.where(self.visible, apart, shifted)


# Of the examples that are asked for, long [examples]; the values of the others need not be known.
Worth = Callable[[Tensor], Tensor]  # how much each feature is worth, [batch, gates]
OtherOrder = Callable[[Tensor], Ranking]


def in_other_order(ranking: Ranking, worth: Worth | None) -> OtherOrder | None:
    """The features of a ranking by their worth, the largest first; None for no other order."""
    if worth is None:
        return None
    nothing, device = torch.zeros_like(ranking.visible), ranking.parameter.device
    return lambda index: ranking.promoted(nothing, worth=worth(index).to(device))


def _apart(values: Tensor, selected: Tensor) -> Tensor:
    """Values that fall from left to right, [batch, gates], moved so that they fall strictly.

    Selected ones are raised and others lowered, each by a few units of rounding more than its neighbour;
    values that are further apart stay as they are.
    """
    size = values.masked_fill(~values.isfinite(), 0.0).abs().amax(1, keepdim=True).clamp_min(1.0)
    step = _STEP * torch.finfo(values.dtype).eps * size
    ramp = step * torch.arange(values.shape[1], device=values.device)
    raised = (values + ramp).masked_fill(~selected, -torch.inf).flip(1).cummax(1).values.flip(1)
    lowered = (values + ramp).masked_fill(selected, torch.inf).cummin(1).values
    moved = torch.where(selected, raised, lowered) - ramp
    return torch.where((moved - values).abs() > step / 2, moved, values)


def places(values: Tensor) -> Tensor:
    """The place of each value, 0 for the largest, long [batch, gates]."""
    return values.argsort(dim=1, descending=True, stable=True).argsort(1)
