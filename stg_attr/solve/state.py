"""State of a solve: what is known of the examples that are still learned, and of all examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import Batch, Holds, per_example
from stg_attr.gates import FeatureGroups

from .estimators import EstimatorState
from .optimizer import DualAveraging
from .settings import SolverSettings
from .shift import BudgetShift
from .smoothing import Smoothing

__all__ = ["Learned", "Solution", "SolverState"]

_GATES = Holds(("batch", "gates"))
_EACH = Holds(("batch",))
_COUNT = Holds(("batch",), int, low=0)

_NO_DIRECTION = 1e-24  # a smaller variance is rounding: the parameters are equal and have no direction


@dataclass(frozen=True)
class Learned(Batch):
    """What a solve needs to know of each example to continue as if it had never stopped.

    Attributes:
        total: weighted sum of its gradients, [batch, gates].
        slopes: sum of its slopes, [batch, gates].
        squares: sum of their squares, [batch, gates].
        scale: weighted sum of mean squares of its gradients, [batch].
        error: standard error of the direction of its parameters, [batch].
        n_steps: updates it took, long [batch].
        n_samples: gate samples it took, long [batch].
        settled: whether it needs no more, bool [batch].
        blind: gates in which the model has no slopes although they change its score, bool [batch, gates].
    """

    total: Tensor = field(metadata=per_example(holds=_GATES))
    slopes: Tensor = field(metadata=per_example(holds=_GATES))
    squares: Tensor = field(metadata=per_example(holds=_GATES))
    scale: Tensor = field(metadata=per_example(holds=_EACH))
    error: Tensor = field(metadata=per_example(blank=torch.inf, holds=_EACH))
    n_steps: Tensor = field(metadata=per_example(holds=_COUNT))
    n_samples: Tensor = field(metadata=per_example(holds=_COUNT))
    settled: Tensor = field(metadata=per_example(holds=Holds(("batch",), bool)))
    blind: Tensor = field(metadata=per_example(holds=Holds(("batch", "gates"), bool)))

    @classmethod
    def nothing(cls, batch: int, gates: int, dtype: torch.dtype, device: torch.device) -> Learned:
        """Before the first step."""
        zeros = torch.zeros(batch, gates, dtype=dtype, device=device)
        count = torch.zeros(batch, dtype=torch.long, device=device)
        return cls(
            total=zeros,
            slopes=zeros.clone(),
            squares=zeros.clone(),
            scale=zeros[:, 0].clone(),
            error=torch.full_like(zeros[:, 0], torch.inf),
            n_steps=count,
            n_samples=count.clone(),
            settled=count.bool(),
            blind=torch.zeros_like(zeros, dtype=torch.bool),
        )

    def copied(self) -> Learned:
        """The same in tensors of its own, which may be written into."""
        return Learned(**{name: value.clone() for name, value in vars(self).items()})


@dataclass(frozen=True)
class Solution:
    """What a solve learned of all examples.

    Attributes:
        parameter: gate parameters, [batch, gates]; -inf where no gate exists.
        earlier: the same when two thirds of the steps were done, to judge convergence.
        loss_trace: mean loss of each step, [steps, batch]; NaN after an example's last step.
        learned: what is needed to continue the solve.
        failure: what stopped the solve before its last step: Ctrl-C, or what the model raised; else None.
    """

    parameter: Tensor
    earlier: Tensor
    loss_trace: Tensor
    learned: Learned
    failure: BaseException | None

    @property
    def n_steps(self) -> Tensor:
        """Updates that each example took, long [batch]."""
        return self.learned.n_steps

    @cached_property
    def influence(self) -> Tensor:
        """Root mean square slope of the loss in each gate, [batch, gates]."""
        return (self.learned.squares / self.learned.n_samples.unsqueeze(1)).sqrt()

    @cached_property
    def effect(self) -> Tensor:
        """Mean fall of the loss per unit that a gate opens, [batch, gates]."""
        return -self.learned.slopes / self.learned.n_samples.unsqueeze(1)


@dataclass
class SolverState(Batch):
    """What is known of the examples that are still learned; those that have settled leave it.

    Attributes:
        examples: the object that stands for them in `Problem.loss`.
        index: their numbers in the batch, long [examples].
        restart: the restart that each belongs to, long [examples]; None if there is only one.
        groups: their gates.
        shift: finds the shifts of their parameters to budgets.
        smooth: makes the parameters of neighbouring regions alike.
        estimator: the estimator, with what it has learned from earlier steps.
        total: weighted sum of gradients, [examples, gates].
        scale: weighted sum of mean squares of gradients, [examples].
        slopes: sum of slopes, [examples, gates].
        squares: sum of squares of slopes, [examples, gates].
        parameter: gate parameters, [examples, gates].
        latest: the parameters when two thirds of the steps were done, or now if that is earlier.
        direction: unit vectors of the centred parameters one step ago; None before there was one.
        error: standard error of that direction, [examples]; None before there was one.
        n_gates: number of gates of each, [examples or 1, 1].
        rule: the update rule.
        settings: the numbers that decide when an example has settled.
        n_updates: steps done, those of an earlier solve that this one continues included.
        trace: the examples and the losses of each step of this solve.
    """

    examples: Any = field(metadata=per_example())
    index: Tensor = field(metadata=per_example())
    restart: Tensor | None = field(metadata=per_example())
    groups: FeatureGroups = field(metadata=per_example())
    shift: BudgetShift = field(metadata=per_example())
    smooth: Smoothing = field(metadata=per_example())
    estimator: EstimatorState = field(metadata=per_example())
    total: Tensor = field(metadata=per_example())
    scale: Tensor = field(metadata=per_example())
    slopes: Tensor = field(metadata=per_example())
    squares: Tensor = field(metadata=per_example())
    parameter: Tensor = field(metadata=per_example())
    latest: Tensor = field(metadata=per_example())
    direction: Tensor | None = field(metadata=per_example())
    error: Tensor | None = field(metadata=per_example())
    n_gates: Tensor = field(metadata=per_example(shared=True))
    rule: DualAveraging = field(metadata=per_example())
    settings: SolverSettings
    n_updates: int
    trace: list[tuple[Tensor, Tensor]]

    def update(self, gradient: Tensor, slopes: Tensor, squares: Tensor, loss: Tensor) -> None:
        """One step of the update rule, which is taken as a whole or not at all, wherever Ctrl-C comes.

        Args:
            gradient: [examples, gates]; 0 where no gate exists.
            slopes: sum of the slopes of the step, [examples, gates].
            squares: sum of their squares, [examples, gates].
            loss: mean loss of the step, [examples].
        """
        t = self.n_updates + 1
        total, scale = self.rule.added(self.total, self.scale, gradient, t, self.n_gates)
        new = {
            "n_updates": t,
            "total": total,
            "scale": scale,
            "parameter": self.rule.parameter(total, scale, self.smooth),
            "slopes": self.slopes + slopes,
            "squares": self.squares + squares,
            "trace": [*self.trace, (self.index, loss)],
        }
        vars(self).update(new)  # one operation: between two, an interruption would leave half a step

    def forget(self, rows: Tensor) -> None:
        """Forget the gradients of some rows, bool [examples]."""
        self.total = self.total.masked_fill(rows.unsqueeze(1), 0.0)
        self.scale = self.scale.masked_fill(rows, 0.0)
        self.parameter = self.rule.parameter(self.total, self.scale, self.smooth)

    def unsettled(self) -> Tensor | None:
        """Measure how far the directions have moved, and find the rows that have not settled.

        The parameters are like a mean over t updates, so one update moves them by about their standard error
        divided by sqrt(t). The standard error is estimated from this movement. An example has settled when
        the estimate is below `SolverSettings.settled`, twice in a row.

        Returns:
            Long [rows], or None if no row has settled.
        """
        if self.n_updates < self.settings.first_stop:
            return None
        before, error, direction = self.direction, self.error, self.directions()
        moved = None if before is None else (direction - before).norm(dim=1) * self.n_updates**0.5
        vars(self).update(direction=direction, error=moved)
        if moved is None or error is None:
            return None
        # copied to the CPU once: each value that Python needs makes the CPU wait for the GPU
        unsettled = (torch.maximum(moved, error) >= self.settings.settled).cpu()
        return None if bool(unsettled.all()) else unsettled.nonzero().squeeze(1)

    def directions(self) -> Tensor:
        """Unit vectors of the centred parameters, [examples, gates]; 0 where all are equal."""
        parameter, missing, n = self.parameter, self.shift.missing, self.parameter.shape[1]
        if missing is None:
            # layer_norm subtracts the mean and divides by the standard deviation, in one operation instead of
            # six; its eps makes the result 0 where all parameters are equal
            direction: Tensor = torch.layer_norm(parameter, (n,), eps=_NO_DIRECTION) / n**0.5
            return direction
        parameter = parameter.masked_fill(missing, 0.0)
        centred = parameter - parameter.sum(1, keepdim=True) / self.n_gates
        return torch.nn.functional.normalize(centred.masked_fill(missing, 0.0), dim=1)


@dataclass
class Results:
    """What is known of all examples; the rows of an example do not change after it has settled.

    Attributes:
        learned: what is needed to continue the solve.
        parameter: gate parameters, [batch, gates].
        earlier: those when two thirds of the steps were done, [batch, gates].
        past: losses of the earlier solve that this one continues, [steps, batch].
        n_samples: gate samples of a step.
        begun: what was known before the first step.
    """

    learned: Learned
    parameter: Tensor
    earlier: Tensor
    past: Tensor
    n_samples: int
    begun: Learned

    def enter(self, state: SolverState, earlier: Tensor) -> None:
        """Copy what is known of the examples of a state."""
        where, known, done = state.index, self.learned, len(state.trace)
        self.parameter[where], self.earlier[where] = state.parameter, earlier
        for name in ("total", "scale", "slopes", "squares", "error"):
            value = getattr(state, name)
            if value is not None:
                getattr(known, name)[where] = value
        # counted from the beginning, so that an interruption, after which this runs again, adds nothing twice
        known.n_steps[where] = self.begun.n_steps[where] + done
        known.n_samples[where] = self.begun.n_samples[where] + done * self.n_samples

    def solution(self, state: SolverState, exists: Tensor, failure: BaseException | None) -> Solution:
        """What was learned of all examples so far."""
        self.enter(state, state.latest)
        # an example has no loss, NaN, in the steps after it has settled
        unknown = self.parameter.new_full(self.learned.n_steps.shape, torch.nan)
        losses = (unknown.index_copy(0, *step).unsqueeze(0) for step in state.trace)
        return Solution(
            self.parameter.masked_fill(~exists, -torch.inf),
            self.earlier.masked_fill(~exists, -torch.inf),
            torch.cat([self.past, *losses]),
            self.learned.copied(),
            failure,
        )
