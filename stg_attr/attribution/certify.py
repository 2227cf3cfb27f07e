"""Sets of features, all measured on the model: minimal ones, several that suffice, and those of the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Certificate, Curve, Explanation, SufficientSets
from stg_attr.model import Allowance, GatedModel
from stg_attr.select import Ranking, SearchSettings, SetSearch, Sweep

from .certificate import Certifier
from .evidence import evidence, untested

__all__ = ["as_rows", "checked_sets", "minimal", "score_of", "sufficient_sets"]

_CPU = torch.device("cpu")
_MOST_ELEMENTS = 2**24  # of the selections that are measured together

#: Examples of an explanation, and the model as a function of their gates.
Models = Iterable[tuple[slice, GatedModel]]


def minimal(models: Models, explanation: Explanation, retain: float) -> Explanation:
    """See `Explanation.minimal`."""
    parts = []
    for rows, model in models:
        part = _minimal_rows(
            _Search.begin(model, explanation.rows(rows), retain), explanation.rows(rows), retain
        )
        parts.append(part.to(explanation.log_alpha.device))
    found = Explanation.joined(parts)
    return replace(
        found,
        attributions=found.laid_out(found.active_probabilities),
        restarts=None,
        question=explanation.question,
    )


def _minimal_rows(search: _Search, explanation: Explanation, retain: float) -> Explanation:
    """The explanation of some examples with a minimal selection; its attributions are not laid out."""
    gates, model = explanation.gates, search.model
    selected = search.smallest(search.allowed)
    visible = search.ranking.visible | selected
    ranking = Ranking.of(search.ranking.parameter, visible).promoted(selected)
    exists = model.groups.exists & model.explainable.unsqueeze(1)
    log_alpha = ranking.at(selected, gates.half).masked_fill(~exists, -torch.inf)
    points = explanation.settings.reading.curve_points
    scores, curve, _ = evidence(model, None, ranking, selected.sum(1), points)
    certificate = _certificate(model, explanation, selected, curve, retain)
    certificate = None if certificate is None else certificate.withheld(explanation.status)
    return replace(
        explanation,
        log_alpha=log_alpha,
        active_probabilities=gates.active_probability(log_alpha),
        selected=selected,
        scores=scores,
        curve=curve,
        certificate=certificate,
        n_evaluations=explanation.n_evaluations + model.evaluations.to(explanation.n_evaluations.device),
    )


def _certificate(
    model: GatedModel, explanation: Explanation, selected: Tensor, curve: Curve, retain: float
) -> Certificate | None:
    """What is certified of minimal selections: the claim of the explanation, at another share."""
    if explanation.certificate is None:
        return None
    sparsity, settings = Sweep(retain=retain, claim=explanation.certificate.claim), explanation.settings
    if model.n_held_out:
        return Certifier(model, sparsity, settings.certificate, Allowance()).of(selected)
    return untested(model, sparsity, curve, selected.sum(1))


def sufficient_sets(models: Models, explanation: Explanation, retain: float, n_sets: int) -> SufficientSets:
    """See `Explanation.sufficient_sets`."""
    parts = []
    for rows, model in models:
        some = explanation.rows(rows)
        selected = _different(_Search.begin(model, some, retain), n_sets)
        measured, missing = model.measure(selected), ~selected.any(2)
        kept, retained = (x.masked_fill(missing, torch.nan) for x in (measured.score, measured.share))
        part = SufficientSets(selected, kept, retained, some.feature_ids, model.evaluations)
        parts.append(part.to(explanation.log_alpha.device))
    return SufficientSets.joined(parts)


def as_rows(examples: Sequence[int], batch: int) -> Tensor:
    """The places of some examples, long [examples].

    Raises:
        ArgumentError: there are none, or there is no such example.
    """
    places = list(examples)
    if places and all(isinstance(place, int) and 0 <= place < batch for place in places):
        return torch.tensor(places, device=_CPU)
    raise ArgumentError(
        "examples",
        expected=f"places of examples, each from 0 to {batch - 1}",
        found=repr(places),
        mend="For example examples=[0].",
    )


def checked_sets(sets: Tensor, selected: Tensor) -> tuple[int, ...]:
    """The shape of sets of features that a user chose.

    Args:
        sets: features that are kept.
        selected: those that an explanation of the same examples selects, [examples, gates].

    Raises:
        ArgumentError: they are not of these examples and their gates.
    """
    expected, shape = tuple(selected.shape), tuple(sets.shape) if isinstance(sets, Tensor) else ()
    if shape[-2:] == expected and len(shape) <= 3 and sets.dtype == torch.bool:
        return shape
    raise ArgumentError(
        "selections",
        expected=f"bool of [examples, gates] = {list(expected)}, or [sets, examples, gates]",
        found=f"{sets.dtype} of {list(shape)}" if isinstance(sets, Tensor) else type(sets).__name__,
        mend="Begin with explanation.selected.clone(), and change what it holds.",
    )


def score_of(model: GatedModel, sets: Tensor) -> Tensor:
    """Mean scores over the references with only some features, [sets, examples].

    Args:
        model: the model as a function of the gates of these examples.
        sets: features that are kept, bool [sets, examples, gates].
    """
    # what is kept is measured, whether the objective keeps or removes
    measured = model.measure(sets.to(model.device), other_view=not model.objective.keeps, fresh=True)
    return measured.score.to(sets.device)


def _different(search: _Search, n_sets: int) -> Tensor:
    """Different minimal sets of every example, found first to last, bool [n_sets, batch, gates]."""
    settings = search.settings
    agendas = [_Agenda(row, settings.largest_further_set) for row in search.smallest(search.allowed)]
    for _ in range(settings.tries_per_set * n_sets):
        active = [len(agenda.found) < n_sets and bool(agenda.queue) for agenda in agendas]
        if not any(active):
            break
        within = torch.zeros_like(search.allowed)
        for i, agenda in enumerate(agendas):
            if active[i]:
                within[i] = search.allowed[i] & ~agenda.next()
        for agenda, candidate in zip(agendas, search.smallest(within, give_up=True), strict=True):
            agenda.take(candidate)
    empty = torch.zeros_like(search.allowed[0])
    padded = [agenda.found[:n_sets] + [empty] * (n_sets - len(agenda.found)) for agenda in agendas]
    return torch.stack([torch.stack(sets) for sets in padded], 1)


class _Agenda:
    """Which features the next set of one example must leave out: a hitting set tree, breadth first.

    First all members of all sets found so far, so that disjoint sets come first. Then, for every set found,
    each of its members in turn, together with what that set itself had to leave out. A minimal set that
    differs from another one leaves out at least one of its members, so that every minimal set can be reached.
    """

    def __init__(self, first: Tensor, times_larger: float) -> None:
        self.found: list[Tensor] = [first]
        self.queue: list[Tensor] = []
        self._left_out = torch.zeros_like(first)
        self._seen: set[tuple[int, ...]] = set()
        self._largest = times_larger * int(first.sum())
        self._push([first, *_singles(first)])

    def next(self) -> Tensor:
        """The features that the next set must do without, bool [gates]."""
        self._left_out = self.queue.pop(0)
        return self._left_out

    def take(self, candidate: Tensor) -> None:
        """A set that does without them; empty where there is none."""
        if not 0 < int(candidate.sum()) <= self._largest:
            return
        if not any(torch.equal(candidate, row) for row in self.found):
            self.found.append(candidate)
            self._push([torch.stack(self.found).any(0)], first=True)
        self._push([self._left_out | single for single in _singles(candidate)])

    def _push(self, left_out: list[Tensor], first: bool = False) -> None:
        for row in left_out:
            key = tuple(row.nonzero().flatten().tolist())
            if key and key not in self._seen:
                self._seen.add(key)
                self.queue.insert(0 if first else len(self.queue), row)


def _singles(selected: Tensor) -> list[Tensor]:
    """Each member of a set alone, bool [gates] each."""
    members = selected.nonzero()
    return list(selected.new_zeros(len(members), len(selected)).scatter(1, members, True))


@dataclass(frozen=True)
class _Search:
    """The search for minimal sets of some examples.

    Attributes:
        model: the model as a function of their gates.
        ranking: their features in the order of the explanation.
        allowed: gates that can change something, of examples that have something to explain, bool [batch,
            gates].
        threshold: share that a set has to achieve, [batch].
        settings: the numbers that decide how sets are searched.
    """

    model: GatedModel
    ranking: Ranking
    allowed: Tensor
    threshold: Tensor
    settings: SearchSettings

    @classmethod
    def begin(cls, model: GatedModel, explanation: Explanation, retain: float) -> _Search:
        device = model.device
        allowed = model.differs & model.groups.exists & model.explainable.unsqueeze(1)
        log_alpha = explanation.log_alpha.to(device)
        visible = allowed & log_alpha.isfinite()
        visible &= ((explanation.influence > 0) | explanation.selected).to(device)
        # gates to which the solve saw no reaction come last
        last = log_alpha.masked_fill(~visible, 0.0).amin() - 1
        ranking = Ranking.of(torch.where(visible, log_alpha, last), visible)
        everything = model.measure(allowed.unsqueeze(0)).share[0]
        settings = explanation.settings.search
        return cls(model, ranking, allowed, everything.clamp_max(retain), settings)

    def smallest(self, within: Tensor, give_up: bool = False) -> Tensor:
        """A set of which no member can be spared, bool [batch, gates].

        Args:
            within: members that it may have, bool [batch, gates].
            give_up: leave the set empty where all of these together do not suffice.
        """
        reached = self.model.measure(within.unsqueeze(0)).share[0] >= self.threshold
        if give_up:
            within = within & reached.unsqueeze(1)
        return self._pruned(self._prefix(within))

    def _prefix(self, within: Tensor) -> Tensor:
        """A short beginning of the ranking that suffices if all of it does."""
        # thresholds may differ by example, while a search asks for one share: so shares are shifted to end at
        # 1
        search = SetSearch(
            Ranking.of(self.ranking.parameter, within),
            lambda sets, of: self._share(sets, of) - self.threshold[of] + 1,
            settings=self.settings,
        )
        count = search.smallest_sufficient(1.0)
        return search.ranking.top(count.unsqueeze(1))[0]

    def _share(self, selections: Tensor, examples: Tensor) -> Tensor:
        """Achieved shares of [k, examples, gates], [k, examples]; -inf where the model fails."""
        share = self.model.measure(selections, examples).share
        return torch.where(share.isfinite(), share, -torch.inf)

    def _pruned(self, selected: Tensor) -> Tensor:
        """Drop members that can be spared until none can; every set on the way is measured.

        In a round each member is left out alone; of those that can be spared, as many of the least missed
        go as the rest can spare, tried in powers of two. A set is done when a whole round spares none.
        """
        selected = selected.clone()
        examples = selected.any(1).nonzero().squeeze(1).cpu()
        while len(examples):
            shorter = self._round(selected[examples], examples)
            changed = (shorter != selected[examples]).any(1)
            selected[examples] = shorter
            examples = examples[(changed & shorter.any(1)).cpu()]
        return selected

    def _round(self, selected: Tensor, examples: Tensor) -> Tensor:
        threshold = self.threshold[examples].unsqueeze(1)
        width = int(selected.sum(1).max())
        rank = self.ranking.rank[examples].masked_fill(~selected, -1)
        members = rank.topk(width, dim=1).indices  # the last of the ranking first, [examples, width]
        valid = selected.gather(1, members)
        alone = self._without(selected, members.T.unsqueeze(2), examples).T.masked_fill(~valid, -torch.inf)
        alone, order = alone.sort(dim=1, descending=True, stable=True)
        members, n_spared = members.gather(1, order), (alone >= threshold).sum(1)
        best = selected
        n = 1
        while n <= int(n_spared.max()):
            shorter = selected.scatter(1, members[:, :n], False)
            enough = n_spared >= n
            if n > 1:
                enough &= self._share(shorter.unsqueeze(0), examples)[0] >= threshold.squeeze(1)
            best = torch.where(enough.unsqueeze(1), shorter, best)
            n *= 2
        return best

    def _without(self, selected: Tensor, columns: Tensor, examples: Tensor) -> Tensor:
        """Shares of [examples, gates] less one column each, long [k, examples, 1]; [k, examples]."""
        size = max(1, _MOST_ELEMENTS // max(1, selected.numel()))
        parts = (selected.expand(len(c), -1, -1).scatter(2, c, False) for c in torch.split(columns, size))
        return torch.cat([self._share(part, examples) for part in parts])
