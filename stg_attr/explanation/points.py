"""Points of a curve: an explanation read at another measured number of features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from stg_attr.batch import Batch
from stg_attr.select import Ranking

__all__ = ["read_at"]

E = TypeVar("E", bound=Batch)


def read_at(explanation: E, point: Tensor) -> E:
    """The explanation at one point of its curve for each example; the model is not run.

    Args:
        explanation: an `Explanation` with a measured curve.
        point: places along the curve, long [batch].
    """
    known: Any = explanation
    index = point.to(known.log_alpha.device).unsqueeze(1)
    visible = known.visible
    ranking = Ranking.of(known.log_alpha, visible)
    selected = ranking.top(known.curve.n_open.gather(1, index))[0]
    log_alpha = ranking.at(selected, known.gates.half)
    log_alpha = torch.where(visible.any(1, keepdim=True), log_alpha, known.log_alpha)
    probabilities = known.gates.active_probability(log_alpha)
    scores = replace(
        known.scores,
        kept=known.curve.kept.gather(1, index).squeeze(1),
        removed=known.curve.removed.gather(1, index).squeeze(1),
    )
    found: E = replace(
        known,
        attributions=known.laid_out(probabilities),
        log_alpha=log_alpha,
        active_probabilities=probabilities,
        selected=selected,
        scores=scores,
        certificate=None,
        restarts=None,
    )
    return found
