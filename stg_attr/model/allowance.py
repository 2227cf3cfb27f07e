"""Allowance: how many more evaluations the reading of a solve may take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Allowance"]


@dataclass
class Allowance:
    """What is left for measuring selections, and whether the model still answers.

    Attributes:
        max_evals: rows the model may be run on for each example, the solve included; None for any number.
        reserved: rows of them that are kept for the evidence.
        failure: what the model raised while selections were measured, or Ctrl-C; None while it answers. After
            a failure measurements are NaN, and what was known before stands.
    """

    max_evals: int | None = None
    reserved: int = 0
    failure: BaseException | None = None

    def covers(self, n: Tensor, rows_each: int, spent: Tensor) -> Tensor:
        """Whether n more selections of each example may be measured, bool [examples].

        Args:
            n: number of selections, long [examples].
            rows_each: model rows that measuring one takes.
            spent: model rows evaluated so far, long [examples].
        """
        if self.failure is not None or self.max_evals is None:
            return torch.full_like(n, self.failure is None, dtype=torch.bool)
        return n * rows_each <= self.max_evals - self.reserved - spent
