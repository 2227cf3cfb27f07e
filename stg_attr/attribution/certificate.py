"""Certificates: sets of features tested on references that neither the solve nor the search has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.explanation import Certificate
from stg_attr.model import Allowance, GatedModel
from stg_attr.objective import Anchors
from stg_attr.select import CertificateSettings, Claim, OnMost, Ranking, Sparsity
from stg_attr.select.first_set import FirstSet, growth
from stg_attr.select.ranking import Worth, in_other_order
from stg_attr.select.testing import hopeless, log_wealth, lower_bound

_CPU = torch.device("cpu")

__all__ = ["Certifier"]


@dataclass(frozen=True)
class _Tested:
    """What tests have found.

    Attributes:
        holds: whether a set is certified, bool [batch].
        size: features of the set that is reported, long [batch].
        margins: of this set, [references, batch]; NaN where not measured.
        spent: probability of a wrong claim of its test, [batch].
    """

    holds: Tensor
    size: Tensor
    margins: Tensor
    spent: Tensor


@dataclass
class Certifier:
    """Tests the first features of a ranking, and more of them where they do not suffice.

    Args:
        model: the model, with references that are held out.
        sparsity: what is claimed.
        settings: how it is tested.
        allowance: what may be measured.
    """

    model: GatedModel
    sparsity: Sparsity
    settings: CertificateSettings
    allowance: Allowance

    def __post_init__(self) -> None:
        model, settings = self.model, self.settings
        n_shown = model.rows_per_selection
        self._start = model.evaluations
        self._trial = model.reference_order[n_shown : n_shown + settings.trial_rows]
        self._pairs = model.objective.fidelity.pairs
        n_scale = settings.trial_rows if self._pairs else settings.trial_rows + settings.scale_rows
        scale_rows = model.reference_order[n_shown : n_shown + n_scale]
        self._baselines: dict[int, Tensor] = {}  # scores of references, [batch], NaN where not measured
        # the statistics are computed on the CPU, in double precision, which some devices do not have
        everyone = torch.arange(model.batch, device=_CPU)
        self._able = self._affords(everyone, 3 * len(scale_rows))
        full, known = model.anchors.full.cpu().double(), model.reference_scores.cpu().double()
        found = torch.full((len(scale_rows), model.batch), torch.nan, dtype=torch.float64, device=_CPU)
        found[:, self._able] = self._baseline(everyone[self._able], scale_rows)
        # those that are not tested keep the anchors that they have
        found = found.where(found.isfinite(), known.mean(0))
        earlier = torch.cat([known, found])
        self._anchors = Anchors.measure(full, earlier).careful(earlier)
        spans = model.objective.fidelity.spans(earlier, self._anchors)
        lowest = full if spans is None else spans.mean(0) - settings.tail * spans.std(0)
        self._span_floor = lowest.clamp_max(settings.span_floor)

    def certified(
        self, ranking: Ranking, count: Tensor, second: Worth | None = None
    ) -> tuple[Ranking, Tensor, Certificate]:
        """The features in order, how many of them are reported, long [batch], and what is certified of these.

        The first set to be tested is chosen on references of its own. It is tested on fresh references until
        it is clear that the claim holds, or unlikely to become clear. Then the next larger set is tested, see
        `_from_first`; or sets are tested from all features down, see `_from_above`.

        Args:
            ranking: the features in order.
            count: how many of them the search has found to suffice, long [batch].
            second: what another order is by; a large set may be smaller in it.
        """
        claim, device = self._claim, count.device
        ranking, count = ranking.to(_CPU), count.cpu()
        other = in_other_order(ranking, second)
        ranking, first, floor = self._first_set().choose(ranking, count, other)
        index = ((count > 0) & self._able).nonzero().squeeze(1)
        tests = self._from_above if self.settings.from_above else self._from_first
        found = tests(ranking, first, index, floor)
        floor = floor.clamp_max(-claim.target(self.sparsity.retain))  # of examples without a set, too
        certificate = self._certificate(found.holds, found.margins, floor, found.spent)
        return ranking.to(device), found.size.to(device), certificate.to(device)

    def _from_first(self, ranking: Ranking, first: Tensor, index: Tensor, floor: Tensor) -> _Tested:
        """Tests of larger and larger sets, until one is certified.

        All sets are fixed before the first test, and the probability of a wrong claim is divided among them,
        so the same fresh references serve for all. The largest is tested while its claim may be true, the
        others until that becomes unlikely. Arguments as for `_from_above`.
        """
        settings = self.settings
        sizes = self._sizes(ranking, first)
        delta = [(1 - self._claim.confidence) * weight for weight in settings.weights]
        found = self._untested(first, delta[0])
        margins = found.margins.clone()
        for turn, (size, share) in enumerate(zip(sizes, delta, strict=False)):
            larger = size > found.size if turn else torch.ones_like(found.holds)
            some = index[(larger & ~found.holds)[index]]
            some = some[self._affords(some, settings.first_look)]
            found.size[some], found.spent[some], margins[:, some] = size[some], share, torch.nan
            last, selected = (size == sizes[-1])[some], ranking.top(size.unsqueeze(1))[0]
            found.holds[some] = self._tested(selected, some, share, floor, margins, last)
            if not turn:
                found.margins.copy_(margins)
        # where no set is certified, the first and smallest is reported, with what was measured of it
        return _Tested(
            found.holds,
            torch.where(found.holds, found.size, first),
            margins.where(found.holds, found.margins),
            found.spent.where(found.holds, delta[0]),
        )

    def _from_above(self, ranking: Ranking, first: Tensor, index: Tensor, floor: Tensor) -> _Tested:
        """Tests from all features down, until a set is not certified; the last that is certified is reported.

        No test is made after the first that fails. So a claim can only be wrong if the first set of the order
        that does not suffice passes, and each test has the whole probability of a wrong claim (fixed sequence
        testing). Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control (Angelopoulos,
        Bates, Candes, Jordan, Lei, 2021), https://arxiv.org/abs/2110.01052.

        Args:
            ranking: the features in order.
            first: sizes near which the smallest are expected, long [batch].
            index: the examples that are tested, long [examples].
            floor: smallest values that margins count as, [batch].
        """
        settings = self.settings
        delta = 1 - self._claim.confidence
        found, more = self._untested(first, delta), ranking.n_visible - first
        margins, going = found.margins.clone(), index
        while len(going):
            margins[:, going], size = torch.nan, first + more
            holds = self._tested(ranking.top(size.unsqueeze(1))[0], going, delta, floor, margins)
            going = going[holds]
            found.holds[going], found.size[going] = True, size[going]
            found.margins[:, going] = margins[:, going]
            more = torch.where(more > 0, (settings.from_above * more).long(), more - 1)
            going = going[(first + more > 0)[going]]
        left = index[~found.holds[index]]
        self._tested(ranking.top(first.unsqueeze(1))[0], left, delta, floor, found.margins)
        return found

    def _untested(self, size: Tensor, delta: float) -> _Tested:
        """Nothing is known yet of sets of some sizes, long [batch]."""
        margins = torch.full(
            (len(self.model.held_out), len(size)), torch.nan, dtype=torch.float64, device=_CPU
        )
        return _Tested(
            torch.zeros_like(size, dtype=torch.bool),
            size.clone(),
            margins,
            torch.full_like(margins[0], delta),
        )

    def of(self, selected: Tensor) -> Certificate:
        """What is certified of given selections, bool [batch, gates], and of no others."""
        delta = 1 - self._claim.confidence
        device, selected = selected.device, selected.cpu()
        count = selected.sum(1)
        index = ((count > 0) & self._able).nonzero().squeeze(1)
        floor = torch.full_like(count, -self._claim.target(self.sparsity.retain), dtype=torch.float64)
        floor[index] = self._first_set().trial(selected, index).floor
        shape = (len(self.model.held_out), len(count))
        margins = torch.full(shape, torch.nan, dtype=torch.float64, device=_CPU)
        holds = torch.zeros_like(count, dtype=torch.bool)
        holds[index] = self._tested(selected, index, delta, floor, margins)
        return self._certificate(holds, margins, floor, torch.full_like(floor, delta)).to(device)

    def _certificate(self, holds: Tensor, margins: Tensor, floor: Tensor, spent: Tensor) -> Certificate:
        claim, retain, dtype = self._claim, self.sparsity.retain, self.model.dtype
        target, measured = claim.target(retain), (~margins.isnan()).sum(0)
        lower = lower_bound(margins, -target, floor, spent, self.settings)
        return Certificate(
            holds=holds,
            lower=(target + lower).where(measured > 0, torch.nan).to(dtype),
            mean=(target + margins.nanmean(0) / self._scale(measured)).to(dtype),
            n_references=measured,
            claim=claim,
            retain=retain,
        )

    def _scale(self, measured: Tensor) -> Tensor:
        """The difference between input and the tested references, in units of the margins, [batch].

        A margin is in units of the difference that was measured before; a share is in those of the same rows.
        """
        scale = torch.ones(len(measured), dtype=torch.float64, device=measured.device)
        if isinstance(self._claim, OnMost) or not self._pairs:
            return scale
        for n in set(measured.tolist()) - {0}:
            index = (measured == n).nonzero().squeeze(1)
            known = self._baseline(index, self.model.held_out[:n])
            spans = self.model.objective.fidelity.spans(known, self._anchors.rows(index))
            if spans is not None:
                scale[index] = spans.mean(0)
        return scale

    @property
    def _claim(self) -> Claim:
        assert self.sparsity.claim is not None  # there are no references held out otherwise
        return self.sparsity.claim

    def _affords(self, index: Tensor, rows: int) -> Tensor:
        """Whether so many references may be tried with each example, long [examples]; bool [examples]."""
        # each costs a row for a selection, and where scores are paired one for itself
        n, spent = torch.full_like(index, (2 if self._pairs else 1) * rows), self.model.evaluations[index]
        own = spent - self._start[index] + n <= self.settings.most_evaluations
        return own & self.allowance.covers(n, 1, spent)

    def _first_set(self) -> FirstSet:
        """What chooses the set that is tested first."""
        n, by_share = len(self._trial), isinstance(self._claim, OnMost)
        return FirstSet(
            margins=lambda selected, index: self._margins(selected, index, self._trial),
            affords=lambda index: self._affords(index, 3 * n),
            able=self._able,
            target=self._claim.target(self.sparsity.retain),
            settings=self.settings,
            spread=not by_share and n > 1,
        )

    def _sizes(self, ranking: Ranking, first: Tensor) -> list[Tensor]:
        """The sizes of the sets that are tested one after the other, each long [batch]."""
        step, sizes = growth(first, self.settings), [first]
        for times in self.settings.steps:
            sizes.append((sizes[-1] + times * step).minimum(ranking.n_visible))
        return sizes

    def _tested(
        self,
        selected: Tensor,
        index: Tensor,
        delta: float,
        floors: Tensor,
        margins: Tensor,
        last: Tensor | None = None,
    ) -> Tensor:
        """Test sets of some examples on fresh references; whether the claim holds, bool [examples].

        Args:
            selected: bool [batch, gates].
            index: the examples, long [examples].
            delta: probability of a wrong claim.
            floors: smallest values that margins count as, [batch].
            margins: [references, batch], filled in.
            last: whether no other set follows, bool [examples]; None for all.
        """
        settings, held = self.settings, self.model.held_out
        holds = torch.zeros_like(index, dtype=torch.bool)
        last = ~holds if last is None else last
        going = torch.arange(len(index), device=_CPU)
        for first in range(0, len(held), settings.batch):
            going = going[self._affords(index[going], settings.batch)]
            if not len(going):
                break
            some = index[going]
            rows = slice(first, min(first + settings.batch, len(held)))
            margins[rows, some] = self._margins(selected, some, held[rows])
            seen = margins[: rows.stop, some]
            wealth, needed = log_wealth(seen, floors[some], settings), -math.log(delta)
            reached = (wealth >= needed).any(0) & (seen.mean(0) >= 0)
            passed = reached & self._spans(some, held[: rows.stop])
            holds[going[passed]] = True
            given_up = hopeless(seen, wealth[-1], needed, len(held), last[going]) & ~reached
            given_up &= rows.stop >= settings.first_look
            going = going[~passed & ~given_up]
        return holds

    def _spans(self, index: Tensor, references: Tensor) -> Tensor:
        """Whether the input is known to score differently from the references, bool [examples].

        A wrong claim would have to pass this test where the scores do not differ, and that of its margins
        where they do: one of the two, so each has the whole probability of a wrong claim.
        """
        if not self._pairs or self._same_class:
            return torch.ones_like(index, dtype=torch.bool)
        baselines = self._baseline(index, references)
        spans = self.model.objective.fidelity.spans(baselines, self._anchors.rows(index))
        if spans is None:
            return torch.ones_like(index, dtype=torch.bool)
        wealth = log_wealth(spans, self._span_floor[index], self.settings)
        # as for the margins: what the first rows show by chance does not count against all rows
        reached = (wealth >= -math.log(1 - self._claim.confidence)).any(0)
        return reached & (spans.mean(0) > 0)

    def _margins(self, selected: Tensor, index: Tensor, references: Tensor) -> Tensor:
        """By how much selections exceed the claim with each reference, [references, examples]."""
        objective, claim, retain = self.model.objective, self._claim, self.sparsity.retain
        shown = selected[index] if objective.keeps else ~selected[index]
        found = self._outcomes(shown, index, references, self._same_class)
        anchors, fidelity = self._anchors.rows(index), objective.fidelity
        if self._same_class:
            return found - claim.target(retain)
        if isinstance(claim, OnMost):
            share = fidelity.achieved(found, anchors, objective.keeps)
            reached = (share >= retain).to(found.dtype).where(found.isfinite(), torch.nan)
            return reached - claim.share
        baselines = self._baseline(index, references) if self._pairs else torch.full_like(found, torch.nan)
        return fidelity.margin(found, baselines, anchors, retain, objective.keeps)

    def _outcomes(self, shown: Tensor, index: Tensor, references: Tensor, same_class: bool) -> Tensor:
        """What the model makes of selections, bool [examples, gates], [references, examples] on the CPU."""
        shown = shown.to(self.model.device)
        return self.model.outcomes(shown, index, references, same_class, self.allowance).cpu().double()

    @property
    def _same_class(self) -> bool:
        return isinstance(self._claim, OnMost) and self._claim.same_class

    def _baseline(self, index: Tensor, references: Tensor) -> Tensor:
        """Scores of references, [references, examples]; each is measured once for an example."""
        keys, unknown = references.tolist(), [torch.nan] * self.model.batch
        if not keys or not len(index):
            return torch.zeros(len(keys), len(index), dtype=torch.float64, device=_CPU)
        for key in keys:
            if key not in self._baselines:
                self._baselines[key] = torch.tensor(unknown, dtype=torch.float64, device=_CPU)
        known = torch.stack([self._baselines[key][index] for key in keys])
        missing = known.isnan().any(0).nonzero().squeeze(1)
        new = known[:, missing].isnan().any(1).nonzero().squeeze(1) if len(missing) else missing
        if len(new):
            where = index[missing]
            closed = torch.zeros(len(where), self.model.groups.n_gates, dtype=torch.bool, device=_CPU)
            found = self._outcomes(closed, where, references[new], False)
            for row, key in enumerate([keys[i] for i in new.tolist()]):
                self._baselines[key][where] = found[row]
            known = torch.stack([self._baselines[key][index] for key in keys])
        return known
