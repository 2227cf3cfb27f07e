"""Search for small sufficient sets of features along a ranking; every candidate is measured on the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .elimination import shortened
from .few import FewFeatures
from .large_sets import thinned
from .prefixes import smallest_prefix
from .ranking import Ranking, Worth, places
from .selections import without
from .settings import SearchSettings

__all__ = ["SetSearch"]

#: Hard selections, bool [k, examples, gates], and the examples they are of, long [examples] on the CPU (an
#: example may come several times) -> the share of the output that each retains, [k, examples]; NaN where it
#: is unknown.
Measure = Callable[[Tensor, Tensor], Tensor]

#: Examples, long [examples] on the CPU, and a number of selections for each, long [examples] -> whether so
#: many more may be measured, bool [examples]. A search that may not go on keeps what it has found.
Affords = Callable[[Tensor, Tensor], Tensor]


def _always(examples: Tensor, n: Tensor) -> Tensor:
    return torch.ones_like(n, dtype=torch.bool)


class SetSearch:
    """Search for small sufficient feature sets along a ranking; every candidate is measured on the model.

    Args:
        ranking: the features in order; `smallest_sufficient` changes it.
        measure: the share of the output that selections retain.
        affords: how many more selections may be measured.
        other: measures what else is asked of a selection; where two selections are compared, the sum of both
            counts.
        promise: what features outside a set may add, [batch, gates]; those with the largest values are tried.
        second: what another order of the features is by, measured for the examples that need it: it is tried
            where the set along the ranking is large.
        swaps: swaps that may be measured to improve a small set, long [batch] or one number for all.
        settings: the numbers that decide how it searches.

    Attributes:
        ranking: the features in order.
        needed: selected features without which too little is retained, measured, bool [batch, gates].
        left: what is retained when one feature of the smallest sufficient set is left out, [batch, gates];
            NaN where it was not measured.
    """

    def __init__(
        self,
        ranking: Ranking,
        measure: Measure,
        affords: Affords = _always,
        other: Measure | None = None,
        promise: Tensor | None = None,
        second: Worth | None = None,
        swaps: Tensor | int = 0,
        settings: SearchSettings = SearchSettings(),  # frozen
    ) -> None:
        self.ranking = ranking
        self.needed = torch.zeros_like(ranking.visible)
        self.left = torch.full_like(ranking.parameter, torch.nan)
        self.settings = settings
        self._measure, self._affords, self._other = measure, affords, other
        self._promise = ranking.parameter if promise is None else promise
        self._swaps = torch.zeros_like(ranking.rank[:, 0]) + swaps
        self._second = second

    @property
    def n_gates(self) -> Tensor:
        """Number of features of each example, long [batch]."""
        return self.ranking.parameter.isfinite().sum(1)

    def best_value(self, price: float) -> Tensor:
        """The k with the highest share retained by the top k, less `price` times k; long [batch].

        Values of k are tried in geometric steps over the whole range, then between the neighbours of the
        best.
        """
        chosen = self.ranking.n_visible
        low, high = torch.zeros_like(chosen), chosen.clone()
        share = torch.linspace(0, 1, self.settings.value_points, dtype=torch.float32, device=low.device)
        open_cases = self._open(torch.ones_like(chosen, dtype=torch.bool), self.settings.value_points)
        while len(open_cases):
            below, above = low[open_cases].unsqueeze(1), high[open_cases].unsqueeze(1)
            counts = ((below + 1) * ((above + 1).to(share.dtype) / (below + 1)) ** share - 1).round().long()
            value = self._measured(self.ranking.rows(open_cases).top(counts), open_cases) - price * counts
            best = counts.gather(1, value.argmax(1, keepdim=True))
            below = counts.masked_fill(counts >= best, -1).amax(1, keepdim=True).clamp_min(0)
            above = counts.masked_fill(counts <= best, int(high.max()) + 1).amin(1, keepdim=True)
            above = above.minimum(high[open_cases].unsqueeze(1))
            chosen = chosen.index_copy(0, open_cases, best.squeeze(1))
            low = low.index_copy(0, open_cases, below.squeeze(1))
            high = high.index_copy(0, open_cases, above.squeeze(1))
            open_cases = self._open((chosen - low > 1) | (high - chosen > 1), self.settings.value_points)
        return chosen

    def smallest_sufficient(self, retain: float) -> Tensor:
        """Find a set that retains the share `retain`; its size, long [batch]. It comes first in `ranking`
        then.

        1. The smallest k whose top k features suffice. Values of k are tried in geometric steps between the
           largest that failed and the smallest that did not, until the two are neighbours. All features
           together count as sufficient. Where the set is large and there is a second order, it is tried in
           the same way, and replaces the ranking if its set is smaller. From large sets, groups of members
           that are not needed are dropped.
        2. From small sets, the members whose removal changes least are dropped until each of the others is
           needed. Dropped features come next in the ranking.
        3. Where features are few, more sets are tried: see `FewFeatures`.
        4. Where swaps are allowed, members are replaced by features that add more in their place; then step 2
           again.
        """
        tools = (self._measured, self._open, self.settings)
        self.ranking, count = smallest_prefix(self.ranking, self._second, retain, *tools)
        selected = thinned(self.ranking, self.ranking.top(count.unsqueeze(1))[0], retain, *tools)
        self._prune(selected, retain, torch.ones_like(selected[:, 0]))
        self._prune(selected, retain, self._among_few(selected, retain))
        self._prune(selected, retain, self._exchange(selected, retain))
        self.ranking = self.ranking.promoted(selected)
        return selected.sum(1)

    def _prune(self, selected: Tensor, retain: float, cases: Tensor) -> None:
        """Drop members of small sets until each of the others is needed.

        Args:
            selected: bool [batch, gates], changed in place.
            retain: share of the output that a set must retain.
            cases: examples whose sets are pruned, bool [batch].
        """
        tried = selected.sum(1) + self.settings.removed_together - 1
        open_cases = self._open(cases & self._small(selected), tried)
        while len(open_cases):
            some = selected[open_cases]
            left = self._left_without_each(some, open_cases, self._measure)
            rank = self.ranking.rank[open_cases]
            shorter = shortened(some, rank, left, open_cases, retain, self._measured, self.settings)
            self.needed[open_cases] = left < retain
            changed = (shorter != selected[open_cases]).any(1)
            self.left[open_cases] = left.masked_fill(changed.unsqueeze(1), torch.nan)
            selected[open_cases] = shorter
            again = torch.zeros_like(cases)
            again[open_cases] = changed & shorter.any(1)
            open_cases = self._open(again, tried)

    def _among_few(self, selected: Tensor, retain: float) -> Tensor:
        """Replace sets of few features by better ones, where there are some: see `FewFeatures`.

        Args:
            selected: bool [batch, gates], changed in place.
            retain: share of the output that a set must retain.

        Returns:
            Which sets were changed, bool [batch].
        """
        n, changed = self.ranking.n_visible, torch.zeros_like(selected[:, 0])
        cases = self._open(
            (n <= self.settings.few) & (selected.sum(1) > 1), n * (n + 1) // 2 + 4 * self._n_measures
        )
        if len(cases):
            better = FewFeatures(
                self.ranking,
                self._measured,
                partial(self._value, retain=retain),
                partial(self._left_without_each, measure=self._measure),
                self._affords_one,
                retain,
                self.settings,
            ).better(selected[cases], cases)
            changed[cases] = (better != selected[cases]).any(1)
            selected[cases] = better
            self.left[changed], self.needed[changed] = torch.nan, False
        return changed

    def _affords_one(self, example: int, n: int) -> bool:
        return bool(self._affords(torch.tensor([example]), torch.tensor([n]))[0])

    def _exchange(self, selected: Tensor, retain: float) -> Tensor:
        """Replace members of small sets by features that add more, the least needed member first.

        Args:
            selected: bool [batch, gates], changed in place.
            retain: share of the output that a set must retain.

        Returns:
            Which sets were changed, bool [batch].
        """
        size = selected.sum(1)
        exchanged = torch.zeros_like(selected[:, 0])
        tried = self._swaps // size.clamp_min(1)
        after = 2 * size  # enough must be left to prune the new sets and to put them in order
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
            better = best > value[rows] + self.settings.same
            changed = rows[better]
            selected[changed] = fewer[better].scatter(1, gate[better].unsqueeze(1), True)
            value[changed] = best[better]
            exchanged[changed] = True
        self.left[exchanged], self.needed[exchanged] = torch.nan, False
        return exchanged

    def _least_missed_first(self, selected: Tensor) -> Tensor:
        """Selected features, those whose removal changes least first, then others; long [batch, gates]."""
        missed = torch.where(self.left.isnan(), self.ranking.rank.to(self.left.dtype), -self.left)
        return missed.masked_fill(~selected, torch.inf).argsort(dim=1, stable=True)

    def arrange(self, selected: Tensor) -> Tensor:
        """Order the selected features of small sets by backward elimination; each removal is measured.

        The member whose removal changes least is removed and becomes the last, then the same among the rest,
        and so on. Of more than `ordered_singly` members, the others are removed in one round. Members with
        the same effect, and those of large sets, keep the order of the ranking.

        Args:
            selected: bool [batch, gates], as `smallest_sufficient` found it or otherwise.

        Returns:
            Place of each selected feature, the smallest first, from minus to plus the number of gates; long
            [batch, gates].
        """
        place = self.ranking.rank - self.ranking.rank.shape[1]
        members = selected & self._small(selected).unsqueeze(1)
        known = torch.where(members, self.left, torch.nan)
        while True:
            n = members.sum(1)
            open_cases = self._open(n > 1, n * self._n_measures)
            if not len(open_cases):
                return place
            some, n = members[open_cases], n[open_cases].unsqueeze(1)
            left = known[open_cases]
            unknown = (some & left.isnan()).any(1)
            left[unknown] = self._left_without_each(some[unknown], open_cases[unknown], self._measure)
            if self._other is not None:
                left = left + self._left_without_each(some, open_cases, self._other)
            missed_most_first = self._positions(
                left.masked_fill(~some, torch.inf), open_cases, self.settings.same
            )
            stays = missed_most_first < torch.where(
                n > self.settings.ordered_singly, self.settings.ordered_singly, n - 1
            )
            place[open_cases] = torch.where(some & ~stays, missed_most_first, place[open_cases])
            members[open_cases] = some & stays
            known[open_cases] = torch.nan

    def extend(self, selected: Tensor) -> Tensor:
        """Scores that order the features not selected, the largest first, [batch, gates].

        Outside small sets, the up to `next_features` that raise the retained share most come first; they are
        looked for among those with the largest `promise`, and measured. The others keep their ranking.

        Args:
            selected: bool [batch, gates].
        """
        worth = -self.ranking.rank.to(self.left.dtype)
        cases = self._open(self._improvable(selected, self._swaps), (self._swaps + 1) * self._n_measures)
        if len(cases):
            some = selected[cases]
            added = self._with_each(some, self._promising(some, cases, self._swaps[cases]), cases)
            gain = added - self._value(some, cases).unsqueeze(1)
            noted = gain > self.settings.least_gain
            place = self._positions(torch.where(noted, -gain, torch.inf), cases, self.settings.least_gain)
            worth[cases] = torch.where(
                noted & (place < self.settings.next_features),
                self.settings.next_features - place,
                worth[cases],
            )
        return worth

    def _improvable(self, selected: Tensor, tried: Tensor) -> Tensor:
        """Small sets for which `tried` other features, long [batch], may be measured; bool [batch]."""
        return self._small(selected) & (selected.sum(1) < self.ranking.n_visible) & (tried > 0)

    def _promising(self, selected: Tensor, examples: Tensor, n: Tensor) -> Tensor:
        """The n features outside selections with the largest promise, bool [examples, gates]; n long."""
        outside = self.ranking.visible[examples] & ~selected
        promise = self._promise[examples].masked_fill(~outside, -torch.inf)
        return outside & (places(promise) < n.unsqueeze(1))

    def _with_each(
        self, selected: Tensor, tried: Tensor, examples: Tensor, retain: float = -torch.inf
    ) -> Tensor:
        """Values (`_value`) of selections with one more feature, [examples, gates]; -inf where not tried."""
        found = torch.full_like(self.left[examples], -torch.inf)
        row, gate = tried.nonzero(as_tuple=True)
        if len(row):
            one_more = selected[row].scatter(1, gate.unsqueeze(1), True)
            found[row, gate] = self._value(one_more, examples[row], retain)
        return found

    def _value(self, selected: Tensor, examples: Tensor, retain: float = -torch.inf) -> Tensor:
        """What selections retain, plus `other` if given, [examples]; -inf where it is less than `retain`."""
        kept = self._measured(selected.unsqueeze(0), examples).squeeze(1).to(self.left.dtype)
        enough = kept >= retain
        if self._other is not None:
            kept = kept + self._measured(selected.unsqueeze(0), examples, self._other).squeeze(1)
        return kept.masked_fill(~enough, -torch.inf)

    @property
    def _n_measures(self) -> int:
        """How often a selection is measured when it is compared with others."""
        return 1 if self._other is None else 2

    def _positions(self, values: Tensor, examples: Tensor, unit: float) -> Tensor:
        """Rank features by ascending value, rounded to multiples of `unit`; ties keep the ranking's order."""
        by_rank = self.ranking.rank[examples].argsort(1)
        order = (values / unit).round().gather(1, by_rank).argsort(dim=1, stable=True)
        return by_rank.gather(1, order).argsort(1)

    def _left_without_each(self, selected: Tensor, examples: Tensor, measure: Measure) -> Tensor:
        """What selections retain without each of their members, [examples, gates]; NaN for other features."""
        left = torch.full_like(selected, torch.nan, dtype=self.ranking.parameter.dtype)
        row, gate = selected.nonzero(as_tuple=True)
        if len(row):
            one_less = without(selected[row], gate.reshape(1, -1, 1))
            left[row, gate] = self._measured(one_less, examples[row], measure).squeeze(1).to(left.dtype)
        return left

    def _small(self, selected: Tensor) -> Tensor:
        """Whether selections hold features, but few enough to try each of them: [batch, gates] -> [batch]."""
        size = selected.sum(1)
        return (size > 0) & (size <= self.settings.largest_pruned)

    def _open(self, cases: Tensor, n: int | Tensor) -> Tensor:
        """The examples, long, among `cases`, bool [batch], that may still be measured n times each."""
        examples = cases.nonzero().squeeze(1)
        counts = torch.as_tensor(n, device=examples.device).expand(len(cases))[examples]
        return examples[self._affords(examples.cpu(), counts.cpu()).to(examples.device)]

    def _measured(self, selections: Tensor, examples: Tensor, measure: Measure | None = None) -> Tensor:
        """Retained share of selections [k, examples, gates], [examples, k]; -inf where it is unknown."""
        share = (measure or self._measure)(selections, examples.cpu()).T
        return share.masked_fill(share.isnan(), -torch.inf)
