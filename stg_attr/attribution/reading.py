"""Reading: from learned gates to attributions and the evidence for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from stg_attr.explanation import (
    Certificate,
    Curve,
    Explanation,
    Restarts,
    Scores,
    Settings,
    Status,
    in_words,
    lay_out,
    stopped_by,
)
from stg_attr.gates import Blend, GateDistribution
from stg_attr.model import Allowance, FeatureWorth, GatedModel, Profile, depends_on_others
from stg_attr.model.worth import expected_of_blind
from stg_attr.objective import RetainedScore
from stg_attr.select import Ranking, SetSearch
from stg_attr.select.ranking import Worth
from stg_attr.solve import Solution, Solver

from .certificate import Certifier
from .evidence import (
    averaged_over_shares,
    before_the_unseen,
    check_rows,
    differs_little,
    evidence,
    evidence_rows,
    keep_too_little,
    others_differ,
    unlike_before,
    untested,
)

__all__ = ["Reading", "first_restart"]


@dataclass(frozen=True)
class Reading:
    """How a solution is read and measured.

    Args:
        model: the model as a function of the gates that were learned.
        solver: how they were learned.
        settings: what is measured, and how it is judged.
        max_evals: rows the model may be run on for each example, the solve included; None for any number.
        dependent: whether scores are known to depend on more than their row.
    """

    model: GatedModel
    solver: Solver
    settings: Settings
    max_evals: int | None
    dependent: bool = False

    @classmethod
    def begin(cls, model: GatedModel, solver: Solver, settings: Settings, max_evals: int | None) -> Reading:
        """Before a solve; two of several examples are scored alone, for which see `depends_on_others`."""
        numbers = settings.reading
        dependent = depends_on_others(model, numbers.same_score, numbers.rounding)
        return cls(model, solver, settings, max_evals, dependent)

    def read(
        self, solution: Solution, with_curve: bool, asked: Blend
    ) -> tuple[Explanation, BaseException | None]:
        """Read a solution at the sparsity asked for, and measure what it claims.

        Args:
            solution: the gates. After Ctrl-C nothing is measured, and those that are open as they were
                learned are selected.
            with_curve: measure removals and the budget curve too; without it, `scores.removed` is NaN.
            asked: what the explanation names as inputs and baselines.

        Returns:
            The explanation, and what stopped the solve or the reading, if anything did.
        """
        model, solver = self.model, self.solver
        groups = model.groups
        points = self.settings.reading.curve_points if with_curve else 0
        allowance = self._allowance(solution, points)
        explainable = model.explainable.unsqueeze(1)
        exists = groups.exists.expand_as(solution.parameter)
        worth = self._worth(solution, exists, allowance)
        profile = worth.profile if with_curve else Profile()
        visible = worth.reacts & explainable  # contributions are known also of features that cancel out
        search, count, visible = self._searched(allowance, solution, visible, worth.order)
        ranking, count, certificate = self._certified(allowance, solution, search, count, worth)
        selected = ranking.top(count.unsqueeze(1))[0]
        log_alpha = ranking.at(selected, solver.gates.half, before_the_unseen(ranking, exists, worth))
        log_alpha = log_alpha.masked_fill(~(explainable & exists), -torch.inf)
        probabilities = solver.gates.active_probability(log_alpha)
        scores, curve, fragile = evidence(model, allowance, ranking, count, points)
        rounding = self.settings.reading.rounding
        fragile |= others_differ(model, scores, profile.contributions, rounding) & ~model.explainable
        certificate = certificate or untested(model, solver.sparsity, curve, count)
        unlike = unlike_before(model, allowance, scores, curve, self.settings.reading) | self.dependent
        failure = solution.failure or allowance.failure
        status = self._statuses(solution, visible, count, scores, fragile, curve, failure, unlike)
        explanation = Explanation(
            attributions=lay_out(probabilities, groups, model.blend.inputs),
            log_alpha=log_alpha,
            active_probabilities=probabilities,
            selected=selected,
            influence=_influence(solution, profile).masked_fill(~ranking.visible & explainable, 0.0),
            contributions=profile.contributions,
            averaged=averaged_over_shares(profile, model, ranking.visible, curve, self.settings.reading),
            effect=solution.effect.masked_fill(~ranking.visible, 0.0) * model.direction,
            feature_ids=groups.feature_ids.expand_as(exists),
            feature_mask=asked.groups.index,
            target=model.target,
            scores=scores,
            curve=curve,
            loss_trace=solution.loss_trace,
            status=status,
            n_evaluations=model.scorer.n_run,
            seed=solver.seed,
            gates=solver.gates,
            inputs=asked.inputs,
            baselines=asked.mean_references(model.rows_per_selection),
            settings=self.settings,
            certificate=None if certificate is None else certificate.withheld(status),
            learned=solution.learned,
            objective=in_words(model.objective),
        )
        return explanation, failure

    def _allowance(self, solution: Solution, curve_points: int) -> Allowance:
        """What may be measured: all but what the evidence takes, and nothing after Ctrl-C."""
        rows = self.model.rows_per_selection
        reserved = evidence_rows(rows, self.model.n_held_out, curve_points) + check_rows(rows, curve_points)
        interrupted = solution.failure if isinstance(solution.failure, KeyboardInterrupt) else None
        return Allowance(self.max_evals, reserved, interrupted)

    def _worth(self, solution: Solution, exists: Tensor, allowance: Allowance) -> FeatureWorth:
        """What the features are worth, not measured yet."""
        solver, blind = self.solver, solution.learned.blind
        reacts = ((solution.influence > 0) | blind) & exists & self.model.differs
        expected = expected_of_blind(solution.effect, blind & reacts)
        slopes, settings = solver.estimator.proves_slopes, self.settings.profile
        return FeatureWorth(self.model, reacts, expected, slopes, solver.seed, settings, allowance)

    def _certified(
        self,
        allowance: Allowance,
        solution: Solution,
        search: SetSearch,
        count: Tensor,
        worth: FeatureWorth,
    ) -> tuple[Ranking, Tensor, Certificate | None]:
        """The features in order, how many are reported, and what is certified of these on held-out rows."""
        model, solver = self.model, self.solver
        ranking = self._ordered(search, search.ranking.top(count.unsqueeze(1))[0], solution)
        if not model.n_held_out:
            return ranking, count, None
        second = worth.order if model.objective.fidelity.either_direction else None
        certifier = Certifier(model, solver.sparsity, self.settings.certificate, allowance)
        ranking, count, certificate = certifier.certified(ranking, count, second)
        needed = search.needed | solver.proven(solution)
        return *self._seen_only(allowance, ranking, count, needed), certificate

    def _searched(
        self, allowance: Allowance, solution: Solution, visible: Tensor, second: Worth | None
    ) -> tuple[SetSearch, Tensor, Tensor]:
        """The search, how many of its first features are reported, long [batch], and those that can be.

        Where slopes of 0 do not prove that the model ignores a feature, a feature is reported only if
        switching it alone was seen to change a score.
        """
        model, settings, solver = self.model, self.settings.search, self.solver
        seen, objective = visible & solver.proven(solution), model.objective
        swaps = solution.learned.n_samples * objective.n_views // settings.evaluations_per_swap
        swaps = swaps.clamp_max(0 if objective.fidelity.either_direction else settings.most_swaps)
        measure = partial(_shares, model, allowance)
        most = visible if allowance.failure is None else visible & (solution.parameter > solver.gates.half)
        while True:
            search = SetSearch(
                Ranking.of(solution.parameter, visible),
                measure,
                partial(_affords, model, allowance),
                other=partial(measure, other_view=True) if objective.n_views > 1 else None,
                promise=solution.effect,
                second=second,
                swaps=swaps // model.rows_per_selection,
                settings=settings,
            )
            count = solver.sparsity.n_open(search).minimum(visible.sum(1)).minimum(most.sum(1))
            selected = search.ranking.top(count.unsqueeze(1))[0]
            unseen = self._unseen(allowance, selected, seen | search.needed)
            if not bool(unseen.any()):
                return search, count, visible
            seen, visible = seen | (selected & ~unseen), visible & ~unseen

    def _ordered(self, search: SetSearch, selected: Tensor, solution: Solution) -> Ranking:
        """The ranking with the selected features first, in an order that is measured if it is affordable."""
        place = search.arrange(selected)
        if self.model.objective.fidelity.either_direction:
            worth: Tensor | None = _use(solution, self.solver.gates)
        elif self.solver.draws_together(self.model.groups):
            worth = None
        else:
            worth = search.extend(selected)
        return search.ranking.promoted(selected, place, worth)

    def _seen_only(
        self, allowance: Allowance, ranking: Ranking, count: Tensor, needed: Tensor
    ) -> tuple[Ranking, Tensor]:
        """The ranking without selected features that the model does not react to, and how many are left.

        What is certified of a set is true without them, too.
        """
        selected = ranking.top(count.unsqueeze(1))[0]
        if not bool((selected & ~needed).any()):
            return ranking, count
        unseen = self._unseen(allowance, selected, needed)
        return Ranking.of(ranking.parameter, ranking.visible & ~unseen), count - unseen.sum(1)

    def _unseen(self, allowance: Allowance, selected: Tensor, known: Tensor) -> Tensor:
        """Selected features that the model does not react to, bool [batch, gates].

        Each is switched alone, among the selected ones, among all, and among none; it counts as unseen where
        no score changes beyond rounding.

        Args:
            allowance: what may be measured.
            selected: bool [batch, gates].
            known: features that the model is known to react to, bool [batch, gates].
        """
        unseen = selected & ~known
        for context in (selected, torch.ones_like(selected), torch.zeros_like(selected)):
            examples = unseen.any(1).nonzero().squeeze(1)
            n = unseen[examples].sum(1).cpu() + 1
            affordable = _affords(self.model, allowance, examples.cpu(), n)
            # not enough evaluations left to test these: treat them as seen
            unseen[examples[~affordable.to(examples.device)]] = False
            unseen &= ~self._moves(allowance, unseen, context)
        return unseen

    def _moves(self, allowance: Allowance, gates: Tensor, context: Tensor) -> Tensor:
        """Which gates, bool [batch, gates], change a score when they are switched alone in a context."""
        examples = gates.any(1).nonzero().squeeze(1)
        row, gate = gates.nonzero(as_tuple=True)
        if not len(row):
            return gates
        switched = context[row]
        switched[torch.arange(len(row), device=gate.device), gate] ^= True
        selections = torch.cat([context[examples], switched]).unsqueeze(0)
        measured = self.model.measure(selections, torch.cat([examples, row]).cpu(), allowance=allowance)
        place = torch.zeros(len(gates), dtype=torch.long, device=gates.device)
        place[examples] = torch.arange(len(examples), device=gates.device)
        scores, anchors = measured.scores.squeeze(0), self.model.anchors  # [references, selections]
        before, after = scores[:, place[row]], scores[:, len(examples) :]
        size = torch.stack([anchors.full, anchors.baseline]).abs().amax(0)[row]
        size = torch.maximum(before.abs(), after.abs()).maximum(size)
        rounding = self.settings.reading.rounding * self.model.rounding_unit
        still = ((before - after).abs() <= rounding * size).all(0)  # a share of 0 is never exactly 0
        moves = gates.clone()
        moves[row[still], gate[still]] = False
        return moves

    def _statuses(
        self,
        solution: Solution,
        visible: Tensor,
        count: Tensor,
        scores: Scores,
        fragile: Tensor,
        curve: Curve,
        failure: BaseException | None,
        unlike: Tensor,
    ) -> tuple[Status, ...]:
        reading = self.settings.reading
        short = keep_too_little(self.model, self.solver.sparsity, curve, count, reading.rounding)
        before, after = (
            Ranking.of(parameter, visible).top(count.unsqueeze(1))[0]
            for parameter in (solution.earlier, solution.parameter)
        )
        overlap = (before & after).sum(1) / (before | after).sum(1).clamp_min(1)
        asks_for = isinstance(self.model.objective.fidelity, RetainedScore)
        below = self.model.anchors.direction < 0
        unclear = asks_for & ((scores.full - scores.baseline) * self.model.anchors.direction < 0)
        verdicts = (  # the first that applies is the status
            (unlike if failure is None else torch.zeros_like(unlike), Status.NOT_REPRODUCIBLE),
            (fragile & ~self.model.explainable, Status.REFERENCE_DEPENDENT),
            (~self.model.explainable, Status.NOTHING_TO_EXPLAIN),
            (~(solution.loss_trace.isfinite().sum(0) == solution.n_steps), Status.NOT_FINITE),
            (torch.full_like(count, failure is not None, dtype=torch.bool), stopped_by(failure)),
            (differs_little(self.model, reading.least_difference) | unclear, Status.SMALL_DIFFERENCE),
            (self.solver.unlearned(solution), Status.UNSEEN),
            (short, Status.NOT_SUFFICIENT),
            (overlap < reading.same_overlap, Status.NOT_CONVERGED),
            (below & asks_for, Status.BASELINE_HIGHER),
            (fragile, Status.REFERENCE_DEPENDENT),
        )
        found = [Status.CONVERGED] * len(count)
        for applies, status in reversed(verdicts):
            found = [status if yes else other for yes, other in zip(applies.tolist(), found, strict=True)]
        return tuple(found)


def _shares(
    model: GatedModel, allowance: Allowance, selections: Tensor, index: Tensor, other_view: bool = False
) -> Tensor:
    """What selections retain, as `SetSearch` measures it."""
    return model.measure(selections, index, other_view, allowance).share


def _affords(model: GatedModel, allowance: Allowance, index: Tensor, n: Tensor) -> Tensor:
    """Whether n more selections of each example may be measured, as `SetSearch` asks it."""
    return allowance.covers(n, model.rows_per_selection, model.evaluations[index])


def _influence(solution: Solution, profile: Profile) -> Tensor:
    """Influence, [batch, gates]; above 0 for all features that the model was seen to react to."""
    if profile.influence is None:
        return solution.influence
    least = torch.finfo(solution.influence.dtype).tiny * (solution.influence > 0)
    return profile.influence.to(least).maximum(least)


def _use(solution: Solution, gates: GateDistribution) -> Tensor:
    """Log of influence times the odds of being active, [batch, gates]: use in either direction."""
    odds = torch.logit(gates.active_probability(solution.parameter), eps=1e-6)
    return solution.influence.log() + odds


def first_restart(found: Explanation, n_restarts: int) -> Explanation:
    """The explanation of the first block of rows, with what the other blocks selected."""
    n = len(found) // n_restarts
    spent = found.n_evaluations.reshape(n_restarts, n).sum(0)
    restarts = Restarts(found.selected.reshape(n_restarts, n, -1))
    return replace(found.rows(slice(0, n)), n_evaluations=spent, restarts=restarts)
