"""Gates without slopes: whether the input, and what the model makes of it, is another one without them."""

from __future__ import annotations

import torch
from torch import Tensor

from stg_attr.gates import Blend
from stg_attr.objective import Anchors, Objective

__all__ = ["changed", "short"]


def changed(blend: Blend, selected: Tensor, references: Tensor) -> Tensor:
    """Whether the model is shown anything but the input, bool [batch].

    Args:
        blend: the examples.
        selected: open gates, bool [batch, gates].
        references: the references that are shown, long [references].
    """
    found = torch.zeros_like(selected[:, 0])
    gates = selected.to(blend.dtype).expand(len(references), -1, -1)
    shown = blend(gates, references.to(gates.device))
    for x, blended in zip(blend.inputs, shown, strict=True):
        different = blended.reshape(len(references), len(x), -1) != x.reshape(1, len(x), -1)
        found |= different.any(2).any(0)
    return found


def short(
    objective: Objective, share: Tensor, anchors: Anchors, baselines: Tensor, least: float, unit: float
) -> Tensor:
    """Whether a share of the output is not what all gates together keep, or take away, bool [batch].

    Args:
        objective: whether they keep or take away.
        share: that of a selection, [batch]; NaN is not what all gates keep.
        anchors: the scores of inputs and references.
        baselines: the scores of the references, [references, batch].
        least: share of the output by which it must differ,
        unit: besides rounding, of which this is the unit.
    """
    if objective.keeps:
        whole = objective.fidelity.retained(anchors.full.unsqueeze(0), anchors)[0]
    else:
        whole = 1 - objective.fidelity.remaining(baselines, anchors).mean(0)
    rounding = 8 * unit * anchors.full.abs() / anchors.scale
    return ~((share - whole).abs() <= least + rounding)
