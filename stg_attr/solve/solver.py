"""Solver: the one loop, in which the gates of all examples of a batch are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.select import Sparsity

from .coins import Coins
from .draws import Draws, draw
from .estimators import Estimate, Estimator, EstimatorState, LossFunction, Reparameterized
from .optimizer import DualAveraging
from .settings import SolverSettings
from .shift import BudgetShift
from .smoothing import Smoothing
from .state import Learned, Results, Solution, SolverState

__all__ = ["Problem", "Solver"]

_MOST_NUMBERS = 2**20  # samples x examples x gates whose gate values are in memory at once

_NO_NEIGHBOURS = torch.empty(1, 1, 0, dtype=torch.long, device="cpu")


class Problem(Protocol):
    """What a solver must be told: the gates of some examples, and their loss; `GatedModel` is one."""

    @property
    def groups(self) -> FeatureGroups:
        """The gates of each example."""

    @property
    def differs(self) -> Tensor:
        """Gates that can change anything, bool [batch, gates]."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the gate parameters."""

    @property
    def batch(self) -> int:
        """Number of examples."""

    @property
    def reference_order(self) -> Tensor:
        """The order in which references are shown, long [references]."""

    @property
    def everyone(self) -> Any:
        """An object that stands for all examples; `rows(index)` of it stands for some of them."""

    def loss(self, examples: Any, references: Tensor) -> LossFunction:
        """The loss of gate values [samples, examples, gates], with a reference for each sample, long
        [samples].

        The loss of an example must not depend on the others.
        """

    def missed(self, examples: Any, seen: Tensor, least: float) -> Tensor:
        """Gates that change the score although the model has no slopes in them, bool [examples, gates].

        Args:
            examples: whose gates they are.
            seen: gates in which the model was seen to have slopes, bool [examples, gates].
            least: share of the output by which they must change it together.
        """


def _ignore(step: int, so_far: Callable[[], Solution]) -> None:
    pass


@dataclass(frozen=True)
class Solver:
    """How gates are learned: the distribution, the estimator, the sparsity, and the number of steps.

    Args:
        gates: distribution of the gates.
        sparsity: budgets of the samples and price of open gates.
        estimator: of the gradient.
        smoothness: how strongly the parameters of neighbouring regions of an image are made alike.
        n_steps: updates of the parameters, at most.
        n_samples: gate samples per update.
        seed: of all noise.
        n_restarts: the batch has this number of equal blocks of rows, one after the other. Each is solved
            with its own noise: the first with that of `seed`, the second with that of `seed + 1`, and so on.
        looks: look for gates that change the score although the model has no slopes in them; it takes the
            evaluations of one selection.
        settings: the other numbers that decide the result.
    """

    gates: GateDistribution
    sparsity: Sparsity
    estimator: Estimator
    smoothness: float
    n_steps: int
    n_samples: int
    seed: int
    n_restarts: int = 1
    looks: bool = True
    settings: SolverSettings = field(default_factory=SolverSettings)

    def fit(
        self,
        problem: Problem,
        on_step: Callable[[int, Callable[[], Solution]], object] = _ignore,
        past: tuple[Learned, Tensor] | None = None,
        start: Tensor | None = None,
    ) -> Solution:
        """Learn the gates of a batch.

        An example leaves the batch when its parameters have settled; from then on it costs nothing. This is
        decided for each example alone, from its own updates only.

        Args:
            problem: the examples and their loss.
            on_step: called after each step with the number of steps done and a function that returns the
                solution so far.
            past: what was learned in earlier steps, and the loss trace of these, [steps, batch].
            start: added to the parameters that the gates start with, [batch, gates].

        Returns:
            The solution. After Ctrl-C, or if the model raises, it is that of the steps done until then; if
            there are none, the exception is raised.
        """
        state, results = self._begin(problem, past, start)
        exists, first = problem.groups.exists, state.n_updates
        steps, seeds = range(first, first + self.n_steps), range(self.seed, self.seed + self.n_restarts)
        draws = draw(
            seeds,
            self.sparsity,
            steps,
            self.n_samples,
            problem.groups.n_gates,
            problem.reference_order,
            results.parameter,
        )
        failure: BaseException | None = None
        try:
            for step in steps:
                if len(state.index):
                    self._step(next(draws).of(state.restart), state, problem)
                    if state.n_updates == min(self.settings.look, steps.stop):
                        self._look(state, results.learned, problem)
                    # until two thirds of all steps are done; `Solution.earlier` is what was known then
                    if 3 * (step + 1) <= 2 * steps.stop:
                        state.latest = state.parameter
                    state = _without_settled(state, results)
                # a function, since to put a solution together takes time that is wasted if nobody asks for it
                on_step(step + 1 - first, partial(results.solution, state, exists, None))
        except (Exception, KeyboardInterrupt) as stopped:
            if not state.trace:
                raise
            failure = stopped
        try:
            return results.solution(state, exists, failure)
        except KeyboardInterrupt as stopped:  # what was learned is not lost after the last step either
            return results.solution(state, exists, stopped)

    def proven(self, solution: Solution) -> Tensor:
        """Gates that the model is known to react to, since it has slopes in them, bool [batch, gates]."""
        return (solution.influence > 0) & ~solution.learned.blind & self.estimator.proves_slopes

    def unlearned(self, solution: Solution) -> Tensor:
        """Examples with gates without slopes that were not looked at, or not learned, bool [batch]."""
        if self.looks or not self.estimator.proves_slopes:
            return solution.learned.blind.any(1) & (solution.n_steps <= self.settings.look)
        return ((solution.influence == 0) & solution.parameter.isfinite()).any(1)

    def draws_together(self, groups: FeatureGroups) -> bool:
        """Whether parameters are smoothed over neighbouring regions."""
        return self.smoothness > 0 and groups.neighbours.shape[2] > 0

    def _begin(
        self, problem: Problem, past: tuple[Learned, Tensor] | None, start: Tensor | None
    ) -> tuple[SolverState, Results]:
        groups, settings, batch = problem.groups, self.settings, problem.batch
        exists, everyone = self._learned_gates(problem), torch.arange(batch, device="cpu")
        if past is None:
            learned = Learned.nothing(batch, groups.n_gates, problem.dtype, exists.device)
            past = learned, learned.scale.new_zeros(0, batch)
        learned, trace = past[0].copied(), past[1]
        neighbours = groups.neighbours if self.smoothness else _NO_NEIGHBOURS
        smooth = Smoothing(neighbours, self.smoothness, settings.sweeps)
        begin = learned.total.new_full((1, 1), self.gates.start)
        rule = DualAveraging(begin if start is None else begin + start.to(begin))
        parameter = rule.parameter(learned.total, learned.scale, smooth)
        # steps are counted on from the largest number that an example that has not settled has taken
        done = int(learned.n_steps.masked_fill(learned.settled, 0).max())
        if done < settings.look:
            learned.blind.zero_()  # it is looked for again, after as many updates as in one solve
        block = batch // self.n_restarts
        state = SolverState(
            examples=problem.everyone,
            index=everyone.to(exists.device),
            restart=None if self.n_restarts == 1 else (everyone // block).to(exists.device),
            groups=groups,
            shift=BudgetShift.of(self.gates, exists, problem.dtype, settings),
            smooth=smooth,
            estimator=self._begun(exists, learned.blind, self.estimator.begin(exists)),
            total=learned.total.clone(),
            scale=learned.scale.clone(),
            slopes=learned.slopes.clone(),
            squares=learned.squares.clone(),
            parameter=parameter,
            latest=parameter,
            direction=None,
            error=learned.error.clone() if done > settings.first_stop else None,
            n_gates=exists.sum(1, keepdim=True).to(problem.dtype),
            rule=rule,
            settings=settings,
            n_updates=done,
            trace=[],
        )
        if done >= settings.first_stop:
            state.direction = state.directions()
        results = Results(learned, parameter.clone(), parameter.clone(), trace, self.n_samples, past[0])
        if bool(learned.settled.any()):
            state = state.rows((~learned.settled).nonzero().squeeze(1).cpu())
        return state, results

    def _look(self, state: SolverState, learned: Learned, problem: Problem) -> None:
        """Find the gates that slopes do not show; their examples begin anew, with coins for these gates."""
        if not (self.looks and self.estimator.proves_slopes):
            return
        blind = problem.missed(state.examples, state.squares > 0, self.settings.least_missed)
        blind = blind & problem.differs[state.index]
        learned.blind[state.index] = blind
        if bool(blind.any()):
            state.forget(blind.any(1))
            state.estimator = self._begun(state.groups.exists, blind, state.estimator)

    def _begun(self, exists: Tensor, blind: Tensor, otherwise: EstimatorState) -> EstimatorState:
        """The state of the estimator where the model has no slopes in some gates, bool [examples, gates]."""
        pathwise = isinstance(self.estimator, Reparameterized)
        return Coins.begin(exists, blind) if pathwise and bool(blind.any()) else otherwise

    def _learned_gates(self, problem: Problem) -> Tensor:
        """The gates that are learned, bool [1 or batch, gates].

        Slopes show by themselves which gates change nothing. Without slopes these are left out, since noise
        would be learned of them.
        """
        exists = problem.groups.exists
        if self.estimator.proves_slopes:
            return exists
        left_out = exists & ~problem.differs & (exists & problem.differs).any(1, keepdim=True)
        return exists & ~left_out if bool(left_out.any()) else exists

    def _step(self, drawn: Draws, state: SolverState, problem: Problem) -> None:
        """One update of the examples that have not settled."""
        size = self.n_samples
        if state.estimator.samples_alone:  # some samples at a time, so that gate values take little memory
            size = min(size, max(1, _MOST_NUMBERS // state.parameter.numel()))
        sums: list[Tensor] = []
        for i in range(0, self.n_samples, size):
            some = drawn.samples(slice(i, i + size))
            estimate = state.estimator.estimate(
                self.gates,
                self._levels(state, some),
                state.groups.noise(some.uniform),
                problem.loss(state.examples, some.references),
            )
            part = _sums(estimate, some, state.n_gates)
            sums = [total.add_(more) for total, more in zip(sums, part, strict=True)] if sums else part
        gradient, slopes, squares, loss = sums
        # samples at a budget do not pay for open gates: the budget says how many are open
        gradient, price = gradient / self.n_samples, self.sparsity.reg_weight * (1 - drawn.share)
        if price > 0:
            gradient = torch.add(gradient, self.gates.openness(state.parameter), alpha=price)
        missing = state.shift.missing
        gradient = gradient if missing is None else gradient.masked_fill(missing, 0.0)
        state.update(gradient, slopes, squares, loss / self.n_samples)

    def _levels(self, state: SolverState, drawn: Draws) -> Tensor:
        """Parameters of each sample, shifted to its budget if it has one, [samples, examples, gates].

        They are rounded first, for the reason given at `SolverSettings.grid`.
        """
        grid = self.settings.grid
        parameter = (state.parameter / grid).round() * grid
        if drawn.share == 0:
            return parameter.expand(len(drawn.swept), -1, -1)
        # `swept` is 0 for samples that are not shifted; computing their shift too avoids an index
        return torch.addcmul(parameter, state.shift(parameter, drawn.budgets), drawn.swept.reshape(-1, 1, 1))


def _sums(estimate: Estimate, drawn: Draws, n_gates: Tensor) -> list[Tensor]:
    """Sums over samples: gradients, slopes and their squares, [examples, gates], and losses, [examples].

    Samples at a fixed budget had all parameters shifted by one offset, so the mean of their gradient carries
    no information and is subtracted.
    """
    gradient = estimate.gradient.sum(0)
    if drawn.share > 0:
        level = (drawn.swept @ estimate.gradient.sum(2)).unsqueeze(1)
        gradient = gradient - level / n_gates
    return [gradient, estimate.slope.sum(0), estimate.slope.square().sum(0), estimate.loss.sum(0)]


def _without_settled(state: SolverState, results: Results) -> SolverState:
    """The state of the examples that have not settled; the others are entered into the results."""
    rows = state.unsettled()
    if rows is None:
        return state
    results.enter(state, state.parameter)
    state = state.rows(rows)
    settled = torch.ones_like(results.learned.settled)
    settled[state.index] = False
    results.learned.settled.copy_(settled)  # one operation, for the reason given in `SolverState.update`
    return state
