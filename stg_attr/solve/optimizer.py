"""Dual averaging: the update rule of the gate parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .smoothing import Smoothing

__all__ = ["DualAveraging"]


@dataclass
class DualAveraging:
    """Weighted sum of all gradients, divided by one scale per example.

        w = sqrt(t),  G += -w g,  V += w^2 mean_gates(g^2),  a = start + smooth(G) / sqrt(V)

    Primal-dual subgradient methods (Nesterov, 2009), https://doi.org/10.1007/s10107-007-0149-x, with the
    step of AdaGrad-Norm (Ward, Wu, Bottou, 2018), https://arxiv.org/abs/1806.01811. One scale for all gates
    of an example keeps the sizes of their gradients, and with them the ranking; multiplying
    the loss changes nothing; rows are independent of each other. Later gradients, taken nearer to the answer,
    weigh more.

    Attributes:
        total: G, [batch, gates].
        scale: V, [batch, 1].
        n_gates: how many gates there are, [batch or 1, 1].
        start: where parameters start.
        smooth: lets neighbouring gates share what they learn.
        n_updates: t.
        parameter: a, [batch, gates].
    """

    total: Tensor
    scale: Tensor
    n_gates: Tensor
    start: float
    smooth: Smoothing
    n_updates: int
    parameter: Tensor

    @classmethod
    def begin(
        cls, total: Tensor, scale: Tensor, exists: Tensor, start: float, smooth: Smoothing, n_updates: int = 0
    ) -> DualAveraging:
        """State after so many updates.

        Args:
            total: G, [batch, gates]; 0 before the first.
            scale: V, [batch]; 0 before the first.
            exists: which gates there are, bool [batch or 1, gates].
            start: where parameters start.
            smooth: lets neighbouring gates share what they learn.
            n_updates: t.
        """
        n_gates = exists.sum(1, keepdim=True).to(total.dtype)
        state = cls(total, scale.unsqueeze(1), n_gates, start, smooth, n_updates, total)
        state._move()
        return state

    def rows(self, examples: Tensor) -> DualAveraging:
        """The state of some examples, long [examples]."""
        return replace(
            self,
            total=self.total[examples],
            scale=self.scale[examples],
            n_gates=self.n_gates if len(self.n_gates) == 1 else self.n_gates[examples],
            smooth=self.smooth.rows(examples),
            parameter=self.parameter[examples],
        )

    def update(self, gradient: Tensor) -> None:
        """Take in the gradient of one step, [batch, gates]; 0 where no gate exists."""
        self.n_updates += 1
        mean_square = gradient.square().sum(1, keepdim=True) / self.n_gates
        self.total = torch.sub(self.total, gradient, alpha=self.n_updates**0.5)
        self.scale = torch.add(self.scale, mean_square, alpha=self.n_updates)
        self._move()

    def _move(self) -> None:
        tiny = torch.finfo(self.scale.dtype).tiny
        self.parameter = self.start + self.smooth(self.total) / self.scale.sqrt().clamp_min(tiny)
