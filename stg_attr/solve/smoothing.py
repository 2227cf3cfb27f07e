"""Smoothing: the parameters of neighbouring regions of an image become more alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

__all__ = ["Smoothing"]

_FEW = 256  # up to this number of gates, one matrix product replaces all sweeps


@dataclass(frozen=True)
class Smoothing(Batch):
    """Replaces the value of each gate by one that is nearer to the mean of its neighbours.

        argmin_s |s - g|^2 + strength <s, (I - A) s>,  so  s = (I + strength (I - A))^-1 g

    A averages over the neighbours of a gate. If dual averaging uses s in place of the sum of gradients, its
    proximal function is 1/2 <a, (I + strength (I - A)) a> instead of 1/2 |a|^2. Such an s is called a Sobolev
    gradient (Neuberger, 2010), https://doi.org/10.1007/978-3-642-04041-2.

    Args:
        neighbours: columns of the neighbours of each gate, long [1 or batch, gates, degree]; -1 for none.
        strength: 0 for no change.
        n_sweeps: Jacobi iterations; each multiplies the error by strength / (1 + strength).
    """

    neighbours: Tensor = field(metadata=per_example(shared=True))
    strength: float
    n_sweeps: int = 12

    def __call__(self, values: Tensor) -> Tensor:
        """Smooth [batch, gates]; gates without neighbours keep their value."""
        if self.strength == 0 or self.neighbours.shape[2] == 0:
            return values
        # The sweeps are linear, so for few gates shared by all examples they are one matrix, made once by
        # applying them to the unit vectors.
        rows, gates, _ = self.neighbours.shape
        if rows > 1 or gates > _FEW:
            return self._swept(values)
        if values.dtype not in self._matrices:
            self._matrices[values.dtype] = self._swept(
                torch.eye(gates, dtype=values.dtype, device=values.device)
            )
        return values @ self._matrices[values.dtype]

    def _swept(self, values: Tensor) -> Tensor:
        # One Jacobi iteration solves the diagonal part of the equations:
        # s = g / (1 + w) + w / (1 + w) * mean of s over the neighbours, with w = 0 where there are none.
        batch, gates, degree = len(values), *self.neighbours.shape[1:]
        degrees = (self.neighbours >= 0).sum(2).to(values.dtype)  # [1 or batch, gates]
        weight = self.strength * degrees.clamp_max(1)
        gain = weight / (degrees.clamp_min(1) * (1 + weight))
        own, smooth = values / (1 + weight), values
        where = self.neighbours.remainder(gates + 1).flatten(1).expand(batch, -1)
        for _ in range(self.n_sweeps):
            padded = torch.nn.functional.pad(smooth, (0, 1))
            smooth = torch.addcmul(own, gain, padded.gather(1, where).reshape(batch, gates, degree).sum(2))
        return smooth

    @cached_property
    def _matrices(self) -> dict[torch.dtype, Tensor]:
        """All sweeps as one matrix for each precision, [gates, gates]; filled when first used."""
        return {}
