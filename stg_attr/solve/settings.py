"""The numbers that decide how gates are learned."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SolverSettings"]


@dataclass(frozen=True)
class SolverSettings:
    """How gates are learned; the number of steps and samples is set elsewhere.

    Attributes:
        grid: gates are sampled with parameters rounded to multiples of this number; the parameters themselves
            are not rounded. Models round differently in batches of different sizes. Where a loss has kinks,
            this difference would grow from step to step, and an example would get another result in a batch
            than alone.
        look: number of updates after which gates without slopes are looked for; examples stop later.
        least_missed: share of the output that such gates must change together to be learned.
        first_stop: number of updates before an example may stop.
        settled: an example stops when the standard error of the direction of its parameters is below this
            number, twice in a row.
        n_shifts: number of shifts at which the mean active probability of an example is computed, to find
            the shift that meets a budget; between them it is interpolated.
        edge: budgets are clamped to [edge, 1 - edge].
        sweeps: iterations of the smoothing over neighbouring regions.
        start: standard deviation, over the gates of an example, of the parameters with which a solve starts
            from a map.
    """

    grid: float = 0.5
    look: int = 3
    least_missed: float = 1e-3
    first_stop: int = 4
    settled: float = 0.5
    n_shifts: int = 48
    edge: float = 0.01
    sweeps: int = 12
    start: float = 0.5
