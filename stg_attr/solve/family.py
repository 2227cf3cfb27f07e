"""The family of a solved example: its gates in order, at every budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ranking import Ranking, places

__all__ = ["SelectionFamily"]

_LARGEST_PRUNED = 12  # gates of a set whose members are tried for removal; larger sets would cost too much
_ONE_BY_ONE = 6  # gates of a set that are put in order one by one
_SAME = 1e-3  # share of the output by which two gates must differ in what they are missed for
_MOST_TOGETHER = 4  # gates that are tried for removal together
_NEXT = 6  # gates outside a set, at most, that are put in order by what they add,
_NOTED = 0.02  # if it is more than this share of the output, in steps of as much
_TRADED = 12  # counts measured in one round of the search for the best trade of openness for output
_POINTS = 3  # counts measured in one round of the search for the smallest sufficient set

#: Hard selections of some examples, bool [k, examples, gates], and which, long [examples] on the CPU
#: -> share [k, examples].
Retained = Callable[[Tensor, Tensor], Tensor]


class SelectionFamily:
    """Top-k selections of a ranking, measured by running the model on them.

    Args:
        ranking: the gates in order; `smallest_sufficient` and `arrange` refine it.
        retained: measures hard selections of some examples, bool [k, examples, gates] and
            long [examples] on the CPU -> retained share [k, examples]; an example may come several times.
        affords: whether so many more selections of an example may be measured, long [examples] on the CPU
            and long [examples] -> bool [examples]; a search that may not go on keeps what it has found.
        other: measures what else is asked of a selection, as `retained`; the two are added up where
            selections are compared.
        promise: what gates outside a set may bring, [batch, gates]; those that promise most are tried.
        trials: selections that are tried to better a small set, long [batch] or one for all; none by default.

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
        other: Retained | None = None,
        promise: Tensor | None = None,
        trials: Tensor | int = 0,
    ) -> None:
        self.ranking = ranking
        self.needed = torch.zeros_like(ranking.visible)
        self.left = torch.full_like(ranking.parameter, torch.nan)
        self._retained = retained
        self._affords = affords
        self._other = other
        self._promise = ranking.parameter if promise is None else promise
        self._trials = torch.zeros_like(ranking.rank[:, 0]) + trials

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
        until none can be spared; what is dropped comes next in the ranking. Where trials are allowed, members
        are exchanged for gates that do more in their place. Every claim is measured.
        """
        selected = self.ranking.top(self._shortest_prefix(retain).unsqueeze(1))[0]
        self._prune(selected, retain, torch.ones_like(selected[:, 0]))
        self._prune(selected, retain, self._exchange(selected, retain))
        self.ranking = self.ranking.promoted(selected)
        return selected.sum(1)

    def _prune(self, selected: Tensor, retain: float, cases: Tensor) -> None:
        """Drop members of small sets, bool [batch, gates], in place, until none can be spared."""
        tried = selected.sum(1) + _MOST_TOGETHER - 1
        open_cases = self._open(cases & _small(selected), tried)
        while len(open_cases):
            shorter, left = self._shortened(selected[open_cases], open_cases, retain)
            self.needed[open_cases] = left < retain
            changed = (shorter != selected[open_cases]).any(1)
            self.left[open_cases] = left.masked_fill(changed.unsqueeze(1), torch.nan)
            selected[open_cases] = shorter
            again = torch.zeros_like(cases)
            again[open_cases] = changed & shorter.any(1)
            open_cases = self._open(again, tried)

    def _exchange(self, selected: Tensor, retain: float) -> Tensor:
        """Let members of small sets, the least missed first, give way to gates that do more in their place.

        Args:
            selected: bool [batch, gates], changed in place.
            retain: what a set must retain.

        Returns:
            Which sets were changed, bool [batch].
        """
        size = selected.sum(1)
        exchanged = torch.zeros_like(selected[:, 0])
        tried = self._trials // size.clamp_min(1)
        after = 2 * size  # what is pruned and put in order afterwards has to be affordable, too
        n_measured = (tried * size + 1 + after) * self._n_measures
        open_cases = self._open(self._improvable(selected, tried), n_measured)
        if not len(open_cases):
            return exchanged
        members = self._least_missed_first(selected)
        value = torch.zeros_like(self.left[:, 0])
        value[open_cases] = self._value(selected[open_cases], open_cases)
        for turn in range(int(size[open_cases].max())):
            rows = open_cases[size[open_cases] > turn]
            fewer = selected[rows].scatter(1, members[rows, turn : turn + 1], False)
            found = self._with_each(fewer, self._promising(selected[rows], rows, tried[rows]), rows, retain)
            best, gate = found.max(1)
            better = best > value[rows] + _SAME
            changed = rows[better]
            selected[changed] = fewer[better].scatter(1, gate[better].unsqueeze(1), True)
            value[changed] = best[better]
            exchanged[changed] = True
        self.left[exchanged], self.needed[exchanged] = torch.nan, False
        return exchanged

    def _least_missed_first(self, selected: Tensor) -> Tensor:
        """Selected gates from the least missed to the most, then the others, long [batch, gates]."""
        missed = torch.where(self.left.isnan(), self.ranking.rank.to(self.left.dtype), -self.left)
        return missed.masked_fill(~selected, torch.inf).argsort(dim=1, stable=True)

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

    def arrange(self, selected: Tensor) -> Tensor:
        """The order of the selected gates of small sets, by backward elimination with real forwards.

        The member that is missed least leaves first and comes last, then the one that the rest misses least,
        and so on; of more than six, all but six leave in one round. Members that are missed alike, and those
        of large sets, stay in the order of the ranking.

        Args:
            selected: bool [batch, gates], as `smallest_sufficient` found it or otherwise.

        Returns:
            Place of each selected gate, the smallest first, from minus to plus the number of gates; long
            [batch, gates].
        """
        place = self.ranking.rank - self.ranking.rank.shape[1]
        members = selected & _small(selected).unsqueeze(1)
        known = torch.where(members, self.left, torch.nan)
        while True:
            n = members.sum(1)
            open_cases = self._open(n > 1, n * self._n_measures)
            if not len(open_cases):
                return place
            some, n = members[open_cases], n[open_cases].unsqueeze(1)
            left = known[open_cases]
            unknown = (some & left.isnan()).any(1)
            left[unknown] = self._left_without_each(some[unknown], open_cases[unknown], self._retained)
            if self._other is not None:
                left = left + self._left_without_each(some, open_cases, self._other)
            missed_most_first = self._positions(left.masked_fill(~some, torch.inf), open_cases, _SAME)
            stays = missed_most_first < torch.where(n > _ONE_BY_ONE, _ONE_BY_ONE, n - 1)
            place[open_cases] = torch.where(some & ~stays, missed_most_first, place[open_cases])
            members[open_cases] = some & stays
            known[open_cases] = torch.nan

    def extend(self, selected: Tensor) -> Tensor:
        """What orders the gates outside small sets, [batch, gates]: up to six that add most come first.

        They are looked for among those that promise most. All others, also those that add little, stay in
        the order of the ranking.

        Args:
            selected: bool [batch, gates].
        """
        worth = -self.ranking.rank.to(self.left.dtype)
        cases = self._open(self._improvable(selected, self._trials), (self._trials + 1) * self._n_measures)
        if len(cases):
            some = selected[cases]
            added = self._with_each(some, self._promising(some, cases, self._trials[cases]), cases)
            gain = added - self._value(some, cases).unsqueeze(1)
            noted = gain > _NOTED
            place = self._positions(torch.where(noted, -gain, torch.inf), cases, _NOTED)
            worth[cases] = torch.where(noted & (place < _NEXT), _NEXT - place, worth[cases])
        return worth

    def _improvable(self, selected: Tensor, trials: Tensor) -> Tensor:
        """Small sets that other gates may be tried for, so many for each, long [batch]; bool [batch]."""
        return _small(selected) & (selected.sum(1) < self.ranking.n_visible) & (trials > 0)

    def _promising(self, selected: Tensor, examples: Tensor, n: Tensor) -> Tensor:
        """The n gates outside selections that promise most, bool [examples, gates]; n long [examples]."""
        outside = self.ranking.visible[examples] & ~selected
        promise = self._promise[examples].masked_fill(~outside, -torch.inf)
        return outside & (places(promise) < n.unsqueeze(1))

    def _with_each(
        self, selected: Tensor, tried: Tensor, examples: Tensor, retain: float = -torch.inf
    ) -> Tensor:
        """Values of selections with one more gate, [examples, gates]; -inf where not tried, or as below."""
        found = torch.full_like(self.left[examples], -torch.inf)
        row, gate = tried.nonzero(as_tuple=True)
        if len(row):
            one_more = selected[row].scatter(1, gate.unsqueeze(1), True)
            found[row, gate] = self._value(one_more, examples[row], retain)
        return found

    def _value(self, selected: Tensor, examples: Tensor, retain: float = -torch.inf) -> Tensor:
        """What selections achieve in all that is asked of them, [examples]; -inf where less is retained."""
        kept = self._measured(selected.unsqueeze(0), examples).squeeze(1).to(self.left.dtype)
        enough = kept >= retain
        if self._other is not None:
            kept = kept + self._measured(selected.unsqueeze(0), examples, self._other).squeeze(1)
        return kept.masked_fill(~enough, -torch.inf)

    @property
    def _n_measures(self) -> int:
        """Selections measured where two are compared in all that is asked of them."""
        return 1 if self._other is None else 2

    def _positions(self, values: Tensor, examples: Tensor, unit: float) -> Tensor:
        """Gates in order of values [examples, gates], the least first; those alike to a unit as ranked."""
        by_rank = self.ranking.rank[examples].argsort(1)
        order = (values / unit).round().gather(1, by_rank).argsort(dim=1, stable=True)
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


def _small(selected: Tensor) -> Tensor:
    """Whether selections hold gates, but few enough to try each of them: [batch, gates] -> [batch]."""
    size = selected.sum(1)
    return (size > 0) & (size <= _LARGEST_PRUNED)


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
