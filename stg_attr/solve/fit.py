"""The one loop: gates of a batch of examples, learned together and independently of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.objective import Sparsity

from .estimators import Estimator
from .family import shift_to_budget
from .noise import Noise
from .optimizer import DualAveraging

__all__ = ["Solution", "Solver"]

_GRID = 0.5  # gates are sampled at multiples of this, while their parameters move freely

#: Gate values [samples, batch, gates] and a reference for each sample [samples] -> loss [samples, batch].
DrawnLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """What a solve learned.

    Attributes:
        parameter: gate parameters, [batch, gates]; -inf where no gate exists.
        earlier: the same when two thirds of the steps were done, to judge convergence.
        influence: root mean square slope of the loss in each gate, [batch, gates].
        loss_trace: mean fidelity loss of each step, [steps, batch].
        interrupted: the solve was stopped by the user before its last step.
    """

    parameter: Tensor
    earlier: Tensor
    influence: Tensor
    loss_trace: Tensor
    interrupted: bool


@dataclass(frozen=True)
class Solver:
    """How gates are learned: the distribution, the estimator, the sparsity, and the effort.

    Args:
        gates: distribution of the gates.
        sparsity: budgets of the samples and price of open gates.
        estimator: of the gradient.
        n_steps: updates of the parameters.
        n_samples: gate samples per update.
        samples_per_call: gate samples in one call of the model.
        seed: of all noise.
    """

    gates: GateDistribution
    sparsity: Sparsity
    estimator: Estimator
    n_steps: int
    n_samples: int
    samples_per_call: int
    seed: int

    def fit(
        self,
        loss_of: DrawnLoss,
        groups: FeatureGroups,
        batch: int,
        reference_order: Tensor,
        dtype: torch.dtype,
        on_step: Callable[[], object] = lambda: None,
    ) -> Solution:
        """Learn the gates of a batch.

        Args:
            loss_of: the loss of gate values and references; rows must not depend on each other.
            groups: the gates of each example.
            batch: number of examples.
            reference_order: the order in which references are shown, long [references].
            dtype: of the gate parameters.
            on_step: called after each step.

        Returns:
            The solution; after Ctrl-C, of the steps that were done, if any.
        """
        exists = groups.exists
        state = DualAveraging.begin(batch, exists, dtype, self.gates.start)
        slopes, earlier, trace = torch.zeros_like(state.total), state.parameter, []
        interrupted = False
        try:
            for step in range(self.n_steps):
                gradient, slope, loss = self._step(step, state.parameter, groups, loss_of, reference_order)
                state.update(gradient)
                slopes = slopes + slope
                trace.append(loss)
                if 3 * (step + 1) <= 2 * self.n_steps:
                    earlier = state.parameter
                on_step()
        except KeyboardInterrupt:
            if not trace:
                raise
            interrupted = True
        return Solution(
            state.parameter.masked_fill(~exists, -torch.inf),
            earlier.masked_fill(~exists, -torch.inf),
            (slopes / (len(trace) * self.n_samples)).sqrt(),
            torch.stack(trace),
            interrupted,
        )

    def _step(
        self, step: int, parameter: Tensor, groups: FeatureGroups, loss_of: DrawnLoss, reference_order: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient [batch, gates], summed squared slopes [batch, gates] and mean loss [batch] of one step."""
        noise, device = Noise(self.seed), parameter.device
        budgets = self.sparsity.budgets(step * self.n_samples, self.n_samples, noise.start())
        swept = budgets.isfinite()  # stays on the CPU, so that asking it never waits for the device
        uniform = noise.uniform(step, self.n_samples, groups.n_gates).to(parameter.dtype).to(device)
        draws = noise.references(step, self.n_samples, reference_order).to(device)
        estimate = self.estimator.estimate(
            self.gates,
            self._levels(parameter, groups.exists, budgets, swept),
            groups.noise(uniform),
            lambda z, first: loss_of(z, draws[first : first + len(z)]),
            self.samples_per_call,
        )
        gradient = estimate.gradient * groups.exists
        if bool(swept.any()):
            mean = gradient.sum(2, keepdim=True) / groups.exists.sum(1, keepdim=True)
            gradient = gradient - swept.to(device)[:, None, None] * mean
        gradient = gradient.mean(0)
        if self.sparsity.reg_weight > 0 and not bool(swept.all()):
            share = (~swept).double().mean().item()
            gradient = gradient + self.sparsity.reg_weight * share * self._openness(parameter)
        return gradient * groups.exists, estimate.slope.square().sum(0), estimate.loss.mean(0)

    def _levels(self, parameter: Tensor, exists: Tensor, budgets: Tensor, swept: Tensor) -> Tensor:
        """Parameters of each sample, at their own level or at its budget, [samples, batch, gates].

        They are rounded first: where a loss has kinks, a rounding error of the model would otherwise grow
        from step to step, and an example would not get the same answer alone and in a batch.
        """
        parameter = (parameter / _GRID).round() * _GRID
        shifts = parameter.new_zeros(len(budgets), len(parameter), 1)
        if bool(swept.any()):
            wanted = budgets[swept].to(parameter.dtype).to(parameter.device)
            shifts[swept.to(parameter.device)] = shift_to_budget(self.gates, parameter, exists, wanted)
        return parameter + shifts

    def _openness(self, parameter: Tensor) -> Tensor:
        """Derivative of the active probability, [batch, gates]."""
        with torch.enable_grad():
            leaf = parameter.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.gates.active_probability(leaf).sum(), leaf)
        return slope
