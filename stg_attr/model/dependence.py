"""Dependence: whether the score of a row depends on more than the row, seen by scoring some rows twice."""

from __future__ import annotations

import torch
from torch import Tensor

from .allowance import Allowance
from .gated import GatedModel
from .scorer import not_by_row, only_together

__all__ = ["MOST_ALONE", "depends_on_others", "measured_again", "tolerance"]

MOST_ALONE = 2  # rows of one example that `depends_on_others` scores where it finds nothing, at most


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

    n, everyone = model.batch, model.everyone.index
    # in other places than in the batch; of two, one comes twice: some functions know how to pair two rows
    some = torch.tensor([1, 0, 1] if n == 2 else [n - 1, 0], device="cpu")
    if same(some, _alone(model, some)):
        return False
    turned = _turned(model)
    if not same(turned, _scores(model, turned)) and same(everyone, _scores(model, everyone)):
        raise not_by_row(f"other scores for examples {some.tolist()} where they have other places")
    return True


def _alone(model: GatedModel, some: Tensor) -> Tensor:
    try:
        return _scores(model, some)
    except Exception as error:
        if not model.needs_all(model.everyone.rows(some)):
            raise  # the model's own error
        raise only_together(error, len(some), model.batch) from error


def _scores(model: GatedModel, index: Tensor) -> Tensor:
    """Scores of the inputs of some examples in one batch, long [examples]; [examples]."""
    gates = torch.ones(1, len(index), model.groups.n_gates, device=model.device, dtype=model.dtype)
    reference = torch.zeros(1, dtype=torch.long, device="cpu")
    return model.scores(gates, reference, model.everyone.rows(index))[0]


def _turned(model: GatedModel) -> Tensor:
    """All examples, long [batch], so that each call of the model gets the same, each one place on."""
    width = model.chunks.examples * model.chunks.samples
    return torch.cat([part.roll(1) for part in torch.split(model.everyone.index, width)])


def measured_again(model: GatedModel, allowance: Allowance) -> tuple[Tensor, Tensor]:
    """The scores of the inputs and of their first reference, each [batch], measured side by side.

    Args:
        model: the model and its examples.
        allowance: notes a failure of the model, and NaN is returned then.
    """
    # every second example shows its input first, so that each call of the model has inputs and references
    first = torch.arange(model.batch, device=model.device) % 2 == 1
    gates = torch.stack([first, ~first]).unsqueeze(2).expand(-1, -1, model.groups.n_gates)
    reference = model.reference_order[:1].expand(2)
    found = torch.full((2, model.batch), torch.nan, device=model.device).to(model.score_dtype)
    if allowance.failure is None:
        try:
            found = model.scores(gates, reference)
        except (Exception, KeyboardInterrupt) as failure:
            if not model.scorer.may_stop(failure):
                raise
            allowance.failure = failure
    return found[0].where(first, found[1]), found[1].where(first, found[0])
