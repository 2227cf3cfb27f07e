"""Noise of a solve: a function of seed, step, sample and gate, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Noise", "partners"]

_STRIDE = 1_000_003  # two seeds share no noise, as long as a solve has fewer steps than this
_EDGE = 2.0**-24  # uniform numbers stay this far from 0 and 1, so that their logits are finite


@dataclass(frozen=True)
class Noise:
    """Uniform numbers shared by all examples, in antithetic pairs (u, 1 - u).

    So an example gets the same numbers alone, in any batch and on any shard. If gates or examples are added,
    the numbers of the others stay the same. The global random state is not used.

    Args:
        seed: any integer.
    """

    seed: int

    def _seeded(self, generator: torch.Generator, step: int) -> torch.Generator:
        return generator.manual_seed((self.seed * _STRIDE + step) % 2**63)

    def uniform(self, step: int, samples: int, gates: int, steps: int = 1) -> Tensor:
        """Noise of some steps, in (0, 1), [steps * samples, 1, gates].

        Args:
            step: number of the first step.
            samples: number of samples in a step.
            gates: number of columns.
            steps: number of steps.
        """
        # Drawn gate by gate, so that the first gates get the same numbers however many gates follow; in
        # float32 whatever the default dtype is, since other dtypes get other numbers.
        generator, half = torch.Generator(), (samples + 1) // 2
        drawn = torch.empty(steps, gates, half, dtype=torch.float32, device="cpu")
        for i, into in enumerate(drawn):
            seeded = self._seeded(generator, step + i)
            torch.rand(gates, half, generator=seeded, out=into, dtype=into.dtype, device="cpu")
        u = drawn.transpose(1, 2)
        pairs = torch.cat([u, 1 - u], 1)[:, :samples].clamp(_EDGE, 1 - _EDGE)
        return pairs.reshape(steps * samples, 1, gates)

    def references(self, step: int, samples: int, order: Tensor, steps: int = 1) -> Tensor:
        """Which reference each sample is shown, long [steps * samples].

        Args:
            step: number of the first step.
            samples: number of samples in a step.
            order: a permutation of the references, [references]; after its end it starts again.
            steps: number of steps.
        """
        return order[torch.arange(step * samples, (step + steps) * samples, device="cpu") % len(order)]

    def start(self) -> float:
        """Where the sequence of budgets begins, in [0, 1)."""
        # -2 is the number of no step, so this does not depend on the noise of any step
        drawn_by = self._seeded(torch.Generator(), -2)
        return float(torch.rand((), generator=drawn_by, dtype=torch.float32, device="cpu"))


def partners(values: Tensor) -> Tensor:
    """Sums over antithetic pairs: the value of each sample plus that of its partner, in the same shape.

    Args:
        values: [samples, ...], of samples with the noise of `Noise.uniform`.
    """
    # of an odd number of samples, the last of the first half has no partner, and 0 is added to it
    half = (len(values) + 1) // 2
    first, second = values[:half], values[half:]
    padded = torch.cat([second, torch.zeros_like(first[len(second) :])])
    return torch.cat([first + padded, second + first[: len(second)]])
