"""Noise and draws of a solve: a function of seed, step, sample and gate, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Noise", "partners"]

_STRIDE = 1_000_003  # steps of one seed and steps of the next do not meet
_EDGE = 2.0**-24  # uniform numbers stay this far from 0 and 1, so that their logits are finite


@dataclass(frozen=True)
class Noise:
    """Uniform numbers shared by all examples, in antithetic pairs (u, 1 - u).

    An example then gets the same numbers alone, in any batch and on any shard; more gates or examples
    change nothing for those that were there. The global random state is not touched.

    Args:
        seed: any integer.
    """

    seed: int

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * _STRIDE + step) % 2**63)

    def uniform(self, step: int, samples: int, gates: int) -> Tensor:
        """Noise of one step, in (0, 1), [samples, 1, gates]."""
        half, drawn_by = (samples + 1) // 2, self._generator(step)
        u = torch.rand(gates, half, generator=drawn_by, device="cpu").T  # gates first: prefixes agree
        return torch.cat([u, 1 - u])[:samples].unsqueeze(1).clamp(_EDGE, 1 - _EDGE)

    def references(self, step: int, samples: int, order: Tensor, steps: int = 1) -> Tensor:
        """Which reference each sample is shown, long [steps * samples].

        Args:
            step: number of the first step.
            samples: number of samples in a step.
            order: a permutation of the references, [references], walked through again and again.
            steps: number of steps.
        """
        return order[torch.arange(step * samples, (step + steps) * samples, device="cpu") % len(order)]

    def start(self) -> float:
        """Where the sequence of budgets begins, in [0, 1)."""
        return float(torch.rand((), generator=self._generator(-2), device="cpu"))


def partners(values: Tensor) -> Tensor:
    """Sums over antithetic pairs: to the value of each sample that of its partner is added.

    Args:
        values: [samples, ...], of samples with the noise of `Noise.uniform`.
    """
    half = (len(values) + 1) // 2
    first, second = values[:half], values[half:]
    padded = torch.cat([second, torch.zeros_like(first[len(second) :])])
    return torch.cat([first + padded, second + first[: len(second)]])
