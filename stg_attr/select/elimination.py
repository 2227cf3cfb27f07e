"""Backward elimination: members whose removal changes least are left out, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .large_sets import Measured
from .selections import first_of, without
from .settings import SearchSettings

__all__ = ["LeftWithoutEach", "eliminated", "shortened"]

#: Selections, bool [examples, gates], and examples, long [examples] -> what is retained without each member,
#: [examples, gates]; NaN for other features.
LeftWithoutEach = Callable[[Tensor, Tensor], Tensor]


def eliminated(
    selected: Tensor, examples: Tensor, retain: float, left_without_each: LeftWithoutEach
) -> tuple[Tensor, Tensor]:
    """Selections without the members that are not needed, the least missed first; bool [examples, gates].

    At most n (n + 1) / 2 selections of an example with n members are measured.

    Args:
        selected: where to begin, bool [examples, gates].
        examples: the examples that they are of, long [examples].
        retain: share of the output that must be retained.
        left_without_each: measures.

    Returns:
        The selections; and what is retained without each member alone, [examples, gates], NaN for other
        features.
    """
    first: Tensor | None = None
    selected, going = selected.clone(), torch.arange(len(examples), device=examples.device)
    while len(going):
        left = left_without_each(selected[going], examples[going])
        first = left if first is None else first
        most, gate = left.nan_to_num(-torch.inf).max(1)
        spared = most >= retain
        going, gate = going[spared], gate[spared]
        selected[going, gate] = False
        going = going[selected[going].any(1)]
    assert first is not None  # there is an example
    return selected, first


def shortened(
    selected: Tensor,
    rank: Tensor,
    left: Tensor,
    examples: Tensor,
    retain: float,
    measured: Measured,
    settings: SearchSettings,
) -> Tensor:
    """Selections without the members whose removal changes least, as many at once as still suffice.

    Of the members that are not needed alone, the first 2, 3, ... are left out together.

    Args:
        selected: bool [examples, gates].
        rank: place of each feature in the ranking, long [examples, gates].
        left: what is retained without each member, [examples, gates]; NaN for other features.
        examples: the examples that they are of, long [examples].
        retain: share of the output that must be retained.
        measured: what selections retain.
        settings: how many members are tried together.

    Returns:
        The selections, unchanged where every member is needed.
    """
    rank = rank.masked_fill(~selected, -1)
    width = int(selected.sum(1).max())
    tried = rank.topk(width, dim=1).indices  # last first, [examples, width]
    alone = left.gather(1, tried).nan_to_num(-torch.inf)
    alone, order = alone.sort(dim=1, descending=True, stable=True)
    tried, spared = tried.gather(1, order), (alone >= retain).sum(1)  # least missed first
    most = spared.clamp(max=1)
    heads = range(2, min(settings.removed_together, int(spared.max())) + 1)
    if heads:
        rows = [(spared >= n).nonzero().squeeze(1) for n in heads]
        fewer = [
            without(selected[row], tried[row, :n].unsqueeze(0)) for n, row in zip(heads, rows, strict=True)
        ]
        enough = measured(torch.cat(fewer, 1), examples[torch.cat(rows)]).squeeze(1) >= retain
        for n, row, kept in zip(heads, rows, torch.split(enough, list(map(len, rows))), strict=True):
            most[row[kept]] = n
    return selected & ~first_of(tried, most, selected.shape[1])
