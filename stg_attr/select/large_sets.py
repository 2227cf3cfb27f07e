"""Large sets: groups of members that are not needed are dropped."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ranking import Ranking
from .settings import SearchSettings

__all__ = ["Measured", "Open", "thinned"]

#: Hard selections, bool [k, examples, gates], and examples, long [examples]
#: -> retained shares, [examples, k].
Measured = Callable[[Tensor, Tensor], Tensor]

#: Examples, bool [batch], and a number of selections -> those that may be measured so often, long [examples].
Open = Callable[[Tensor, int], Tensor]


def thinned(
    ranking: Ranking,
    selected: Tensor,
    retain: float,
    measured: Measured,
    open_: Open,
    settings: SearchSettings,
) -> Tensor:
    """Large sets without the groups of members that are not needed, bool [batch, gates].

    Members are cut into groups of neighbours in the ranking. Each group is left out alone; the one whose
    removal changes least is dropped if the rest suffices; and so on, until each group is needed or the set is
    small.
    """
    selected = selected.clone()
    going = selected.sum(1) > settings.largest_pruned
    while True:
        if not bool(going.any()):
            return selected
        examples = open_(going, settings.groups)
        going = torch.zeros_like(going)
        if not len(examples):
            return selected
        some = selected[examples]
        place = ranking.rank[examples].masked_fill(~some, ranking.rank.shape[1]).argsort(1).argsort(1)
        group = place * settings.groups // some.sum(1, keepdim=True)
        without = torch.stack([some & (group != g) for g in range(settings.groups)])
        left, least = measured(without, examples).max(1)
        spared = left >= retain
        selected[examples[spared]] = without[least[spared], spared.nonzero().squeeze(1)]
        going[examples[spared]] = selected[examples[spared]].sum(1) > settings.largest_pruned
