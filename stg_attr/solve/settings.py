"""The numbers that decide how gates are learned."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SolverSettings"]


@dataclass(frozen=True)
class SolverSettings:
    """How gates are learned, apart from the effort.

    Attributes:
        grid: gates are sampled at parameters rounded to multiples of this, while the parameters themselves
            move freely. Where a loss has kinks, a rounding error of the model would otherwise grow from step
            to step, and an example would not get the same answer alone and in a batch.
        first_stop: updates before an example may stop.
        settled: an example stops when the standard error of the direction of its parameters is below this,
            twice in a row.
        n_shifts: shifts at which the mean active probability of an example is computed, to find the one that
            meets a budget; between them it is interpolated.
        edge: budgets are cut to [edge, 1 - edge].
        sweeps: iterations that draw the parameters of neighbouring regions together.
    """

    grid: float = 0.5
    first_stop: int = 4
    settled: float = 0.5
    n_shifts: int = 48
    edge: float = 0.01
    sweeps: int = 12
