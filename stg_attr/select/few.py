"""Sets of few features: more of them can be measured, up to all that may be smaller or keep more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from .elimination import LeftWithoutEach, eliminated
from .large_sets import Measured
from .ranking import Ranking
from .settings import SearchSettings

__all__ = ["FewFeatures"]


@dataclass(frozen=True)
class FewFeatures:
    """Searches on where features are few.

    Attributes:
        ranking: the features in order.
        measured: what selections retain.
        value: of selections, bool [examples, gates], of examples, long [examples]; -inf where they do not
            suffice.
        left_without_each: what is retained without each member.
        affords: whether so many more selections of an example may be measured.
        retain: share of the output that a set must retain.
        settings: the numbers that decide how it searches.
    """

    ranking: Ranking
    measured: Measured
    value: Callable[[Tensor, Tensor], Tensor]
    left_without_each: LeftWithoutEach
    affords: Callable[[int, int], bool]
    retain: float
    settings: SearchSettings

    def better(self, selected: Tensor, examples: Tensor) -> Tensor:
        """Sets that are smaller than those selected, or keep more, bool [examples, gates].

        The features without which all others do not suffice count as needed. The others are

        1. left out by backward elimination;
        2. tried in all combinations of one fewer, as long as these are few and one suffices; where they are
           many, left out in random orders;
        3. tried in all combinations of as many where these are few, else exchanged for members.

        Between 2 and 3, a feature is tried in the place of any two members, also of needed ones: they may not
        be needed in a net in which more features can keep less.

        Args:
            selected: bool [examples, gates].
            examples: the examples that they are of, long [examples].
        """
        visible = self.ranking.visible[examples]
        found, without = eliminated(visible, examples, self.retain, self.left_without_each)
        needed = visible & (without < self.retain)
        best = self._better_of(selected, found, examples)
        for i, example in enumerate(examples.tolist()):
            order = self.ranking.rank[example].argsort()
            free = order[(visible[i] & ~needed[i])[order]]
            best[i] = self._searched(best[i], needed[i], free, example)
        return self._better_of(selected, best, examples)

    def _better_of(self, first: Tensor, second: Tensor, examples: Tensor) -> Tensor:
        """The smaller sets; of equally large ones those that are worth clearly more; else the first."""
        fewer = second.sum(1) - first.sum(1)
        more = self.value(second, examples) > self.value(first, examples) + self.settings.same
        return torch.where(((fewer < 0) | ((fewer == 0) & more)).unsqueeze(1), second, first)

    def _searched(self, best: Tensor, needed: Tensor, free: Tensor, example: int) -> Tensor:
        """Steps 2 and 3 for one example, bool [gates].

        Args:
            best: the best set so far, bool [gates].
            needed: features that are in each set that is tried, bool [gates].
            free: the other features in order, long.
            example: its number.
        """
        known = int(needed.sum())
        while int(best.sum()) > known:
            sets = self._combinations(needed, free, int(best.sum()) - known - 1, example)
            if sets is None:
                best = self._in_random_orders(best, needed, free, example)
                break
            found = self._best(sets, example)
            if found is None:
                break
            best = found
        best = self._exchanged(best, 2, example)
        sets = self._combinations(needed, free, int(best.sum()) - known, example)
        if sets is None:
            return self._exchanged(best, 1, example)
        found = self._best(sets, example)
        return best if found is None else found

    def _exchanged(self, best: Tensor, n: int, example: int) -> Tensor:
        """Exchange n members for another feature while that makes the set smaller, or worth clearly more."""
        index = torch.tensor([example], device=best.device)
        others = (self.ranking.visible[example] & ~best).nonzero()
        while True:
            members = best.nonzero().flatten().tolist()
            k = comb(len(members), n) * len(others)
            if not 0 < k <= self.settings.subsets or not self.affords(example, 2 * k):
                return best
            out = torch.tensor(list(combinations(members, n)), device=best.device)
            sets = best.repeat(k, 1).scatter(1, out.repeat_interleave(len(others), 0), False)
            found = self._best(sets.scatter(1, others.repeat(len(out), 1), True), example)
            better = best if found is None else self._better_of(best[None], found[None], index)[0]
            if bool((better == best).all()):
                return best
            best, others = better, (self.ranking.visible[example] & ~better).nonzero()

    def _combinations(self, needed: Tensor, free: Tensor, n: int, example: int) -> Tensor | None:
        """The needed features with all combinations of n others, bool [k, gates]; None if they are many."""
        k = comb(len(free), n) if n >= 0 else 0
        if not 0 < k <= self.settings.subsets or not self.affords(example, 2 * k):
            return None
        chosen = torch.tensor(list(combinations(free.tolist(), n)), dtype=torch.long, device=needed.device)
        return needed.repeat(k, 1).scatter(1, chosen.reshape(k, n), True)

    def _in_random_orders(self, best: Tensor, needed: Tensor, free: Tensor, example: int) -> Tensor:
        """The smallest set where features are left out in random orders, or the best one so far."""
        n = self.settings.subsets // max(1, len(free))
        if not self.affords(example, n * len(free)):
            return best
        made = torch.Generator().manual_seed(0)  # the same orders of places for each example
        orders = torch.rand(n, len(free), generator=made).argsort(1).to(free.device)
        sets = (needed | torch.zeros_like(needed).index_fill(0, free, True)).repeat(n, 1)
        for gate in free[orders].T.unsqueeze(2):
            fewer = sets.scatter(1, gate, False)
            sets = torch.where((self._shares(fewer, example) >= self.retain).unsqueeze(1), fewer, sets)
        sets = torch.cat([best.unsqueeze(0), sets])
        found = self._best(sets[sets.sum(1) == sets.sum(1).min()], example)
        return best if found is None else found

    def _shares(self, sets: Tensor, example: int) -> Tensor:
        """What sets of an example retain, bool [k, gates] -> [k]."""
        return self.measured(sets.unsqueeze(1), torch.tensor([example], device=sets.device))[0]

    def _best(self, sets: Tensor, example: int) -> Tensor | None:
        """The set that suffices and is worth most, bool [gates]; None where no set suffices."""
        sets = sets[self._shares(sets, example) >= self.retain]
        if not len(sets):
            return None
        worth = self.value(sets, torch.full((len(sets),), example, device=sets.device))
        return sets[worth.argmax()]
