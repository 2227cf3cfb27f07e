"""Shifts: how far all parameters of an example go up or down together to meet a budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.gates import GateDistribution

from .settings import SolverSettings

__all__ = ["BudgetShift"]

_MOST_ELEMENTS = 2**20  # of one operation, so that memory does not grow with the number of shifts


@dataclass(frozen=True)
class BudgetShift(Batch):
    """The shift of all parameters of an example at which their mean active probability is the budget.

    The mean rises with the shift. It is computed at shifts from where even the largest parameter is below
    the lowest budget to where even the smallest is above the highest. Between them the parameter of a gate
    that has the mean probability is interpolated, which is a straight line where all gates are equal.

    Attributes:
        gates: distribution of the gates.
        missing: which gates there are not, bool [batch, gates]; None where all are there.
        weight: of each gate in the mean, [batch or 1, gates].
        ends: parameters at the lowest and the highest budget, two numbers.
        share: where the known shifts lie between the ends, [shifts].
        edge: budgets are cut to [edge, 1 - edge].
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
        """For gates that exist, bool [batch or 1, gates]."""
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
        typical = self.gates.parameter_at(self._means(parameter, shifts).clamp(1e-6, 1 - 1e-6))
        wanted = self.gates.parameter_at(budget.clamp(self.edge, 1 - self.edge))
        start, length = typical[:, :-1], typical.diff(dim=1).clamp_min(torch.finfo(typical.dtype).tiny)
        # how much of the way between two known shifts is below what is wanted, [samples, batch, shifts - 1]
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
        """Mean active probability of parameters [batch, gates] at shifts [batch, shifts]; the same shape."""
        size = max(1, _MOST_ELEMENTS // parameter.numel())
        if shifts.shape[1] > size:
            return torch.cat([self._means(parameter, part) for part in torch.split(shifts, size, 1)], 1)
        active = self.gates.active_probability(parameter.unsqueeze(1) + shifts.unsqueeze(2))
        if len(self.weight) == 1:
            return active @ self.weight[0]
        return (active @ self.weight.unsqueeze(2)).squeeze(2)
