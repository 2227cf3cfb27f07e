"""Record: what is known of every example while those that have not settled are still learned."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups

from .estimators import Estimator
from .optimizer import DualAveraging
from .shift import BudgetShift

__all__ = ["Learned", "Record", "Solution"]

_FIRST_STOP = 4  # updates after which directions are compared
_ALIKE = 1e-24  # variance of parameters that have no direction
_SETTLED = 0.5  # standard error of the direction of its parameters below which an example is settled


@dataclass(frozen=True)
class Learned:
    """All that a solve has to know of each example to go on as if it had never stopped.

    Attributes:
        total: weighted sum of its gradients, [batch, gates].
        slopes: sum of its slopes, [batch, gates].
        squares: sum of their squares, [batch, gates].
        scale: weighted sum of mean squares of its gradients, [batch].
        error: standard error of the direction of its parameters, [batch].
        n_steps: updates it took, long [batch].
        n_samples: gate samples it took, long [batch].
        settled: whether it needs no more, bool [batch].
    """

    total: Tensor
    slopes: Tensor
    squares: Tensor
    scale: Tensor
    error: Tensor
    n_steps: Tensor
    n_samples: Tensor
    settled: Tensor

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
        )

    def rows(self, rows: slice | Tensor) -> Learned:
        """What was learned of some examples."""
        return Learned(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Solution:
    """What a solve learned.

    Attributes:
        parameter: gate parameters, [batch, gates]; -inf where no gate exists.
        earlier: the same when two thirds of the steps were done, to judge convergence.
        influence: root mean square slope of the loss in each gate, [batch, gates].
        effect: mean of how much the loss falls per unit that a gate opens, [batch, gates].
        loss_trace: mean fidelity loss of each step, [steps, batch]; NaN after an example's last step.
        learned: what it takes to go on.
        failure: what stopped the solve before its last step: Ctrl-C, or what the model raised; else None.
    """

    parameter: Tensor
    earlier: Tensor
    influence: Tensor
    effect: Tensor
    loss_trace: Tensor
    learned: Learned
    failure: BaseException | None

    @property
    def n_steps(self) -> Tensor:
        """Updates that each example took, long [batch]."""
        return self.learned.n_steps


@dataclass
class Record:
    """What is known of every example while those that have not settled are still learned.

    Attributes:
        state, estimator, groups, shift: of the active examples.
        active: the examples that have not settled, long [examples] on the CPU.
        where: the same on the device.
        restart: the restart that each belongs to, long [examples]; None where there is one.
        latest: parameters of the active examples when two thirds of the steps were done, [examples, gates].
        slopes, squares: sums of their slopes and of the squares of these, [examples, gates].
        direction: unit vectors of their centred parameters one step ago; None before there was one.
        error: standard error of that direction, [examples]; None before there was one.
        n_samples: gate samples of a step.
        learned, parameter, earlier: of the examples that have left, as in `solution`.
        written: steps that `learned` counts.
        past: the loss of earlier steps, [steps, batch].
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
    slopes: Tensor
    squares: Tensor
    direction: Tensor | None
    error: Tensor | None
    n_samples: int
    learned: Learned
    parameter: Tensor
    earlier: Tensor
    written: int
    past: Tensor
    trace: list[tuple[Tensor, Tensor]]

    @classmethod
    def begin(
        cls,
        state: DualAveraging,
        estimator: Estimator,
        groups: FeatureGroups,
        shift: BudgetShift,
        n_restarts: int,
        n_samples: int,
        learned: Learned,
        past: Tensor,
    ) -> Record:
        """Before the first step of a solve, or of the rest of one."""
        device, everyone = state.parameter.device, torch.arange(len(state.parameter), device="cpu")
        blocks = everyone // (len(everyone) // n_restarts)
        record = cls(
            state=state,
            estimator=estimator,
            groups=groups,
            shift=shift,
            active=everyone,
            where=everyone.to(device),
            restart=None if n_restarts == 1 else blocks.to(device),
            latest=state.parameter,
            slopes=learned.slopes.clone(),
            squares=learned.squares.clone(),
            direction=None,
            error=learned.error if state.n_updates > _FIRST_STOP else None,
            n_samples=n_samples,
            learned=Learned(*(getattr(learned, f.name).clone() for f in fields(learned))),
            parameter=state.parameter.clone(),
            earlier=state.parameter.clone(),
            written=0,
            past=past,
            trace=[],
        )
        if state.n_updates >= _FIRST_STOP:
            record.direction = record._direction()
        if bool(learned.settled.any()):
            record._keep((~learned.settled).nonzero().squeeze(1).cpu())
        return record

    def take(self, slopes: Tensor, squares: Tensor, loss: Tensor, early: bool) -> None:
        """Enter the results of one step: sums of slopes and of their squares, and mean losses."""
        self.slopes.add_(slopes)
        self.squares.add_(squares)
        self.trace.append((self.where, loss))
        if early:
            self.latest = self.state.parameter

    def release_settled(self) -> None:
        """Let examples go whose direction has moved less than its standard error allows, twice running."""
        if self.state.n_updates < _FIRST_STOP:
            return
        before, error, self.direction = self.direction, self.error, self._direction()
        if before is None:
            return
        self.error = (self.direction - before).norm(dim=1) * self.state.n_updates**0.5
        if error is None:
            return
        unsettled = (torch.maximum(self.error, error) >= _SETTLED).cpu()
        if not bool(unsettled.all()):
            self._leave(self.state.parameter)
            self._keep(unsettled.nonzero().squeeze(1))
            self.learned.settled.fill_(True)[self.where] = False

    def _direction(self) -> Tensor:
        """Unit vectors of the centred parameters of the active examples, [examples, gates]."""
        parameter, missing, n = self.state.parameter, self.shift.missing, self.state.parameter.shape[1]
        if missing is None:  # one operation for six
            direction: Tensor = torch.layer_norm(parameter, (n,), eps=_ALIKE) / n**0.5
            return direction
        parameter = parameter.masked_fill(missing, 0.0)
        centred = parameter - parameter.sum(1, keepdim=True) / self.state.n_gates
        return torch.nn.functional.normalize(centred.masked_fill(missing, 0.0), dim=1)

    def _keep(self, rows: Tensor) -> None:
        """Go on with some of the active examples, long [rows] on the CPU."""
        here = rows.to(self.where.device)
        self.state, self.groups = self.state.rows(here), self.groups.rows(here)
        self.estimator = self.estimator.rows(here)
        self.active, self.where, self.shift = self.active[rows], self.where[here], self.shift.rows(here)
        self.latest, self.slopes, self.squares = self.latest[here], self.slopes[here], self.squares[here]
        self.restart, self.direction, self.error = (
            None if known is None else known[here] for known in (self.restart, self.direction, self.error)
        )

    def _leave(self, earlier: Tensor) -> None:
        """Write down what the active examples have learned, as if all of them left."""
        where, known, done = self.where, self.learned, len(self.trace)
        self.parameter[where], self.earlier[where] = self.state.parameter, earlier
        known.total[where], known.scale[where] = self.state.total, self.state.scale.squeeze(1)
        known.slopes[where], known.squares[where] = self.slopes, self.squares
        if self.error is not None:
            known.error[where] = self.error
        known.n_steps[where] += done - self.written
        known.n_samples[where] += (done - self.written) * self.n_samples
        self.written = done

    def solution(self, exists: Tensor, failure: BaseException | None) -> Solution:
        """What was learned of all examples."""
        self._leave(self.latest)
        learned = self.learned.rows(slice(None))
        n = learned.n_samples.unsqueeze(1)
        unknown = self.parameter.new_full(learned.n_steps.shape, torch.nan)
        return Solution(
            self.parameter.masked_fill(~exists, -torch.inf),
            self.earlier.masked_fill(~exists, -torch.inf),
            (learned.squares / n).sqrt(),
            -learned.slopes / n,
            torch.cat([self.past, *(unknown.index_copy(0, *step).unsqueeze(0) for step in self.trace)]),
            learned,
            failure,
        )
