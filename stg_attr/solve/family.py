"""The family of a solved example: its gates in order, at every budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ranking", "SelectionFamily"]

_LARGEST_PRUNED = 12  # gates of a set whose members are tried for removal; larger sets would cost too much
_ONE_BY_ONE = 6  # gates of a set that are put in order one by one
_SAME = 1e-3  # share of the output by which two gates must differ in what they are missed for
_MOST_TOGETHER = 4  # gates that are tried for removal together
_TRADED = 12  # counts measured in one round of the search for the best trade of openness for output
_POINTS = 3  # counts measured in one round of the search for the smallest sufficient set

#: Hard selections of some examples, bool [k, examples, gates], and which, long [examples] on the CPU
#: -> share [k, examples].
Retained = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Ranking:
    """The gates of every example in order of their parameters.

    Attributes:
        parameter: gate parameters, [batch, gates].
        visible: gates that exist and that the model reacts to, bool [batch, gates]; only these are selected.
        rank: place of each visible gate, best 0, long [batch, gates].
    """

    parameter: Tensor
    visible: Tensor
    rank: Tensor

    @classmethod
    def of(cls, parameter: Tensor, visible: Tensor) -> Ranking:
        """Rank gates by their parameters."""
        order = parameter.masked_fill(~visible, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return cls(parameter, visible, order.argsort(1))

    @property
    def n_visible(self) -> Tensor:
        """Number of gates that can be selected, long [batch]."""
        return self.visible.sum(1)

    def rows(self, examples: Tensor) -> Ranking:
        """The ranking of some examples, long [examples]."""
        return Ranking(self.parameter[examples], self.visible[examples], self.rank[examples])

    def top(self, counts: Tensor) -> Tensor:
        """The hard selections of the first gates: counts [batch, k] -> bool [k, batch, gates]."""
        return (self.rank < counts.T.unsqueeze(2)) & self.visible

    def promoted(self, selected: Tensor, place: Tensor | None = None, worth: Tensor | None = None) -> Ranking:
        """The same parameters handed out anew, so that a selection comes first; orders within stay.

        Args:
            selected: visible gates, bool [batch, gates].
            place: orders the selected gates by this instead, smallest first, from minus to plus the number of
                gates, long [batch, gates].
            worth: orders the other gates by this instead, largest first, [batch, gates].
        """
        chosen = self.rank if place is None else place
        rest = self.rank if worth is None else _places(worth)
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

    def at(self, selected: Tensor, half: Tensor) -> Tensor:
        """Parameters shifted until the boundary of a selection is at `half`, [batch, gates].

        Args:
            selected: bool [batch, gates].
            half: the parameter whose active probability is one half, a number in a tensor.
        """
        shifted = self.parameter - self.boundary(selected) + half
        return torch.where(self.visible, shifted, shifted.minimum(half))


def _places(values: Tensor) -> Tensor:
    """The place of each value, 0 for the largest, long [batch, gates]."""
    return values.argsort(dim=1, descending=True, stable=True).argsort(1)


class SelectionFamily:
    """Top-k selections of a ranking, measured by running the model on them.

    Args:
        ranking: the gates in order; `smallest_sufficient` and `arrange` refine it.
        retained: measures hard selections of some examples, bool [k, examples, gates] and
            long [examples] on the CPU -> retained share [k, examples]; an example may come several times.
        affords: whether so many more selections of an example may be measured, long [examples] on the CPU
            and long [examples] -> bool [examples]; a search that may not go on keeps what it has found.

    Attributes:
        needed: selected gates without which too little is left, measured, bool [batch, gates].
        left: what is retained when a gate of the smallest sufficient set is left out alone, [batch, gates];
            NaN where it was not measured.
    """

    def __init__(
        self,
        ranking: Ranking,
        retained: Retained,
        affords: Callable[[Tensor, Tensor], Tensor] = lambda examples, n: torch.ones_like(
            n, dtype=torch.bool
        ),
    ) -> None:
        self.ranking = ranking
        self.needed = torch.zeros_like(ranking.visible)
        self.left = torch.full_like(ranking.parameter, torch.nan)
        self._retained = retained
        self._affords = affords

    @property
    def n_gates(self) -> Tensor:
        """Number of gates that exist in each example, long [batch]."""
        return self.ranking.parameter.isfinite().sum(1)

    def best_value(self, price: float) -> Tensor:
        """The k whose top k gates achieve most after `price` for each of them, long [batch].

        Counts are tried in geometric steps over all, then between the neighbours of the best.
        """
        chosen = self.ranking.n_visible
        low, high = torch.zeros_like(chosen), chosen.clone()
        share = torch.linspace(0, 1, _TRADED, device=low.device)
        open_cases = self._open(torch.ones_like(chosen, dtype=torch.bool), _TRADED)
        while len(open_cases):
            below, above = low[open_cases].unsqueeze(1), high[open_cases].unsqueeze(1)
            counts = ((below + 1) * ((above + 1) / (below + 1)) ** share - 1).round().long()
            value = self._measured(self.ranking.rows(open_cases).top(counts), open_cases) - price * counts
            best = counts.gather(1, value.argmax(1, keepdim=True))
            below = counts.masked_fill(counts >= best, -1).amax(1, keepdim=True).clamp_min(0)
            above = counts.masked_fill(counts <= best, int(high.max()) + 1).amin(1, keepdim=True)
            above = above.minimum(high[open_cases].unsqueeze(1))
            chosen = chosen.index_copy(0, open_cases, best.squeeze(1))
            low = low.index_copy(0, open_cases, below.squeeze(1))
            high = high.index_copy(0, open_cases, above.squeeze(1))
            open_cases = self._open((chosen - low > 1) | (high - chosen > 1), _TRADED)
        return chosen

    def smallest_sufficient(self, retain: float) -> Tensor:
        """The size of a set that suffices; of a small one, none of the members can be spared; long [batch].

        First the smallest k whose top k gates suffice: counts are tried in geometric steps between the
        largest that failed and the smallest that did not, a few per round, until the two are neighbours;
        all gates together always suffice. Then, in small sets, the gates that are missed least are dropped
        until none can be spared; what is dropped comes next in the ranking. Every claim is measured.
        """
        selected = self.ranking.top(self._shortest_prefix(retain).unsqueeze(1))[0]
        size = selected.sum(1)
        tried = size + _MOST_TOGETHER - 1
        open_cases = self._open((size > 0) & (size <= _LARGEST_PRUNED), tried)
        while len(open_cases):
            shorter, left = self._shortened(selected[open_cases], open_cases, retain)
            self.needed[open_cases] = left < retain
            changed = (shorter != selected[open_cases]).any(1)
            self.left[open_cases] = left.masked_fill(changed.unsqueeze(1), torch.nan)
            selected[open_cases] = shorter
            again = torch.zeros_like(size, dtype=torch.bool)
            again[open_cases] = changed & shorter.any(1)
            open_cases = self._open(again, tried)
        self.ranking = self.ranking.promoted(selected)
        return selected.sum(1)

    def _shortest_prefix(self, retain: float) -> Tensor:
        suffices = self.ranking.n_visible
        fails = torch.zeros_like(suffices)
        while True:
            open_cases = self._open(suffices - fails > 1, _POINTS)
            if not len(open_cases):
                return suffices
            low, high = fails[open_cases], suffices[open_cases]
            counts = _between(low, high)
            top = self.ranking.rows(open_cases).top(counts)
            values = self._measured(top, open_cases)
            enough = values >= retain
            high = torch.where(enough, counts, high.unsqueeze(1)).amin(1)
            below = ~enough & (counts < high.unsqueeze(1))
            low = torch.where(below, counts, low.unsqueeze(1)).amax(1)
            suffices[open_cases], fails[open_cases] = high, low

    def _shortened(self, selected: Tensor, examples: Tensor, retain: float) -> tuple[Tensor, Tensor]:
        """Selections less the members that are missed least, as many at once as the rest can spare.

        Every member is left out alone; then the first 2, 3, ... of those that can be spared alone,
        together. Unchanged where no member can be spared. Second, what is retained without each member,
        NaN for the other gates.
        """
        rank = self.ranking.rank[examples]
        width = int(selected.sum(1).max())
        tried = rank.masked_fill(~selected, -1).topk(width, dim=1).indices  # last first, [examples, width]
        left = self._left_without_each(selected, examples, self._retained)
        alone = left.gather(1, tried).nan_to_num(-torch.inf)
        alone, order = alone.sort(dim=1, descending=True, stable=True)
        tried, spared = tried.gather(1, order), (alone >= retain).sum(1)  # least missed first
        most = spared.clamp(max=1)
        heads = range(2, min(_MOST_TOGETHER, int(spared.max())) + 1)
        if heads:
            rows = [(spared >= n).nonzero().squeeze(1) for n in heads]
            fewer = [
                _without(selected[row], tried[row, :n].unsqueeze(0))
                for n, row in zip(heads, rows, strict=True)
            ]
            enough = self._measured(torch.cat(fewer, 1), examples[torch.cat(rows)]).squeeze(1) >= retain
            for n, row, kept in zip(heads, rows, torch.split(enough, list(map(len, rows))), strict=True):
                most[row[kept]] = n
        leaving = torch.arange(width, device=most.device) < most.unsqueeze(1)
        return selected & ~torch.zeros_like(selected).scatter(1, tried, leaving), left

    def arrange(self, selected: Tensor, other: Retained | None = None) -> Tensor:
        """The order of the selected gates of small sets, by backward elimination with real forwards.

        The member that is missed least leaves first and comes last, then the one that the rest misses least,
        and so on; of more than six, all but six leave in one round. Members that are missed alike, and those
        of large sets, stay in the order of the ranking.

        Args:
            selected: bool [batch, gates], as `smallest_sufficient` found it or otherwise.
            other: measures what else is asked of a selection, as `retained`; the two are added up.

        Returns:
            Place of each selected gate, the smallest first, from minus to plus the number of gates; long
            [batch, gates].
        """
        place = self.ranking.rank - self.ranking.rank.shape[1]
        members = selected & (selected.sum(1, keepdim=True) <= _LARGEST_PRUNED)
        known = torch.where(members, self.left, torch.nan)
        while True:
            n = members.sum(1)
            open_cases = self._open(n > 1, n * (1 if other is None else 2))
            if not len(open_cases):
                return place
            some, n = members[open_cases], n[open_cases].unsqueeze(1)
            left = known[open_cases]
            unknown = (some & left.isnan()).any(1)
            left[unknown] = self._left_without_each(some[unknown], open_cases[unknown], self._retained)
            if other is not None:
                left = left + self._left_without_each(some, open_cases, other)
            missed_most_first = self._positions(left.masked_fill(~some, torch.inf), open_cases)
            stays = missed_most_first < torch.where(n > _ONE_BY_ONE, _ONE_BY_ONE, n - 1)
            place[open_cases] = torch.where(some & ~stays, missed_most_first, place[open_cases])
            members[open_cases] = some & stays
            known[open_cases] = torch.nan

    def _positions(self, left: Tensor, examples: Tensor) -> Tensor:
        """Gates by what is left without them, the least first; those that are alike as they are ranked."""
        by_rank = self.ranking.rank[examples].argsort(1)
        order = (left / _SAME).round().gather(1, by_rank).argsort(dim=1, stable=True)
        return by_rank.gather(1, order).argsort(1)

    def _left_without_each(self, selected: Tensor, examples: Tensor, measure: Retained) -> Tensor:
        """What selections achieve without each of their members, [examples, gates]; NaN for other gates."""
        left = torch.full_like(selected, torch.nan, dtype=self.ranking.parameter.dtype)
        row, gate = selected.nonzero(as_tuple=True)
        if len(row):
            one_less = _without(selected[row], gate.reshape(1, -1, 1))
            left[row, gate] = self._measured(one_less, examples[row], measure).squeeze(1).to(left.dtype)
        return left

    def _open(self, cases: Tensor, n: int | Tensor) -> Tensor:
        """The cases, bool [batch], for which n more selections may be measured, long [examples]."""
        examples = cases.nonzero().squeeze(1)
        counts = torch.as_tensor(n, device=examples.device).expand(len(cases))[examples]
        return examples[self._affords(examples.cpu(), counts.cpu()).to(examples.device)]

    def _measured(self, selections: Tensor, examples: Tensor, measure: Retained | None = None) -> Tensor:
        """Retained share of [k, examples, gates], [examples, k]; -inf where the model says nothing."""
        share = (measure or self._retained)(selections, examples.cpu()).T
        return share.masked_fill(share.isnan(), -torch.inf)


def _without(selected: Tensor, columns: Tensor) -> Tensor:
    """Selections [examples, gates] less some columns, long [k, examples, n] -> bool [k, examples, gates]."""
    return selected.expand(len(columns), -1, -1).scatter(2, columns, False)


def _between(low: Tensor, high: Tensor) -> Tensor:
    """Counts spread geometrically over (low, high), long [batch, points]; repeated where few are left."""
    share = torch.arange(1, _POINTS + 1, device=low.device) / (_POINTS + 1)
    ratio = (high + 1) / (low + 1)
    spread = ((low + 1).unsqueeze(1) * ratio.unsqueeze(1) ** share - 1).round().long()
    ladder = low.unsqueeze(1) + torch.arange(1, _POINTS + 1, device=low.device)
    return spread.maximum(ladder).minimum((high - 1).unsqueeze(1)).maximum((low + 1).unsqueeze(1))
