"""Dependence: whether the score of a row depends on more than the row, seen by scoring some rows twice."""

from __future__ import annotations

import torch
from torch import Tensor

from .allowance import Allowance
from .gated import GatedModel
from .scorer import not_by_row, only_together

__all__ = ["MOST_ALONE", "depends_on_others", "measured_again", "most_again", "tolerance"]

MOST_ALONE = 1  # rows of one example that `depends_on_others` scores where it finds nothing, at most


def tolerance(model: GatedModel, share: float, rounding: int) -> Tensor:
    """By how much two measurements of one score may differ, [batch].

    Args:
        model: the model and its examples.
        share: share of the difference between input and baselines that counts as nothing.
        rounding: units in the last place that a score may lose by rounding, of the coarsest dtype that the
            model is known to compute with. In half precision, where sums are accumulated in single precision,
            they are at most twice `share` of the score.
    """
    anchors = model.anchors
    size = torch.maximum(anchors.full.abs(), anchors.baseline.abs())
    return torch.maximum(share * anchors.spread, min(rounding * model.rounding_unit, 2 * share) * size)


def depends_on_others(model: GatedModel, share: float, rounding: int) -> bool:
    """Whether the scores of two examples are others when these are scored without the rest of the batch.

    If they are, the whole batch is scored once or twice more, to tell noise and a dependence on other rows
    from a function of the rows' places, which would give an example the label of another one.

    Args:
        model: the model and its examples.
        share: see `tolerance`.
        rounding: see `tolerance`.

    Raises:
        ArgumentError: the model can only be asked about the whole batch, or in the order of the batch.
    """
    if model.batch == 1:
        return False
    near = tolerance(model, share, rounding)
    with model.scorer.aside():
        return _depends(model, near)


def _depends(model: GatedModel, near: Tensor) -> bool:
    def same(index: Tensor, scores: Tensor) -> bool:
        return bool(((scores - model.anchors.full[index]).abs() <= near[index]).all())

    everyone = model.everyone.index
    some, scores = _alone(model)
    if same(some, scores):
        return False
    turned = _turned(model)
    if not same(turned, _scores(model, turned)) and same(everyone, _scores(model, everyone)):
        raise not_by_row(f"other scores for examples {some.tolist()} where they have other places")
    return True


def _alone(model: GatedModel) -> tuple[Tensor, Tensor]:
    """Some examples, long, in other places than in the batch, and their scores without the others."""
    # of two, one alone is enough; a model in training mode may take several rows only
    tries = [[1], [1, 0, 1]] if model.batch == 2 else [[model.batch - 1, 0]]
    for rows in tries:
        some = torch.tensor(rows, device="cpu")
        try:
            return some, _scores(model, some)
        except Exception as error:
            if rows is not tries[-1]:
                continue
            if not model.needs_all(model.everyone.rows(some)):
                raise  # the model's own error
            raise only_together(error, len(some), model.batch) from error
    raise AssertionError("the last try returns or raises")


def _scores(model: GatedModel, index: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Scores of some examples, long [examples], in one batch; [examples].

    Args:
        model: the model and its examples.
        index: the examples.
        hidden: those that show their first reference instead of their input, bool [examples]; None for none.
    """
    shape = 1, len(index), model.groups.n_gates
    gates = torch.ones(shape, device=model.device, dtype=model.dtype)
    if hidden is not None:
        gates = gates.masked_fill(hidden.to(model.device).reshape(1, -1, 1), 0.0)
    return model.scores(gates, model.reference_order[:1], model.everyone.rows(index))[0]


def _turned(model: GatedModel) -> Tensor:
    """All examples, long [batch], so that each call of the model gets the same, each one place on."""
    width = model.chunks.examples * model.chunks.samples
    return torch.cat([part.roll(1) for part in torch.split(model.everyone.index, width)])


def most_again(references: int) -> int:
    """Rows of one example that `measured_again` scores, at most."""
    return 2 if references == 1 else 1


def measured_again(model: GatedModel, allowance: Allowance) -> tuple[Tensor, Tensor]:
    """The scores of inputs and of their first reference, each [batch], measured again side by side.

    Of every second example the input is measured, of the others the reference. Those that `depends_on_others`
    has measured twice are left out. Of a single example both are measured; with several references, which
    were measured side by side, one of them alone.

    Args:
        model: the model and its examples.
        allowance: notes a failure of the model, and NaN is returned then.

    Returns:
        The scores; what was not measured again is as it was before.
    """
    index, hidden = _again(model.batch, model.rows_per_selection)
    found = torch.full(index.shape, torch.nan, device=model.device).to(model.score_dtype)
    if allowance.failure is None:
        try:
            with model.scorer.anew():
                found = _scores(model, index, hidden)
        except (Exception, KeyboardInterrupt) as failure:
            if not model.scorer.may_stop(failure):
                raise
            allowance.failure = failure
    scores = torch.stack([model.anchors.full, model.reference_scores[0]])
    scores[hidden.long().to(model.device), index.to(model.device)] = found
    return scores[0], scores[1]


def _again(batch: int, references: int) -> tuple[Tensor, Tensor]:
    """Which examples are measured again, long [rows], and which of these rows show the reference, bool."""
    if batch == 1:
        # With one reference the input comes first, so that a score that adds those of earlier rows is seen
        # also where the reference scores 0.
        hidden = torch.tensor([True] if references > 1 else [False, True], device="cpu")
        return torch.zeros_like(hidden, dtype=torch.long), hidden
    first, end = (0, 1) if batch == 2 else (1, batch - 1)
    index = torch.arange(first, end, device="cpu")
    return index, (index - first) % 2 == 1
