"""Allowance: the number of evaluations that may still be used to measure selections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Allowance"]


@dataclass
class Allowance:
    """The evaluations that are left for measuring selections, and the failure that ended the measuring.

    Attributes:
        max_evals: rows on which the model may be run for each example, those of the solve included; None for
            any number.
        reserved: rows of these that are kept for the evidence.
        failure: what the model raised while selections were measured, or Ctrl-C; None if nothing. After a
            failure, measurements are NaN, and what was measured before is kept.
    """

    max_evals: int | None = None
    reserved: int = 0
    failure: BaseException | None = None

    def covers(self, n: Tensor, rows_each: int, spent: Tensor) -> Tensor:
        """Whether n more selections of each example may be measured, bool [examples].

        Args:
            n: number of selections, long [examples].
            rows_each: model rows for measuring one of them.
            spent: model rows evaluated so far, long [examples].
        """
        if self.failure is not None or self.max_evals is None:
            return torch.full_like(n, self.failure is None, dtype=torch.bool)
        return n * rows_each <= self.max_evals - self.reserved - spent
