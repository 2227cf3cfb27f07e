"""Points of a curve: an explanation read at another measured number of features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stg_attr.select import Ranking

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["read_at"]


def read_at(explanation: Explanation, point: Tensor) -> Explanation:
    """The explanation at one point of its curve for each example; the model is not run.

    Args:
        explanation: with a measured curve.
        point: places along the curve, long [batch].
    """
    index = point.to(explanation.log_alpha.device).unsqueeze(1)
    visible = explanation.visible
    ranking = Ranking.of(explanation.log_alpha, visible)
    selected = ranking.top(explanation.curve.n_open.gather(1, index))[0]
    log_alpha = ranking.at(selected, explanation.gates.half)
    log_alpha = torch.where(visible.any(1, keepdim=True), log_alpha, explanation.log_alpha)
    probabilities = explanation.gates.active_probability(log_alpha)
    scores = replace(
        explanation.scores,
        kept=explanation.curve.kept.gather(1, index).squeeze(1),
        removed=explanation.curve.removed.gather(1, index).squeeze(1),
    )
    return replace(
        explanation,
        attributions=explanation.laid_out(probabilities),
        log_alpha=log_alpha,
        active_probabilities=probabilities,
        selected=selected,
        scores=scores,
        certificate=None,
        restarts=None,
    )
