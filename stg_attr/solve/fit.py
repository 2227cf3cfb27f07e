"""The one loop: gates of a batch of examples, learned together and independently of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.objective import Sparsity

from .draws import Draws, draw
from .estimators import Estimator
from .optimizer import DualAveraging
from .record import Learned, Record, Solution
from .shift import BudgetShift
from .smoothing import Smoothing

__all__ = ["Solver"]

_GRID = 0.5  # gates are sampled at multiples of this, while their parameters move freely
_MOST_NUMBERS = 2**20  # of samples, examples and gates together, on which the gates are worked out at once

_NOBODY = torch.empty(1, 1, 0, dtype=torch.long, device="cpu")  # no gate has a neighbour

#: Gate values [samples, examples, gates], a reference for each sample [samples], the examples, long
#: [examples] on the CPU, and whether slopes are asked for -> as `LossFunction.with_slope`.
DrawnLoss = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]


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
        past: tuple[Learned, Tensor] | None = None,
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
            past: what was learned in earlier steps, and the loss trace of these, [steps, batch].

        Returns:
            The solution; after Ctrl-C, or where the model raises, of the steps that were done, if any.
        """
        record = self._begin(groups, batch, dtype, past)
        failure: BaseException | None = None
        first = record.state.n_updates
        steps, seeds = range(first, first + self.n_steps), range(self.seed, self.seed + self.n_restarts)
        draws = draw(
            seeds, self.sparsity, steps, self.n_samples, groups.n_gates, reference_order, record.parameter
        )
        try:
            for step in steps:
                if len(record.active):
                    early = 3 * (step + 1) <= 2 * steps.stop
                    self._advance(next(draws).of(record.restart), record, loss_of, early)
                on_step(step + 1 - first, lambda: record.solution(groups.exists, None))
        except (Exception, KeyboardInterrupt) as stopped:
            if not record.trace:
                raise
            failure = stopped
        return record.solution(groups.exists, failure)

    def shares(self, groups: FeatureGroups) -> bool:
        """Whether gates share what they learn with their neighbours."""
        return self.smoothness > 0 and groups.neighbours.shape[2] > 0

    def _begin(
        self, groups: FeatureGroups, batch: int, dtype: torch.dtype, past: tuple[Learned, Tensor] | None
    ) -> Record:
        exists = groups.exists
        if past is None:
            learned = Learned.nothing(batch, groups.n_gates, dtype, exists.device)
            past = learned, learned.scale.new_zeros(0, batch)
        smooth = Smoothing(groups.neighbours if self.smoothness else _NOBODY, self.smoothness)
        done = int(past[0].n_steps.masked_fill(past[0].settled, 0).max())
        state = DualAveraging.begin(past[0].total, past[0].scale, exists, self.gates.start, smooth, done)
        return Record.begin(
            state,
            self.estimator.begin(exists),
            groups,
            BudgetShift.of(self.gates, exists, dtype),
            self.n_restarts,
            self.n_samples,
            *past,
        )

    def _advance(self, drawn: Draws, record: Record, loss_of: DrawnLoss, early: bool) -> None:
        """One update of the examples that have not settled."""
        size = self.n_samples
        if self.estimator.samples_alone:  # as many as fit into memory beside a model
            size = min(size, max(1, _MOST_NUMBERS // record.state.parameter.numel()))
        sums = self._sums(record, drawn.samples(slice(0, size)), loss_of)
        for i in range(size, self.n_samples, size):
            more = self._sums(record, drawn.samples(slice(i, i + size)), loss_of)
            for total, part in zip(sums, more, strict=True):
                total += part
        gradient, slopes, squares, loss = sums
        state, n, price = record.state, self.n_samples, self.sparsity.reg_weight * (1 - drawn.share)
        gradient = gradient / n
        if price > 0:
            gradient = torch.add(gradient, self.gates.openness(state.parameter), alpha=price)
        missing = record.shift.missing
        state.update(gradient if missing is None else gradient.masked_fill(missing, 0.0))
        record.take(slopes, squares, loss / n, early)
        record.release_settled()

    def _sums(
        self, record: Record, drawn: Draws, loss_of: DrawnLoss
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over samples: gradients, slopes and their squares, [batch, gates], and losses, [batch].

        A sample at a budget says nothing of the level of all gates together, so its gradient is centred.
        """
        estimate = record.estimator.estimate(
            self.gates,
            self._levels(record, drawn),
            record.groups.noise(drawn.uniform),
            _LossOfStep(loss_of, drawn.references, record.active),
        )
        gradient = estimate.gradient.sum(0)
        if drawn.share > 0:
            level = (drawn.swept @ estimate.gradient.sum(2)).unsqueeze(1)
            gradient = gradient - level / record.state.n_gates
        return gradient, estimate.slope.sum(0), estimate.slope.square().sum(0), estimate.loss.sum(0)

    def _levels(self, record: Record, drawn: Draws) -> Tensor:
        """Parameters of each sample, at their own level or at its budget, [samples, batch, gates].

        They are rounded first: where a loss has kinks, a rounding error of the model would otherwise grow
        from step to step, and an example would not get the same answer alone and in a batch.
        """
        parameter = (record.state.parameter / _GRID).round() * _GRID
        if drawn.share == 0:
            return parameter.expand(len(drawn.swept), -1, -1)
        return torch.addcmul(parameter, record.shift(parameter, drawn.budgets), drawn.swept.reshape(-1, 1, 1))


@dataclass(frozen=True)
class _LossOfStep:
    """The loss as an estimator asks for it."""

    loss_of: DrawnLoss
    references: Tensor
    examples: Tensor

    def __call__(self, gates: Tensor) -> Tensor:
        return self.loss_of(gates, self.references, self.examples, False)[0]

    def with_slope(self, gates: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.loss_of(gates, self.references, self.examples, True)
