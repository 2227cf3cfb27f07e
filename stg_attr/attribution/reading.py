"""Reading: from learned gates to attributions and the evidence for them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stg_attr.gates import Blend, GateDistribution
from stg_attr.objective import RetainedScore
from stg_attr.solve import Learned, Ranking, SelectionFamily, Solution, Solver

from .case import Case
from .explanation import Curve, Explanation, Scores, Status, lay_out
from .meter import Meter

__all__ = ["evidence", "evidence_rows", "nothing_learned", "read", "stopped_by"]

_CURVE_POINTS = 12  # counts of open gates, spread geometrically, at which every curve is measured
_TRIALS = 24  # model rows of each view for bettering a small set, and as many for what comes next, at most,
_A_TRIAL = 8  # and no more than one for so many evaluations of the solve
_ALIKE = 0.8  # selections that overlap by this share (Jaccard) count as the same


def read(
    case: Case, solution: Solution, solver: Solver, with_curve: bool, max_evals: int | None
) -> tuple[Explanation, BaseException | None]:
    """Read a solution at the sparsity asked for, and measure what it claims.

    Args:
        case: the examples.
        solution: their gates.
        solver: how they were learned.
        with_curve: measure removals and the budget curve too; without it, `scores.removed` is NaN.
        max_evals: rows the model may be run on for each example, the solve included; None for any number.

    Returns:
        The explanation, and what stopped the solve or the reading, if anything did.
    """
    meter = Meter(case, max_evals, evidence_rows(case.rows_per_selection, with_curve))
    explainable = case.anchors.explainable.unsqueeze(1)
    exists = case.blend.groups.exists.expand_as(solution.parameter)
    visible = (solution.influence > 0) & exists & explainable
    family, count, visible = _chosen(meter, solution, solver, visible)
    influence = solution.influence.masked_fill(~visible & explainable, 0.0)
    selected = family.ranking.top(count.unsqueeze(1))[0]
    place = family.arrange(selected)
    if case.objective.fidelity.either_direction:
        worth: Tensor | None = _use(solution, solver.gates)
    else:
        worth = None if solver.shares(case.blend.groups) else family.extend(selected)
    ranking = family.ranking.promoted(selected, place, worth)
    log_alpha = ranking.at(selected, solver.gates.half)
    log_alpha = log_alpha.masked_fill(~(explainable & exists), -torch.inf)
    probabilities = solver.gates.active_probability(log_alpha)
    scores, curve, fragile = evidence(meter, ranking, count, with_curve)
    groups = case.blend.groups
    explanation = Explanation(
        attributions=lay_out(probabilities, groups, case.blend.inputs),
        log_alpha=log_alpha,
        active_probabilities=probabilities,
        selected=selected,
        influence=influence,
        effect=solution.effect.masked_fill(~visible, 0.0),
        feature_ids=groups.feature_ids.expand_as(exists),
        feature_mask=groups.index,
        target=case.target,
        scores=scores,
        curve=curve,
        loss_trace=solution.loss_trace,
        status=_statuses(meter, solution, visible, count, scores, fragile),
        n_evaluations=case.evaluations,
        seed=solver.seed,
        gates=solver.gates,
        inputs=case.blend.inputs,
        baselines=case.blend.references,
        learned=solution.learned,
    )
    return explanation, solution.failure or meter.failure


def nothing_learned(like: Explanation, blend: Blend, status: Status, evaluations: Tensor) -> Explanation:
    """For examples that the model failed on before anything was known of them.

    Args:
        like: an explanation of other examples of the same batch.
        blend: the examples.
        status: of all of them.
        evaluations: rows that the model was run on for each, long [examples].
    """
    n, groups = len(evaluations), blend.groups
    closed = torch.full(
        (n, groups.n_gates), -torch.inf, dtype=like.log_alpha.dtype, device=groups.exists.device
    )
    unknown, nobody = closed.new_full((n,), torch.nan), torch.zeros_like(closed, dtype=torch.bool)
    points = closed.new_full((n, like.curve.n_open.shape[1]), torch.nan)
    target = None if like.target is None else like.target.new_full((n, like.target.shape[1]), -1)
    return replace(
        like,
        attributions=lay_out(torch.zeros_like(closed), groups, blend.inputs),
        log_alpha=closed,
        active_probabilities=torch.zeros_like(closed),
        selected=nobody,
        influence=torch.zeros_like(closed),
        effect=torch.zeros_like(closed),
        feature_ids=groups.feature_ids.expand_as(closed),
        feature_mask=groups.index,
        target=target,
        scores=Scores(unknown, unknown, unknown, unknown),
        curve=Curve(torch.zeros_like(points, dtype=torch.long), points, points, points),
        loss_trace=closed.new_zeros(0, n),
        status=(status,) * n,
        n_evaluations=evaluations,
        inputs=blend.inputs,
        baselines=blend.references,
        learned=Learned.nothing(n, groups.n_gates, closed.dtype, closed.device),
    )


def evidence_rows(references: int, with_curve: bool) -> int:
    """Model rows for each example that the evidence takes."""
    return 2 * (_CURVE_POINTS + 1) * references if with_curve else 0


def _chosen(
    meter: Meter, solution: Solution, solver: Solver, visible: Tensor
) -> tuple[SelectionFamily, Tensor, Tensor]:
    """The family, how many of its first gates are reported, long [batch], and the gates that can be.

    Where slopes prove nothing, a gate is reported only if switching it alone was seen to move a score.
    """
    seen = torch.zeros_like(visible)
    objective = meter.case.objective
    trials = solution.learned.n_samples * objective.n_views // _A_TRIAL
    trials = trials.clamp_max(0 if objective.fidelity.either_direction else _TRIALS)
    while True:
        family = SelectionFamily(
            Ranking.of(solution.parameter, visible),
            meter.shares,
            meter.affords,
            other=meter.other_shares if objective.n_views > 1 else None,
            promise=solution.effect,
            trials=trials // meter.case.rows_per_selection,
        )
        count = torch.where(visible.any(1), solver.sparsity.n_open(family), 0)
        if solver.estimator.proves_slopes:
            return family, count, visible
        selected = family.ranking.top(count.unsqueeze(1))[0]
        unseen = meter.unseen(selected, seen | family.needed)
        if not bool(unseen.any()):
            return family, count, visible
        seen, visible = seen | (selected & ~unseen), visible & ~unseen


def _use(solution: Solution, gates: GateDistribution) -> Tensor:
    """Log of influence times the odds of being active, [batch, gates]: use in either direction."""
    odds = torch.logit(gates.active_probability(solution.parameter), eps=1e-6)
    return solution.influence.log() + odds


def evidence(meter: Meter, ranking: Ranking, count: Tensor, with_curve: bool) -> tuple[Scores, Curve, Tensor]:
    """Measured scores and curve, and whether the selection achieves nothing with some reference, [batch]."""
    case, anchors = meter.case, meter.case.anchors
    if not with_curve:
        unknown = torch.full_like(anchors.full, torch.nan)
        nothing = anchors.full.new_zeros(case.batch, 0)
        return (
            Scores(anchors.full, anchors.baseline, unknown, unknown),
            Curve(nothing.long(), nothing, nothing, nothing),
            torch.zeros_like(case.anchors.explainable),
        )
    counts = torch.cat([_curve_counts(ranking.n_visible), count.unsqueeze(1)], 1).sort(1).values
    measured, other = meter.evidence(ranking.top(counts))
    one = measured.score
    kept, removed = (one, other) if case.objective.keeps else (other, one)
    curve = Curve(counts, kept.T, removed.T, measured.share.T)
    chosen = (counts == count.unsqueeze(1)).long().argmax(1, keepdim=True)
    here = replace(curve, **{name: value.gather(1, chosen) for name, value in vars(curve).items()})
    fragile = (measured.worst_share.T.gather(1, chosen) <= 0).squeeze(1) & (count > 0)
    return (
        Scores(anchors.full, anchors.baseline, here.kept.squeeze(1), here.removed.squeeze(1)),
        curve,
        fragile,
    )


def _curve_counts(n: Tensor) -> Tensor:
    """0, 1, ... n in geometric steps, long [batch, points]."""
    share = torch.arange(_CURVE_POINTS, device=n.device) / (_CURVE_POINTS - 1)
    counts = ((n + 1).unsqueeze(1) ** share).round().long() - 1
    return counts.minimum(n.unsqueeze(1))


def _statuses(
    meter: Meter, solution: Solution, visible: Tensor, count: Tensor, scores: Scores, fragile: Tensor
) -> tuple[Status, ...]:
    case, failure = meter.case, solution.failure or meter.failure
    before, after = (
        Ranking.of(parameter, visible).top(count.unsqueeze(1))[0]
        for parameter in (solution.earlier, solution.parameter)
    )
    overlap = (before & after).sum(1) / (before | after).sum(1).clamp_min(1)
    verdicts = (
        (~case.anchors.explainable, Status.NOTHING_TO_EXPLAIN),
        (~(solution.loss_trace.isfinite().sum(0) == solution.n_steps), Status.NOT_FINITE),
        (torch.full_like(count, failure is not None, dtype=torch.bool), stopped_by(failure)),
        (overlap < _ALIKE, Status.NOT_CONVERGED),
        (_lowers(case, scores), Status.BASELINE_HIGHER),
        (fragile, Status.REFERENCE_DEPENDENT),
    )
    found = [Status.CONVERGED] * len(count)
    for applies, status in reversed(verdicts):
        found = [status if yes else other for yes, other in zip(applies.tolist(), found, strict=True)]
    return tuple(found)


def stopped_by(failure: BaseException | None) -> Status:
    """What a failure makes of an example."""
    return Status.INTERRUPTED if isinstance(failure, KeyboardInterrupt) else Status.FAILED


def _lowers(case: Case, scores: Scores) -> Tensor:
    """Whether a question about what speaks for a score is asked of a score below its baseline."""
    asks_for = isinstance(case.objective.fidelity, RetainedScore)
    return (scores.baseline > scores.full) & asks_for
