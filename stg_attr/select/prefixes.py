"""Prefixes: the first features of an order, and how many of them suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .large_sets import Measured, Open
from .ranking import OtherOrder, Ranking, Worth, in_other_order
from .selections import between, spread
from .settings import SearchSettings

__all__ = ["smallest_prefix"]


def smallest_prefix(
    ranking: Ranking,
    second: Worth | None,
    retain: float,
    measured: Measured,
    open_: Open,
    settings: SearchSettings,
) -> tuple[Ranking, Tensor]:
    """The order along which fewer features suffice, and how many they are, long [batch].

    Args:
        ranking: the features in order.
        second: what another order of them is by. It is tried where more than `largest_pruned` features of the
            ranking are needed.
        retain: share of the output that the features must retain.
        measured: what selections retain.
        open_: examples for which so many selections may be measured.
        settings: the numbers that decide how it searches.
    """
    search = _Prefixes(retain, measured, open_, settings)
    fails, suffices = torch.zeros_like(ranking.n_visible), ranking.n_visible
    other = in_other_order(ranking, second)
    if other is None:
        return search.smallest((ranking,), fails, suffices)
    chosen, fails, suffices = search.begin(ranking, other)
    few = suffices <= settings.largest_pruned
    chosen, count = search.smallest((chosen,), fails, suffices.where(few, 0))
    if bool(few.all()):
        return chosen, count
    larger, found = search.smallest(
        (other((~few).nonzero().squeeze(1)), ranking), fails, suffices.where(~few, 0)
    )
    return chosen.replaced(~few, larger), count.where(few, found)


@dataclass(frozen=True)
class _Prefixes:
    """The search for the smallest sufficient prefix; see `smallest_prefix` for the fields."""

    retain: float
    measured: Measured
    open_: Open
    settings: SearchSettings

    def begin(self, ranking: Ranking, other: OtherOrder) -> tuple[Ranking, Tensor, Tensor]:
        """Measure the first `largest_pruned` features of both orders; the ranking comes first.

        Returns:
            The order whose features suffice, or the ranking if no order's do; the largest count known to
            fail, and the smallest known to suffice, each long [batch].
        """
        suffices, few, chosen = ranking.n_visible, self.settings.largest_pruned, ranking
        fails = torch.zeros_like(suffices)
        cases = self.open_(suffices > few, 2)
        for which in range(2):
            if not len(cases):
                break
            one = other(cases) if which else ranking
            enough = self._suffice(one, cases, torch.full_like(cases.unsqueeze(1), few)).squeeze(1)
            taken = torch.zeros_like(suffices, dtype=torch.bool)
            taken[cases[enough]] = True
            chosen, suffices = chosen.replaced(taken, one), suffices.masked_fill(taken, few)
            cases = cases[~enough]
        fails[cases] = few
        return chosen, fails, suffices

    def smallest(self, orders: Sequence[Ranking], fails: Tensor, suffices: Tensor) -> tuple[Ranking, Tensor]:
        """The order along which the smallest count between two suffices, and that count, long [batch].

        Along several orders the same counts are measured; the first order stays where no other is better.
        """
        chosen, count = self._shortest(orders, fails, suffices)
        return chosen, self._smaller(chosen, count)

    def _shortest(self, orders: Sequence[Ranking], fails: Tensor, suffices: Tensor) -> tuple[Ranking, Tensor]:
        """The same as `smallest`, for a model of which more features always keep more."""
        chosen, fails, suffices = orders[0], fails.clone(), suffices.clone()
        points = self.settings.prefix_points
        while True:
            cases = self.open_(suffices - fails > 1, len(orders) * points)
            if not len(cases):
                return chosen, suffices
            counts = between(fails[cases], suffices[cases], points)
            high, failed = suffices[cases].unsqueeze(1), torch.ones_like(counts, dtype=torch.bool)
            for order in orders:
                enough = self._suffice(order, cases, counts)
                found = torch.where(enough, counts, high).amin(1)
                taken = torch.zeros_like(suffices, dtype=torch.bool)
                taken[cases] = found < suffices[cases]
                chosen, failed = chosen.replaced(taken, order), failed & ~enough
                suffices[cases] = found.minimum(suffices[cases])
            below = failed & (counts < suffices[cases].unsqueeze(1))
            fails[cases] = torch.where(below, counts, fails[cases].unsqueeze(1)).amax(1)

    def _suffice(self, ranking: Ranking, cases: Tensor, counts: Tensor) -> Tensor:
        """Whether the first features of a ranking retain enough, for counts [examples, k]; the same shape."""
        return self.measured(ranking.rows(cases).top(counts), cases) >= self.retain

    def _smaller(self, ranking: Ranking, count: Tensor) -> Tensor:
        """Smaller counts than a large one that suffice too; the same count where none is found.

        More features do not keep more in detectors and other nets with thresholds, so some much smaller
        counts are measured, in geometric steps.
        """
        n, count = self.settings.smaller_prefixes, count.clone()
        cases = self.open_(count > self.settings.largest_pruned, n)
        if len(cases):
            counts = spread(count[cases], n)
            enough = self._suffice(ranking, cases, counts)
            count[cases] = torch.where(enough, counts, count[cases].unsqueeze(1)).amin(1)
        return count
