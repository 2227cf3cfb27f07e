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
from .smoothing import Smoothing

__all__ = ["Solution", "Solver"]

_GRID = 0.5  # gates are sampled at multiples of this, while their parameters move freely
_FIRST_STOP = 5  # updates after which an example may be settled
_SETTLED = 0.3  # standard error of the direction of its parameters below which an example is settled

_NOBODY = torch.empty(1, 1, 0, dtype=torch.long)  # no gate has a neighbour

#: Gate values [samples, examples, gates], a reference for each sample [samples], and the examples, long
#: [examples] on the CPU -> loss [samples, examples].
DrawnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """What a solve learned.

    Attributes:
        parameter: gate parameters, [batch, gates]; -inf where no gate exists.
        earlier: the same when two thirds of the steps were done, to judge convergence.
        influence: root mean square slope of the loss in each gate, [batch, gates].
        effect: mean of how much the loss falls per unit that a gate opens, [batch, gates].
        loss_trace: mean fidelity loss of each step, [steps, batch]; NaN after an example's last step.
        n_steps: updates that each example took, long [batch].
        failure: what stopped the solve before its last step: Ctrl-C, or what the model raised; else None.
    """

    parameter: Tensor
    earlier: Tensor
    influence: Tensor
    effect: Tensor
    loss_trace: Tensor
    n_steps: Tensor
    failure: BaseException | None


@dataclass(frozen=True)
class Solver:
    """How gates are learned: the distribution, the estimator, the sparsity, and the effort.

    Args:
        gates: distribution of the gates.
        sparsity: budgets of the samples and price of open gates.
        estimator: of the gradient.
        smoothness: how strongly neighbouring gates of an image are drawn together.
        n_steps: updates of the parameters, at most.
        n_samples: gate samples per update.
        samples_per_call: gate samples in one call of the model.
        seed: of all noise.
        n_restarts: equal blocks of rows, one after the other, that are solved with noise of their own: that
            of the seed, of the next seed, and so on.
    """

    gates: GateDistribution
    sparsity: Sparsity
    estimator: Estimator
    smoothness: float
    n_steps: int
    n_samples: int
    samples_per_call: int
    seed: int
    n_restarts: int = 1

    def fit(
        self,
        loss_of: DrawnLoss,
        groups: FeatureGroups,
        batch: int,
        reference_order: Tensor,
        dtype: torch.dtype,
        on_step: Callable[[int, Callable[[], Solution]], object] = lambda done, so_far: None,
    ) -> Solution:
        """Learn the gates of a batch.

        An example whose parameters have settled leaves the batch, so that it costs nothing more. Stopping is
        decided for each example alone, from nothing but its own updates.

        Args:
            loss_of: the loss of gate values and references; rows must not depend on each other.
            groups: the gates of each example.
            batch: number of examples.
            reference_order: the order in which references are shown, long [references].
            dtype: of the gate parameters.
            on_step: called after each step with the number of steps done and a function that returns the
                solution so far.

        Returns:
            The solution; after Ctrl-C, or where the model raises, of the steps that were done, if any.
        """
        record = _Record.begin(self, groups, batch, dtype)
        failure: BaseException | None = None
        try:
            for step in range(self.n_steps):
                if len(record.active):
                    self._advance(step, record, loss_of, reference_order)
                on_step(step + 1, lambda: record.solution(self.n_samples, None))
        except (Exception, KeyboardInterrupt) as stopped:
            if not record.trace:
                raise
            failure = stopped
        return record.solution(self.n_samples, failure)

    def _advance(self, step: int, record: _Record, loss_of: DrawnLoss, reference_order: Tensor) -> None:
        """One update of the examples that have not settled."""
        state, active = record.state, record.active
        restart = active // (len(record.n_steps) // self.n_restarts)
        gradient, slopes, loss = self._step(
            step,
            record.estimator,
            state.parameter,
            record.groups,
            restart,
            lambda z, draws: loss_of(z, draws, active),
            reference_order,
        )
        state.update(gradient)
        record.take(slopes, loss, early=3 * (step + 1) <= 2 * self.n_steps)
        if _FIRST_STOP <= step + 1 < self.n_steps:
            record.release_settled()

    def _draw(self, step: int, n_gates: int, restart: Tensor) -> tuple[Tensor, Tensor]:
        """Noise [samples, 1 or batch, gates] and budgets [samples, 1 or batch] of one step.

        Args:
            step: number of the step.
            n_gates: number of gates.
            restart: which restart each row belongs to, long [batch].
        """
        noises = [Noise(self.seed + i) for i in range(self.n_restarts)]
        uniform = torch.cat([noise.uniform(step, self.n_samples, n_gates) for noise in noises], 1)
        first = step * self.n_samples
        budgets = [self.sparsity.budgets(first, self.n_samples, noise.start()) for noise in noises]
        if self.n_restarts == 1:
            return uniform, budgets[0].unsqueeze(1)
        return uniform[:, restart], torch.stack(budgets, 1)[:, restart]

    def _step(
        self,
        step: int,
        estimator: Estimator,
        parameter: Tensor,
        groups: FeatureGroups,
        restart: Tensor,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        reference_order: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient [batch, gates], slopes and their squares, summed, [2, batch, gates], and loss [batch]."""
        noise, device = Noise(self.seed), parameter.device
        uniform, budgets = self._draw(step, groups.n_gates, restart)
        swept = budgets[:, 0].isfinite()  # stays on the CPU, so that asking it never waits for the device
        uniform = uniform.to(parameter.dtype).to(device)
        draws = noise.references(step, self.n_samples, reference_order).to(device)
        estimate = estimator.estimate(
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
            gradient = gradient + self.sparsity.reg_weight * share * self.gates.openness(parameter)
        slopes = torch.stack([estimate.slope.sum(0), estimate.slope.square().sum(0)])
        return gradient * groups.exists, slopes, estimate.loss.mean(0)

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


@dataclass
class _Record:
    """What is known of every example while those that have not settled are still learned.

    Attributes:
        state: of the active examples.
        estimator: of the active examples.
        groups: of the active examples.
        active: the examples that have not settled, long [examples] on the CPU.
        direction: unit vectors of the centred parameters of the active examples one step ago.
        error: standard error of that direction, [examples].
        parameter, earlier, n_steps: of all examples, as in `Solution`.
        slopes: sums of slopes and of their squares of all examples, [2, batch, gates].
        exists: which gates there are, bool [1 or batch, gates].
        trace: the loss of each step, [batch] with NaN for the settled.
    """

    state: DualAveraging
    estimator: Estimator
    groups: FeatureGroups
    active: Tensor
    direction: Tensor
    error: Tensor
    parameter: Tensor
    earlier: Tensor
    slopes: Tensor
    n_steps: Tensor
    exists: Tensor
    trace: list[Tensor]

    @classmethod
    def begin(cls, solver: Solver, groups: FeatureGroups, batch: int, dtype: torch.dtype) -> _Record:
        smooth = Smoothing(groups.neighbours() if solver.smoothness else _NOBODY, solver.smoothness)
        state = DualAveraging.begin(batch, groups.exists, dtype, solver.gates.start, smooth)
        return cls(
            state,
            solver.estimator.begin(groups.exists),
            groups,
            torch.arange(batch),
            torch.zeros_like(state.total),
            state.total.new_full((batch,), torch.inf),
            state.parameter,
            state.parameter,
            state.total.new_zeros(2, *state.total.shape),
            torch.zeros(batch, dtype=torch.long, device=groups.exists.device),
            groups.exists,
            [],
        )

    def take(self, slopes: Tensor, loss: Tensor, early: bool) -> None:
        """Enter the results of one step of the active examples."""
        where = self.active.to(loss.device)
        parameter = self.state.parameter
        self.parameter = self.parameter.index_copy(0, where, parameter)
        if early:
            self.earlier = self.earlier.index_copy(0, where, parameter)
        self.slopes = self.slopes.index_add(1, where, slopes)
        self.n_steps[where] += 1
        self.trace.append(loss.new_full((len(self.n_steps),), torch.nan).index_copy(0, where, loss))

    def release_settled(self) -> None:
        """Let examples go whose direction has moved less than its standard error allows, twice running."""
        parameter, exists = self.state.parameter, self.state.exists
        centred = (
            parameter - (parameter * exists).sum(1, keepdim=True) / exists.sum(1, keepdim=True)
        ) * exists
        direction = torch.nn.functional.normalize(centred, dim=1)
        error = (direction - self.direction).norm(dim=1) * self.state.n_updates**0.5
        unsettled = (torch.maximum(error, self.error) >= _SETTLED).cpu()
        self.direction, self.error = direction, error
        if bool(unsettled.all()):
            return
        keep = unsettled.nonzero().squeeze(1)
        self.active, rows = self.active[keep], keep.to(parameter.device)
        self.state, self.groups = self.state.rows(rows), self.groups.rows(rows)
        self.estimator = self.estimator.rows(rows)
        self.direction, self.error = self.direction[rows], self.error[rows]

    def solution(self, n_samples: int, failure: BaseException | None) -> Solution:
        """What was learned of all examples."""
        settled = self.n_steps < len(self.trace)
        earlier = torch.where(settled.unsqueeze(1), self.parameter, self.earlier)
        n = (self.n_steps * n_samples).unsqueeze(1)
        return Solution(
            self.parameter.masked_fill(~self.exists, -torch.inf),
            earlier.masked_fill(~self.exists, -torch.inf),
            (self.slopes[1] / n).sqrt(),
            -self.slopes[0] / n,
            torch.stack(self.trace),
            self.n_steps,
            failure,
        )
