"""Draws: the random numbers of each step of a solve, the same for all examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stg_attr.select import Sparsity

from .noise import Noise

__all__ = ["Draws", "draw"]

_MOST_STEPS = 16  # steps whose numbers are drawn and copied to the device together,
_MOST_NUMBERS = 2**20  # unless these are more numbers than this


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step.

    Attributes:
        uniform: noise in (0, 1), [samples, restarts, gates].
        references: the reference that each sample is shown, long [samples].
        budgets: expected fraction of open gates, [samples, restarts]; any number for samples that are not
            swept.
        swept: 1 for samples at a budget, 0 for those whose parameters are not shifted, [samples].
        share: share of the samples that are swept.
    """

    uniform: Tensor
    references: Tensor
    budgets: Tensor
    swept: Tensor
    share: float

    def of(self, restart: Tensor | None) -> Draws:
        """The draws of the restart of each row, long [rows]; None where there is only one restart."""
        if restart is None:
            return self
        return replace(self, uniform=self.uniform[:, restart], budgets=self.budgets[:, restart])

    def samples(self, some: slice) -> Draws:
        """The draws of some samples."""
        if some.start == 0 and some.stop >= len(self.swept):
            return self
        return Draws(
            self.uniform[some], self.references[some], self.budgets[some], self.swept[some], self.share
        )


def draw(
    seeds: range,
    sparsity: Sparsity,
    steps: range,
    samples: int,
    gates: int,
    reference_order: Tensor,
    like: Tensor,
) -> Iterator[Draws]:
    """The draws of each step, made for several steps at once and copied without waiting for the device.

    Args:
        seeds: of the noise of each restart.
        sparsity: gives the budgets.
        steps: numbers of the steps.
        samples: gate samples in a step.
        gates: number of columns.
        reference_order: the order in which references are shown, long [references].
        like: a tensor of the dtype and on the device that the draws get.
    """
    # Drawn on the CPU, so that every device gets the same numbers; one copy to a GPU for several steps takes
    # less time than one for each step.
    noises, dtype = [Noise(seed) for seed in seeds], like.dtype
    size = max(1, min(_MOST_STEPS, _MOST_NUMBERS // (samples * gates * len(noises))))
    for first in range(steps.start, steps.stop, size):
        some = range(first, min(first + size, steps.stop))
        uniform = torch.cat([noise.uniform(first, samples, gates, len(some)) for noise in noises], 1)
        span = (first * samples, len(some) * samples)
        budgets = torch.stack([sparsity.budgets(*span, noise.start()) for noise in noises], 1)
        swept = budgets[:, 0].isfinite().to(dtype).reshape(len(some), samples)
        references = noises[0].references(first, samples, reference_order, len(some))
        yield from map(
            Draws,
            _sent(uniform.to(dtype).reshape(len(some), samples, -1, gates), like),
            _sent(references.reshape(len(some), samples), like),
            # any budget will do where `swept` is 0, but 0 times NaN would be NaN
            _sent(budgets.nan_to_num(0.5).to(dtype).reshape(len(some), samples, -1), like),
            _sent(swept, like),
            swept.mean(1).tolist(),
        )


def _sent(drawn: Tensor, like: Tensor) -> Tensor:
    """Copy to the device of `like`; from page-locked memory a GPU copies while the CPU goes on."""
    drawn = drawn.pin_memory() if like.is_cuda else drawn
    return drawn.to(like.device, non_blocking=True)
