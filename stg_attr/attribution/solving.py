"""Solving: one call of `attribute` or `explain`, shard by shard, from the question to the explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from stg_attr.solve import Solution, Solver

from .arguments import Effort
from .explanation import Explanation, Status, first_restart, join
from .model import without_weight_gradients
from .past import Past
from .probe import Probe
from .progress import Progress
from .reading import nothing_learned, read, stopped_by
from .scoring import Scorer

__all__ = ["Solving", "mean_of"]


@dataclass(frozen=True)
class Solving:
    """How a question is answered.

    Args:
        probe: the question.
        solver: how gates are learned, with the seed of the first restart.
        effort: what the user allowed.
        with_curve: measure the evidence, too.
        past: what was learned earlier of all examples, if anything.
        observer: called after each step, if anyone watches.
    """

    probe: Probe
    solver: Solver
    effort: Effort
    with_curve: bool
    past: Past | None
    observer: Callable[[Progress], object] | None

    def run(self, title: str, show_progress: bool) -> tuple[Explanation, list[Exception]]:
        """The explanation of all shards, and what the model raised.

        After Ctrl-C the shards that are left get one step each, and say so. A failure before anything is
        learned of a shard is raised, unless there is an explanation of others.
        """
        parts: list[Explanation] = []
        failures: list[Exception] = []
        shards, solver, interrupted = list(self.probe.shards()), self.solver, False
        with tqdm(total=len(shards) * solver.n_steps, desc=title, disable=not show_progress) as bar:
            for rows in shards:
                part, failure = self._shard(rows, solver, bar, parts[0] if parts else None)
                if interrupted:
                    part = replace(part, status=(Status.INTERRUPTED,) * len(part))
                if Status.INTERRUPTED in part.status:
                    solver, interrupted = replace(solver, n_steps=1), True
                failures += [failure] if isinstance(failure, Exception) else []
                parts.append(part)
        return join(parts), failures

    def _shard(
        self, rows: slice, solver: Solver, bar: tqdm[Any], other: Explanation | None
    ) -> tuple[Explanation, BaseException | None]:
        restarts = solver.n_restarts
        which = self.probe.repeated(rows, restarts) if restarts > 1 else rows
        scorer = self.probe.scorer(which)
        try:
            return self._explained(rows, which, scorer, solver, bar)
        except (Exception, KeyboardInterrupt) as failure:
            if other is None or not scorer.may_stop(failure):
                raise
            blend = self.probe.blend.rows(rows).to(self.probe.device)
            evaluations = scorer.evaluations.reshape(restarts, -1).sum(0)
            part = nothing_learned(other, blend, stopped_by(failure), evaluations)
            return replace(part, learned=self.past.learned.rows(rows)) if self.past else part, failure

    def _explained(
        self, rows: slice, which: slice | Tensor, scorer: Scorer, solver: Solver, bar: tqdm[Any]
    ) -> tuple[Explanation, BaseException | None]:
        case = self.probe.case(which, scorer)
        restarts, batch = solver.n_restarts, case.batch // solver.n_restarts

        def now(solution: Solution, with_curve: bool) -> tuple[Explanation, BaseException | None]:
            found, failure = read(case, solution, solver, with_curve, self.effort.evals_of_a_solve)
            found = replace(found, baselines=tuple(mean_of(reference) for reference in case.blend.references))
            return (first_restart(found, restarts) if restarts > 1 else found), failure

        def on_step(done: int, so_far: Callable[[], Solution]) -> None:
            bar.update()
            if self.observer is not None:
                self.observer(Progress(done, solver.n_steps, batch, lambda: now(so_far(), True)[0]))

        blend, past = case.blend, None if self.past is None else self.past.rows(rows)
        solution = without_weight_gradients(
            self.probe.forward,
            lambda: solver.fit(
                case.loss, blend.groups, case.batch, case.reference_order, blend.dtype, on_step, past
            ),
        )
        if solution.failure is not None and not case.may_stop(solution.failure):
            raise solution.failure
        return now(solution, self.with_curve)


def mean_of(references: Tensor) -> Tensor:
    """The mean of references [references, ...]; of a single one, itself, in whatever dtype it has."""
    if len(references) == 1:
        return references[0]
    real = references.is_floating_point() or references.is_complex()
    return references.mean(0, dtype=None if real else torch.float64)
