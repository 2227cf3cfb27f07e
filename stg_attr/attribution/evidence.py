"""Evidence: the scores and the curve of a selection, and whether they can be trusted and claimed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log10

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Certificate, Curve, ReadingSettings, Scores
from stg_attr.gates import PairedBlend
from stg_attr.model import (
    MOST_ALONE,
    Allowance,
    FeatureWorth,
    GatedModel,
    Measured,
    Profile,
    Scorer,
    measured_again,
    most_again,
    tolerance,
)
from stg_attr.select import OnAverage, OnMost, Ranking, Sparsity, Sweep, averaged

__all__ = [
    "averaged_over_shares",
    "before_the_unseen",
    "check_claim",
    "check_rows",
    "differs_little",
    "evidence",
    "evidence_rows",
    "keep_too_little",
    "others_differ",
    "slopes_anywhere",
    "unlike_before",
    "untested",
]


def evidence_rows(references: int, n_held_out: int, curve_points: int) -> int:
    """Model rows for each example that the evidence takes; none without a curve."""
    own = 1 if n_held_out else 0  # scores of the references themselves, where these are fresh
    return (2 * (curve_points + 1) + own) * references if curve_points else 0


def check_rows(references: int, curve_points: int) -> int:
    """Model rows for each example that the checks of its scores take, at most, in a batch of any size."""
    # a curve measures input and baseline anyway; without one, no example has a part in both checks
    return MOST_ALONE if curve_points else max(MOST_ALONE, most_again(references))


def slopes_anywhere(
    parts: Sequence[slice],
    scorer_of: Callable[[slice], Scorer],
    model_of: Callable[[slice, Scorer], GatedModel],
    batch: int,
) -> tuple[bool, Tensor]:
    """Whether a model has slopes for some part of the examples, seen at the inputs and half-way to baselines.

    Args:
        parts: of which one was found to have none; if it is the only one, the model has none.
        scorer_of: what runs the model on the examples of a part.
        model_of: the model as a function of their gates.
        batch: number of examples.

    Returns:
        Whether it has, and the rows that were evaluated for each example, long [batch].
    """
    spent, found = torch.zeros(batch, dtype=torch.long, device="cpu"), False
    for rows in parts if len(parts) > 1 else ():
        scorer = scorer_of(rows)
        with contextlib.suppress(Exception):  # which a solve of these examples raises or notes
            model = model_of(rows, scorer)
            shown = torch.ones_like(model.differs, dtype=model.dtype)
            model.score_slopes(torch.stack([shown, shown / 2]), model.reference_order[:1].expand(2))
            found = True in model.graphs
        spent[rows] += scorer.evaluations
        if found:
            break
    return found, spent


def unlike_before(
    model: GatedModel, allowance: Allowance, scores: Scores, curve: Curve, settings: ReadingSettings
) -> Tensor:
    """Whether input or baseline have another score now, in other batches, than at the start, bool [batch]."""
    full, baseline = scores.full.unsqueeze(1), scores.baseline.unsqueeze(1)
    if bool(curve.n_open.any()):  # else all rows of a call are the same
        nothing, everything = curve.n_open == 0, curve.n_open == model.groups.exists.sum(1, keepdim=True)
        pairs = [
            (curve.kept, baseline, nothing),
            (curve.removed, full, nothing),
            (curve.kept, full, everything),
            (curve.removed, baseline, everything),
        ]
    else:
        now = [one.unsqueeze(1) for one in measured_again(model, allowance)]
        known = torch.ones_like(now[0], dtype=torch.bool)
        pairs = [(now[0], full, known), (now[1], model.reference_scores[:1].T, known)]
    near = tolerance(model, settings.same_score, settings.rounding).unsqueeze(1)
    return torch.cat([known & ((now - before).abs() > near) for now, before, known in pairs], 1).any(1)


def evidence(
    model: GatedModel, allowance: Allowance | None, ranking: Ranking, count: Tensor, curve_points: int
) -> tuple[Scores, Curve, Tensor]:
    """Measured scores and curve, and whether a selection achieves nothing with some reference, [batch].

    Args:
        model: the model.
        allowance: notes a failure of the model; None raises it.
        ranking: the features in order.
        count: how many of them are selected, long [batch].
        curve_points: sizes of sets at which the curve is measured; 0 for no curve, and NaN for the scores.
    """
    anchors = model.anchors
    if not curve_points:
        unknown = torch.full_like(anchors.full, torch.nan)
        nothing = anchors.full.new_zeros(model.batch, 0)
        return (
            Scores(anchors.full, anchors.baseline, unknown, unknown),
            Curve(nothing.long(), nothing, nothing, nothing),
            torch.zeros_like(anchors.explainable),
        )
    counts = _curve_counts(ranking.n_visible, curve_points)
    counts = torch.cat([counts, count.unsqueeze(1)], 1).sort(1).values
    measured, other = (_on_curve(model, ranking.top(counts), other, allowance) for other in (False, True))
    anchors = model.fresh_anchors if model.n_held_out and not (allowance and allowance.failure) else anchors
    views = (measured.score, other.score)
    kept, removed = views if model.objective.keeps else views[::-1]
    curve = Curve(counts, kept.T, removed.T, measured.share.T)
    chosen = _point_of(curve, count)
    here = replace(curve, **{name: value.gather(1, chosen) for name, value in vars(curve).items()})
    fragile = (measured.worst_share.T.gather(1, chosen) <= 0).squeeze(1) & (count > 0)
    # a single baseline is no reference among others, and of many rows there is always one that loses all
    fragile &= model.rows_per_selection > 1 and not isinstance(model.blend, PairedBlend)
    scores = Scores(anchors.full, anchors.baseline, here.kept.squeeze(1), here.removed.squeeze(1))
    return scores, curve, fragile


def _on_curve(
    model: GatedModel, selections: Tensor, other_view: bool, allowance: Allowance | None
) -> Measured:
    """What selections achieve, largest first: inputs and baselines, which came first before, are then last.

    So a function of the place of a row in its call has other scores for them than at the start.
    """
    turned = selections.flip(0)
    return model.measure(turned, other_view=other_view, allowance=allowance, fresh=True).reversed()


def untested(model: GatedModel, sparsity: Sparsity, curve: Curve, count: Tensor) -> Certificate | None:
    """What is known without a test: everything, where all references were measured; else nothing.

    Args:
        model: the model, with no references that are held out.
        sparsity: what is claimed.
        curve: measured; without points, nothing is known.
        count: features that are selected, long [batch], a point of the curve.
    """
    claim, n, retain = sparsity.claim, model.blend.n_references, sparsity.retain
    if claim is None or not curve.n_open.shape[1]:
        return None
    share = curve.retained.gather(1, _point_of(curve, count)).squeeze(1)
    exact = n <= model.rows_per_selection and isinstance(claim, OnAverage)
    unknown = torch.full_like(share, torch.nan)
    return Certificate(
        holds=(share >= retain) & (count > 0) if exact else torch.zeros_like(count, dtype=torch.bool),
        lower=share if exact else unknown,
        mean=share if exact else unknown,
        n_references=torch.full_like(count, n if exact else 0),
        claim=claim,
        retain=retain,
        exact=exact,
    )


def _point_of(curve: Curve, count: Tensor) -> Tensor:
    """The first point of a curve with so many features, long [batch]; long [batch, 1]."""
    return (curve.n_open == count.unsqueeze(1)).long().argmax(1, keepdim=True)


def keep_too_little(
    model: GatedModel, sparsity: Sparsity, curve: Curve, count: Tensor, rounding: int
) -> Tensor:
    """Whether selected features keep less than was asked for, bool [batch].

    They are compared on the references on which they were searched. Where others are held out, the
    certificate says what they keep.

    Args:
        model: the model.
        sparsity: what was asked for.
        curve: measured; without points, nothing is known.
        count: features that are selected, long [batch], a point of the curve.
        rounding: units in the last place that a share may lose.
    """
    asked = sparsity.claim is not None or isinstance(sparsity, Sweep)
    if not asked or model.n_held_out or not curve.n_open.shape[1]:
        return torch.zeros_like(count, dtype=torch.bool)
    share = curve.retained.gather(1, _point_of(curve, count)).squeeze(1)
    least = sparsity.retain - rounding * torch.finfo(share.dtype).eps
    return ~(share >= least) & (count > 0)  # NaN is not enough


def _curve_counts(n: Tensor, points: int) -> Tensor:
    """0, 1, ... n in geometric steps, long [batch, points]."""
    share = torch.arange(points, dtype=torch.float32, device=n.device) / (points - 1)
    counts = ((n + 1).unsqueeze(1) ** share).round().long() - 1
    return counts.minimum(n.unsqueeze(1))


def before_the_unseen(ranking: Ranking, exists: Tensor, worth: FeatureWorth) -> Tensor | None:
    """Features that are reported before those that the model does not react to, bool [batch, gates].

    All, where features matter in either direction. Else as many as raise the score, so that those that lower
    it stay last; where there are slopes, the learned parameters say so. None where that is not measured.
    """
    if worth.model.objective.fidelity.either_direction:
        return ranking.visible
    examples = (ranking.visible != exists).any(1).nonzero().squeeze(1)
    if worth.slopes or worth.order is None or not len(examples):
        return None
    return ranking.top((ranking.visible & (worth.order(examples) > 0)).sum(1, keepdim=True))[0]


def differs_little(model: GatedModel, least: float) -> Tensor:
    """Whether the scores of input and references differ by little, bool [batch].

    Args:
        model: the model, on masked inputs of which scores were measured.
        least: the least difference, as a share of how far these score from the references.
    """
    return least * model.spread.distance > 1


def averaged_over_shares(
    profile: Profile, model: GatedModel, visible: Tensor, curve: Curve, settings: ReadingSettings
) -> Tensor | None:
    """Active probabilities averaged over the share of the output that is kept, [batch, gates].

    None where the profile or the curve was not measured.
    """
    worth = profile.worth(model)
    if worth is None or not curve.n_open.shape[1]:
        return None
    start, end = log10(settings.most_missing), log10(settings.least_missing)
    missing = torch.logspace(start, end, settings.averaged, device="cpu")
    return averaged(worth.masked_fill(~visible, 0.0), curve.n_open, curve.retained, missing)


def others_differ(model: GatedModel, scores: Scores, contributions: Tensor | None, rounding: int) -> Tensor:
    """Whether references that the search was not shown score otherwise than the input, bool [batch].

    Args:
        model: the model.
        scores: as they are reported, of held-out references if there are some.
        contributions: these add up to the difference from more references, [batch, gates]; None for unknown.
        rounding: units in the last place by which two scores must differ to count as different.
    """
    apart, size = scores.full - scores.baseline, torch.maximum(scores.full.abs(), scores.baseline.abs())
    unit = rounding * model.rounding_unit
    found = apart.abs() > unit * size
    if contributions is not None:
        found |= contributions.sum(1).abs() > unit * (size + contributions.abs().sum(1))
    return found


def check_claim(model: GatedModel, sparsity: Sparsity) -> None:
    """Check that a model has the outputs that a claim is about.

    Raises:
        ArgumentError: the claim is that a class is kept, and there are no classes, or the objective removes
            it.
    """
    claim, target = sparsity.claim, model.target
    if isinstance(claim, OnMost) and claim.same_class and not model.objective.keeps:
        raise ArgumentError(
            "claim",
            expected="a claim about what is taken away, since the objective is Delete()",
            found="one that the class is kept",
            mend="Take Preserve() or Hybrid(), or claim a share of the score with OnAverage().",
        )
    if isinstance(claim, OnMost) and claim.same_class and (target is None or target.shape[1] != 1):
        raise ArgumentError(
            "claim",
            expected="outputs [rows, classes], since it says that the class is kept",
            found="no classes",
            mend="Claim a share of the score, by OnAverage() or OnMost(), or return an output for a class.",
        )
