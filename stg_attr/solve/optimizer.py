"""Dual averaging: the update rule of the gate parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

from .smoothing import Smoothing

__all__ = ["DualAveraging"]


@dataclass(frozen=True)
class DualAveraging(Batch):
    """Parameters are the weighted sum of all gradients, divided by one scale per example.

        w = sqrt(t),  G += -w g,  V += w^2 mean_gates(g^2),  a = start + smooth(G) / sqrt(V)

    Primal-dual subgradient methods (Nesterov, 2009), https://doi.org/10.1007/s10107-007-0149-x, with the step
    size of AdaGrad-Norm (Ward, Wu, Bottou, 2018), https://arxiv.org/abs/1806.01811. One scale for all gates
    of an example keeps the ratios of their gradients, and so their ranking; Adam, with a scale for each gate,
    would not. If the loss is multiplied by a number, parameters stay the same. Examples do not influence each
    other. Later gradients have larger weights, since they are computed nearer to the optimum.

    Args:
        start: where parameters start, [1 or batch, 1 or gates].
    """

    start: Tensor = field(metadata=per_example(shared=True))

    def added(
        self, total: Tensor, scale: Tensor, gradient: Tensor, t: int, n_gates: Tensor
    ) -> tuple[Tensor, Tensor]:
        """G and V after one more gradient.

        Args:
            total: G, [batch, gates].
            scale: V, [batch].
            gradient: g of this step, [batch, gates]; 0 where no gate exists.
            t: number of this step, counted from 1.
            n_gates: how many gates there are, [batch or 1, 1].
        """
        mean_square = gradient.square().sum(1, keepdim=True) / n_gates
        # alpha is the weight w = sqrt(t) of the gradient, and w^2 = t of its square
        return torch.sub(total, gradient, alpha=t**0.5), torch.add(scale, mean_square.squeeze(1), alpha=t)

    def parameter(self, total: Tensor, scale: Tensor, smooth: Smoothing) -> Tensor:
        """a, [batch, gates], from G, [batch, gates], and V, [batch]."""
        # V is 0 where all gradients were 0; then G is 0 as well, and parameters stay at `start`
        tiny = torch.finfo(scale.dtype).tiny
        return self.start + smooth(total) / scale.sqrt().clamp_min(tiny).unsqueeze(1)
