"""The one loop: gates of a batch of examples, learned together and independently of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.objective import Sparsity

from .draws import Draws, draw
from .estimators import Estimate, Estimator
from .optimizer import DualAveraging
from .shift import BudgetShift
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
        steps, seeds = range(self.n_steps), range(self.seed, self.seed + self.n_restarts)
        draws = draw(
            seeds, self.sparsity, steps, self.n_samples, groups.n_gates, reference_order, record.parameter
        )
        try:
            for step in steps:
                if len(record.active):
                    early = 3 * (step + 1) <= 2 * self.n_steps
                    self._advance(next(draws).of(record.restart), record, loss_of, early)
                on_step(step + 1, lambda: record.solution(groups.exists, self.n_samples, None))
        except (Exception, KeyboardInterrupt) as stopped:
            if not record.trace:
                raise
            failure = stopped
        return record.solution(groups.exists, self.n_samples, failure)

    def _advance(self, drawn: Draws, record: _Record, loss_of: DrawnLoss, early: bool) -> None:
        """One update of the examples that have not settled."""
        state, active = record.state, record.active
        estimate = record.estimator.estimate(
            self.gates,
            self._levels(record, drawn),
            record.groups.noise(drawn.uniform),
            lambda z, first: loss_of(z, drawn.references[first : first + len(z)], active),
            self.samples_per_call,
        )
        state.update(self._descent(estimate.gradient, record, drawn))
        record.take(estimate, early)
        if state.n_updates >= _FIRST_STOP:
            record.release_settled()

    def _levels(self, record: _Record, drawn: Draws) -> Tensor:
        """Parameters of each sample, at their own level or at its budget, [samples, batch, gates].

        They are rounded first: where a loss has kinks, a rounding error of the model would otherwise grow
        from step to step, and an example would not get the same answer alone and in a batch.
        """
        parameter = (record.state.parameter / _GRID).round() * _GRID
        if drawn.share == 0:
            return parameter.expand(self.n_samples, -1, -1)
        return parameter + record.shift(parameter, drawn.budgets) * drawn.swept.reshape(-1, 1, 1)

    def _descent(self, gradient: Tensor, record: _Record, drawn: Draws) -> Tensor:
        """The gradient of the whole objective, [batch, gates], from that of the samples' losses.

        A sample at a budget says nothing of the level of all gates together, so its gradient is centred; the
        others pay for open gates.
        """
        state, mean = record.state, gradient.mean(0)
        if drawn.share > 0:
            swept = gradient.sum(2, keepdim=True) * drawn.swept.reshape(-1, 1, 1)
            mean = mean - swept.mean(0) / state.n_gates
        if self.sparsity.reg_weight > 0 and drawn.share < 1:
            price = self.sparsity.reg_weight * (1 - drawn.share)
            mean = torch.add(mean, self.gates.openness(state.parameter), alpha=price)
        missing = record.shift.missing
        return mean if missing is None else mean.masked_fill(missing, 0.0)


@dataclass
class _Record:
    """What is known of every example while those that have not settled are still learned.

    Attributes:
        state, estimator, groups, shift: of the active examples.
        active: the examples that have not settled, long [examples] on the CPU.
        where: the same on the device.
        restart: the restart that each belongs to, long [examples]; None where there is one.
        latest: parameters of the active examples when two thirds of the steps were done, [examples, gates].
        total, squares: sums of their slopes and of the squares of these, [examples, gates].
        direction: unit vectors of their centred parameters one step ago; None before there was one.
        error: standard error of that direction, [examples]; None before there was one.
        parameter, earlier, slopes, n_steps: of the examples that have left, as in `solution`.
        trace: the examples and the loss of each step.
    """

    state: DualAveraging
    estimator: Estimator
    groups: FeatureGroups
    shift: BudgetShift
    active: Tensor
    where: Tensor
    restart: Tensor | None
    latest: Tensor
    total: Tensor
    squares: Tensor
    direction: Tensor | None
    error: Tensor | None
    parameter: Tensor
    earlier: Tensor
    slopes: Tensor
    n_steps: Tensor
    trace: list[tuple[Tensor, Tensor]]

    @classmethod
    def begin(cls, solver: Solver, groups: FeatureGroups, batch: int, dtype: torch.dtype) -> _Record:
        smooth = Smoothing(groups.neighbours() if solver.smoothness else _NOBODY, solver.smoothness)
        state = DualAveraging.begin(batch, groups.exists, dtype, solver.gates.start, smooth)
        nothing, everyone = torch.zeros_like(state.parameter), torch.arange(batch)
        blocks = everyone // (batch // solver.n_restarts)
        return cls(
            state=state,
            estimator=solver.estimator.begin(groups.exists),
            groups=groups,
            shift=BudgetShift.of(solver.gates, groups.exists, dtype),
            active=everyone,
            where=everyone.to(nothing.device),
            restart=None if solver.n_restarts == 1 else blocks.to(nothing.device),
            latest=state.parameter,
            total=nothing.clone(),
            squares=nothing.clone(),
            direction=None,
            error=None,
            parameter=nothing.clone(),
            earlier=nothing.clone(),
            slopes=nothing.new_zeros(2, *nothing.shape),
            n_steps=torch.zeros(batch, dtype=torch.long, device=nothing.device),
            trace=[],
        )

    def take(self, estimate: Estimate, early: bool) -> None:
        """Enter the results of one step of the active examples."""
        self.total.add_(estimate.slope.sum(0))
        self.squares.add_(estimate.slope.square().sum(0))
        self.trace.append((self.where, estimate.loss.mean(0)))
        if early:
            self.latest = self.state.parameter

    def release_settled(self) -> None:
        """Let examples go whose direction has moved less than its standard error allows, twice running."""
        before, error, missing = self.direction, self.error, self.shift.missing
        centred = self.state.parameter - self.state.parameter.mean(1, keepdim=True)
        if missing is not None:
            parameter = self.state.parameter.masked_fill(missing, 0.0)
            centred = parameter - parameter.sum(1, keepdim=True) / self.state.n_gates
            centred = centred.masked_fill(missing, 0.0)
        self.direction = torch.nn.functional.normalize(centred, dim=1)
        if before is None:
            return
        self.error = (self.direction - before).norm(dim=1) * self.state.n_updates**0.5
        if error is None:
            return
        unsettled = (torch.maximum(self.error, error) >= _SETTLED).cpu()
        if not bool(unsettled.all()):
            self._leave(self.state.parameter)
            self._keep(unsettled.nonzero().squeeze(1))

    def _keep(self, rows: Tensor) -> None:
        """Go on with some of the active examples, long [rows] on the CPU."""
        here = rows.to(self.where.device)
        self.state, self.groups = self.state.rows(here), self.groups.rows(here)
        self.estimator = self.estimator.rows(here)
        self.active, self.where, self.shift = self.active[rows], self.where[here], self.shift.rows(here)
        self.latest, self.total, self.squares = self.latest[here], self.total[here], self.squares[here]
        self.restart, self.direction, self.error = (
            None if known is None else known[here] for known in (self.restart, self.direction, self.error)
        )

    def _leave(self, earlier: Tensor) -> None:
        """Write down what the active examples have learned, as if all of them left."""
        self.parameter[self.where], self.earlier[self.where] = self.state.parameter, earlier
        self.slopes[:, self.where] = torch.stack([self.total, self.squares])
        self.n_steps[self.where] = self.state.n_updates

    def solution(self, exists: Tensor, n_samples: int, failure: BaseException | None) -> Solution:
        """What was learned of all examples."""
        self._leave(self.latest)
        n = (self.n_steps * n_samples).unsqueeze(1)
        unknown = self.parameter.new_full(self.n_steps.shape, torch.nan)
        return Solution(
            self.parameter.masked_fill(~exists, -torch.inf),
            self.earlier.masked_fill(~exists, -torch.inf),
            (self.slopes[1] / n).sqrt(),
            -self.slopes[0] / n,
            torch.stack([unknown.index_copy(0, where, loss) for where, loss in self.trace]),
            self.n_steps.clone(),
            failure,
        )
