"""The first set that is tested, chosen on references that neither the search nor the test sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .ranking import OtherOrder, Ranking
from .settings import CertificateSettings

__all__ = ["FirstSet", "Trial", "growth"]


def growth(size: Tensor, settings: CertificateSettings) -> Tensor:
    """By how many features sets of some sizes grow, long like `size`."""
    return (settings.growth * size).round().long().clamp_min(1)


@dataclass
class Trial:
    """What the trial references say of selections, each [examples].

    Attributes:
        enough: whether they suffice.
        floor: what a margin counts as at least. It is that of a row with which nothing is kept, or, where
            margins vary much, one far below them: a test that cut off what is common would certify too much.
        mean: mean margin.
    """

    enough: Tensor
    floor: Tensor
    mean: Tensor


@dataclass(frozen=True)
class FirstSet:
    """Chooses the set that is tested first.

    Attributes:
        margins: selections, bool [batch, gates], and examples, long [examples] -> by how much they exceed the
            claim with each trial reference, [references, examples].
        affords: examples -> whether one more selection of each may be measured, bool [examples].
        able: examples that are tested, bool [batch].
        target: the share that is claimed.
        settings: the numbers that decide.
        spread: whether margins are numbers that spread, and not only reached or missed.
    """

    margins: Callable[[Tensor, Tensor], Tensor]
    affords: Callable[[Tensor], Tensor]
    able: Tensor
    target: float
    settings: CertificateSettings
    spread: bool

    def choose(
        self, ranking: Ranking, count: Tensor, other: OtherOrder | None
    ) -> tuple[Ranking, Tensor, Tensor]:
        """The features in order, the size of the set, and what a margin counts as at least, each [batch].

        Args:
            ranking: the features in order.
            count: how many of them the search has found to suffice, long [batch].
            other: another order, if there is one, of the examples that need it.
        """
        if other is not None:
            ranking, count = self._smaller(ranking, count, other)
        ranking, size, floor = self._moved(ranking, count, other)
        return self._without_padding(ranking, count, size, floor)

    def trial(self, selected: Tensor, index: Tensor) -> Trial:
        """What the trial references say of the selections, bool [batch, gates], of some examples."""
        settings, target = self.settings, self.target
        if not len(index):
            nothing = torch.zeros_like(index, dtype=torch.float64)
            return Trial(torch.zeros_like(index, dtype=torch.bool), nothing, nothing.clone())
        seen = self.margins(selected, index)
        mean, most = seen.mean(0), 1 - target  # more than `most` cannot be beyond the claim
        lowest, wanted = torch.full_like(mean, -target), torch.full_like(mean, most / 2)
        if self.spread:
            deviation = seen.std(0)
            lowest = lowest.minimum(mean - settings.tail * deviation)
            wanted = wanted.minimum(settings.trial_deviations * deviation)
        enough = mean >= wanted.clamp_max(settings.trial_margin)
        return Trial(enough, lowest.nan_to_num(-target), mean)

    def _smaller(self, ranking: Ranking, count: Tensor, other: OtherOrder) -> tuple[Ranking, Tensor]:
        """The order and the size of a large set, or those of a smaller one of the other order.

        The search sees few references: a set is large where a small one just missed the claim on these.
        """
        fails, size = torch.ones_like(count), count.clone()
        for _ in range(self.settings.halvings):
            middle = (fails * size).sqrt().round().long()
            index = self._open((count > self.settings.small) & (fails < middle) & (middle < size))
            if not len(index):
                break
            enough = self.trial(other(index).top(middle.unsqueeze(1))[0], index).enough
            size[index[enough]], fails[index[~enough]] = middle[index[enough]], middle[index[~enough]]
        smaller = size < count
        index = smaller.nonzero().squeeze(1)
        return (ranking.replaced(smaller, other(index)) if len(index) else ranking), size

    def _moved(
        self, ranking: Ranking, count: Tensor, other: OtherOrder | None
    ) -> tuple[Ranking, Tensor, Tensor]:
        """Smaller sets while they suffice on the trial references, or larger ones until one does.

        They are those of the other order where these keep more. Returns as `choose`.
        """
        step, size, times = growth(count, self.settings), count.clone(), torch.ones_like(count)
        index, tried = self._open(count > 0), count.clone()
        down, floor = torch.zeros_like(count, dtype=torch.bool), torch.zeros_like(count, dtype=torch.float64)
        kept, first = torch.full_like(floor, -torch.inf), True
        while len(index):
            found, of_other = self._either(ranking, other, tried, index)
            falls = down[index]
            # a larger set that does not suffice either must keep more, or the smaller one stays
            better = found.enough | (~falls & (found.mean > kept[index] + self.settings.least_gain)) | first
            moved = index[better]
            size[moved], floor[moved], kept[moved] = tried[moved], found.floor[better], found.mean[better]
            if other is not None and bool(of_other.any()):
                changed = torch.zeros_like(down).index_fill(0, index[better & of_other], True)
                ranking = ranking.replaced(changed, other(index[better & of_other]))
            if first:
                down[index] = found.enough
            else:
                times[index] = (2 * times[index]).clamp_max(4)
                index = index[falls == found.enough]
            first = False
            new = torch.where(down, tried - step, tried + times * step)
            new = new.clamp_min(1).minimum(ranking.n_visible)
            index = index[(new != tried)[index]]
            index = index[self.affords(index)]
            tried[index] = new[index]
        return ranking, size, floor

    def _either(
        self, ranking: Ranking, other: OtherOrder | None, size: Tensor, index: Tensor
    ) -> tuple[Trial, Tensor]:
        """The trial of sets of some examples, and whether they are those of the other order, bool [examples].

        The other order is tried where the first does not suffice. It must suffice, or keep clearly more.
        """
        found = self.trial(ranking.top(size.unsqueeze(1))[0], index)
        of_other = torch.zeros_like(found.enough)
        short = (~found.enough).nonzero().squeeze(1)
        short = short[self.affords(index[short])]
        if other is None or not len(short):
            return found, of_other
        second = self.trial(other(index[short]).top(size.unsqueeze(1))[0], index[short])
        more = second.enough | (second.mean > found.mean[short] + self.settings.least_gain)
        of_other[short[more]] = True
        for name, values in vars(second).items():
            getattr(found, name)[short[more]] = values[more]
        return found, of_other

    def _without_padding(
        self, ranking: Ranking, count: Tensor, size: Tensor, floor: Tensor
    ) -> tuple[Ranking, Tensor, Tensor]:
        """The ranking, size and floor of sets without features that the trial references do not need.

        A set grows along the ranking, so it also takes features that it does not need. The features by
        which it has grown beyond the set of the search are left out one by one, the last of the ranking
        first. Those without which the rest still suffices are dropped.
        """
        selected, floor = ranking.top(size.unsqueeze(1))[0], floor.clone()
        for turn in range(self.settings.most_tried):
            last = size - 1 - turn
            index = self._open((last >= count) & (count > 0))
            if not len(index):
                break
            fewer = selected.clone()
            fewer[index] &= ranking.rank[index] != last[index].unsqueeze(1)
            found = self.trial(fewer, index)
            dropped = index[found.enough]
            selected[dropped], floor[dropped] = fewer[dropped], found.floor[found.enough]
        return ranking.promoted(selected), selected.sum(1), floor

    def _open(self, examples: Tensor) -> Tensor:
        """Those of some examples, bool [batch], of which one more selection may be measured, long."""
        index = (examples & self.able).nonzero().squeeze(1)
        return index[self.affords(index)]
