"""Shifts: the number that is added to all parameters of an example to meet a budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.gates import GateDistribution

from .settings import SolverSettings

__all__ = ["BudgetShift"]

_MOST_ELEMENTS = 2**20  # of one tensor; without a limit, memory would grow with the number of shifts


@dataclass(frozen=True)
class BudgetShift(Batch):
    """Finds the shift of all parameters of an example at which their mean active probability is a budget.

    The mean rises with the shift, but its inverse has no formula. So the mean is computed at equally spaced
    shifts. At the first, even the largest parameter is below the lowest budget; at the last, even the
    smallest is above the highest. In between, the inverse is interpolated. This is done on the scale of
    parameters, where it is a straight line if all gates are equal: a probability p is replaced by the
    parameter whose active probability is p.

    Attributes:
        gates: distribution of the gates.
        missing: columns that are no gate of an example, bool [batch, gates]; None if there are none.
        weight: weight of each gate in the mean, [batch or 1, gates].
        ends: parameters at the lowest and the highest budget, two numbers.
        share: where the known shifts are between the first, 0, and the last, 1, [shifts].
        edge: budgets are clamped to [edge, 1 - edge].
    """

    gates: GateDistribution
    missing: Tensor | None = field(metadata=per_example(shared=True))
    weight: Tensor = field(metadata=per_example(shared=True))
    ends: tuple[Tensor, Tensor]
    share: Tensor
    edge: float

    @classmethod
    def of(
        cls,
        gates: GateDistribution,
        exists: Tensor,
        dtype: torch.dtype,
        settings: SolverSettings = SolverSettings(),  # frozen
    ) -> BudgetShift:
        """Prepare it for the gates that exist, bool [batch or 1, gates]."""
        low, share = (
            torch.linspace(*span, dtype=dtype, device=exists.device)
            for span in ((settings.edge, 1 - settings.edge, 2), (0, 1, settings.n_shifts))
        )
        weight = (exists / exists.sum(1, keepdim=True)).to(dtype)
        missing = None if bool(exists.all()) else ~exists
        first, last = gates.parameter_at(low).unbind()
        return cls(gates, missing, weight, (first, last), share, settings.edge)

    def __call__(self, parameter: Tensor, budget: Tensor) -> Tensor:
        """Shifts of parameters [batch, gates] to budgets [samples, 1 or batch]; [samples, batch, 1]."""
        smallest, largest = self._extremes(parameter)
        low, high = self.ends[0] - largest, self.ends[1] - smallest  # [batch, 1]
        shifts = torch.lerp(low, high, self.share)
        # Clamped, since the parameter at a probability of 0 or 1 is infinite.
        typical = self.gates.parameter_at(self._means(parameter, shifts).clamp(1e-6, 1 - 1e-6))
        wanted = self.gates.parameter_at(budget.clamp(self.edge, 1 - self.edge))
        start, length = typical[:, :-1], typical.diff(dim=1).clamp_min(torch.finfo(typical.dtype).tiny)
        # How much of each interval between two known shifts is below what is wanted: 1 for those that end
        # below it, 0 for those that begin above it, [samples, batch, shifts - 1]. Intervals have equal
        # lengths, so the mean says how far the wanted shift is from `low` to `high`, without a search.
        passed = ((wanted.unsqueeze(2) - start) / length).clamp(0, 1)
        return torch.lerp(low, high, passed.mean(2, keepdim=True))

    def _extremes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        if self.missing is None:
            smallest, largest = parameter.aminmax(dim=1, keepdim=True)
            return smallest, largest
        return (
            parameter.masked_fill(self.missing, torch.inf).amin(1, keepdim=True),
            parameter.masked_fill(self.missing, -torch.inf).amax(1, keepdim=True),
        )

    def _means(self, parameter: Tensor, shifts: Tensor) -> Tensor:
        """Mean active probability of parameters [batch, gates] at shifts, both [batch, shifts]."""
        size = max(1, _MOST_ELEMENTS // parameter.numel())
        if shifts.shape[1] > size:
            return torch.cat([self._means(parameter, part) for part in torch.split(shifts, size, 1)], 1)
        active = self.gates.active_probability(parameter.unsqueeze(1) + shifts.unsqueeze(2))
        if len(self.weight) == 1:
            return active @ self.weight[0]
        return (active @ self.weight.unsqueeze(2)).squeeze(2)
