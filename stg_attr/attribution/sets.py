"""Certified sets: minimal selections, and several where more than one suffices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.solve import Ranking, SelectionFamily

from .case import Case
from .explanation import Explanation
from .meter import Meter
from .probe import Probe
from .reading import evidence
from .records import Curve, Scores, joined, moved

__all__ = ["SufficientSets", "minimal", "sufficient_sets"]

_MOST_ELEMENTS = 2**24  # of the selections that are measured together
_NOT_MUCH_LARGER = 2  # times the size of the first set, which a further one may have
_TRIES = 8  # searches per set that is looked for


@dataclass(frozen=True, eq=False)
class SufficientSets:
    """Different sets of features that each suffice, and of which none can spare a member.

    What sufficient input subsets makes safe to say: Carter, Mueller, Jain, Gifford, 2019,
    https://arxiv.org/abs/1810.03805. Further sets are searched as in A Theory of Diagnosis from First
    Principles (Reiter, 1987), https://doi.org/10.1016/0004-3702(87)90062-2: each leaves out something that
    an earlier one has.

    Attributes:
        selected: members of each set, bool [sets, batch, gates]; all False where fewer were found.
        kept: score of each set alone (with `Delete`: of all but it), [sets, batch]; NaN where there is none.
        retained: share of the output that it achieves, as the objective reads it, [sets, batch]; or NaN.
        feature_ids: id of each gate, long [batch, gates].
        n_evaluations: rows the model was run on for each example in the search, long [batch].
    """

    selected: Tensor
    kept: Tensor
    retained: Tensor
    feature_ids: Tensor
    n_evaluations: Tensor

    @property
    def n_sets(self) -> Tensor:
        """Number of sets of each example, long [batch]."""
        return self.selected.any(2).sum(0)

    @property
    def shared(self) -> Tensor:
        """Features that are in every set, bool [batch, gates]."""
        found = self.selected.any(2, keepdim=True)
        return (self.selected | ~found).all(0) & found.any(0)

    def ids(self, example: int = 0) -> list[list[int]]:
        """The feature ids of each set of one example."""
        rows = self.selected[:, example]
        return [self.feature_ids[example][row].tolist() for row in rows if bool(row.any())]

    def __repr__(self) -> str:
        shown = range(min(self.selected.shape[1], 8))
        lines = [f"  {i}: " + (" or ".join(map(str, self.ids(i))) or "none") for i in shown]
        more = ["  ..."] if self.selected.shape[1] > 8 else []
        return "\n".join([f"Sufficient sets of {self.selected.shape[1]} examples", *lines, *more])


def minimal(explanation: Explanation, retain: float) -> Explanation:
    """See `Explanation.minimal`."""
    probe = _probe_of(explanation)
    _check_retain(retain)
    parts = []
    for rows in probe.shards():
        with probe.undisturbed():
            parts.append(_minimal_rows(_Search.begin(explanation, probe, rows, retain), explanation))
    selected, log_alpha, scores, curve, evaluations = moved(joined(parts), explanation.log_alpha.device)
    probabilities = explanation.gates.active_probability(log_alpha)
    return replace(
        explanation,
        attributions=explanation.laid_out(probabilities),
        log_alpha=log_alpha,
        active_probabilities=probabilities,
        selected=selected,
        scores=scores,
        curve=curve,
        n_evaluations=explanation.n_evaluations + evaluations,
        restarts=None,
    )


def _minimal_rows(search: _Search, explanation: Explanation) -> tuple[Tensor, Tensor, Scores, Curve, Tensor]:
    """Selection, gate parameters, measured scores and curve, and evaluations of some examples."""
    selected = search.smallest(search.allowed)
    visible = search.ranking.visible | selected
    ranking = Ranking.of(search.ranking.parameter, visible).promoted(selected)
    log_alpha = ranking.at(selected, explanation.gates.half).masked_fill(~search.allowed, -torch.inf)
    scores, curve, _ = evidence(Meter(search.case), ranking, selected.sum(1), True)
    return selected, log_alpha, scores, curve, search.case.evaluations


def sufficient_sets(explanation: Explanation, retain: float, n_sets: int) -> SufficientSets:
    """See `Explanation.sufficient_sets`."""
    probe = _probe_of(explanation)
    _check_retain(retain)
    if not isinstance(n_sets, int) or isinstance(n_sets, bool) or n_sets < 1:
        raise ArgumentError(
            "n_sets", expected="a whole number of at least 1", found=repr(n_sets), mend="4 is the default."
        )
    parts = []
    for rows in probe.shards():
        with probe.undisturbed():
            parts.append(_sets_of_rows(_Search.begin(explanation, probe, rows, retain), n_sets))
    selected, kept, retained, evaluations = moved(joined(parts), explanation.log_alpha.device)
    selected, kept, retained = selected.transpose(0, 1), kept.T, retained.T
    return SufficientSets(selected, kept, retained, explanation.feature_ids, evaluations)


def _sets_of_rows(search: _Search, n_sets: int) -> tuple[Tensor, ...]:
    """Sets, scores and shares, [examples, sets, ...], and evaluations of some examples."""
    selected = _different(search, n_sets)
    measured = search.case.measure(selected)
    missing = ~selected.any(2)
    kept, retained = (x.masked_fill(missing, torch.nan) for x in (measured.score, measured.share))
    return selected.transpose(0, 1), kept.T, retained.T, search.case.evaluations


def _different(search: _Search, n_sets: int) -> Tensor:
    """Different minimal sets of every example, found first to last, bool [n_sets, batch, gates]."""
    agendas = [_Agenda(row) for row in search.smallest(search.allowed)]
    for _ in range(_TRIES * n_sets):
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
    """What the next set of one example must leave out: a hitting set tree, breadth first.

    First all that the sets so far have in them, so that disjoint sets come first; then, for every set
    found, each of its members on top of what it left out itself. A minimal set that differs from another
    leaves out one of that one's members, so sooner or later each has its turn.
    """

    def __init__(self, first: Tensor) -> None:
        self.found: list[Tensor] = [first]
        self.queue: list[Tensor] = []
        self._left_out = torch.zeros_like(first)
        self._seen: set[tuple[int, ...]] = set()
        self._largest = _NOT_MUCH_LARGER * int(first.sum())
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
    return list(torch.eye(len(selected), dtype=torch.bool, device=selected.device)[selected])


@dataclass(frozen=True)
class _Search:
    """The search for minimal sets of one case.

    Attributes:
        case: the examples.
        ranking: their gates in the order of the explanation.
        allowed: gates that exist, of examples that have something to explain, bool [batch, gates].
        threshold: share that a set has to achieve, [batch].
    """

    case: Case
    ranking: Ranking
    allowed: Tensor
    threshold: Tensor

    @classmethod
    def begin(cls, explanation: Explanation, probe: Probe, rows: slice, retain: float) -> _Search:
        case = probe.case(rows)
        device = case.anchors.full.device
        allowed = (explanation.feature_ids[rows].to(device) >= 0) & case.anchors.explainable.unsqueeze(1)
        log_alpha = explanation.log_alpha[rows].to(device)
        seen = (explanation.influence[rows] > 0) | explanation.selected[rows]
        visible = allowed & log_alpha.isfinite() & seen.to(device)
        last = log_alpha.masked_fill(~visible, 0.0).amin() - 1  # for gates that the solve saw no reaction to
        ranking = Ranking.of(torch.where(visible, log_alpha, last), visible)
        everything = case.measure(allowed.unsqueeze(0)).share[0]
        return cls(case, ranking, allowed, everything.clamp_max(retain))

    def smallest(self, within: Tensor, give_up: bool = False) -> Tensor:
        """A set of which no member can be spared, bool [batch, gates].

        Args:
            within: members that it may have, bool [batch, gates].
            give_up: leave the set empty where all of these together do not suffice.
        """
        reached = self.case.measure(within.unsqueeze(0)).share[0] >= self.threshold
        if give_up:
            within = within & reached.unsqueeze(1)
        return self._pruned(self._prefix(within))

    def _prefix(self, within: Tensor) -> Tensor:
        """A short beginning of the ranking that suffices if all of it does."""
        # thresholds may differ by example, while a family asks for one share
        family = SelectionFamily(
            Ranking.of(self.ranking.parameter, within),
            lambda sets, of: self._share(sets, of) - self.threshold[of] + 1,
        )
        count = family.smallest_sufficient(1.0)
        return family.ranking.top(count.unsqueeze(1))[0]

    def _share(self, selections: Tensor, examples: Tensor) -> Tensor:
        """Achieved shares of [k, examples, gates], [k, examples]; -inf where the model fails."""
        share = self.case.measure(selections, examples).share
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


def _probe_of(explanation: Explanation) -> Probe:
    if explanation.probe is None:
        raise ArgumentError(
            "explanation",
            expected="one that still has its model, as explain returned it",
            found="data only: it was loaded from a file, unpickled or copied",
            mend="Explain the inputs again, and take the sets before it is saved.",
        )
    return explanation.probe


def _check_retain(retain: float) -> None:
    if not isinstance(retain, (int, float)) or isinstance(retain, bool) or not 0 < retain <= 1:
        raise ArgumentError(
            "retain",
            expected="a number in (0, 1]",
            found=repr(retain),
            mend="It is a share, not a count or a percentage.",
        )
