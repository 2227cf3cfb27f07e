"""GivenRows: what a model is given for some examples, as copies on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .examples import goes_along

__all__ = ["GivenRows"]


@dataclass(frozen=True)
class GivenRows:
    """What a model is given for some examples.

    Attributes:
        inputs: each [rows, ...].
        arguments: additional arguments; those with a row for each example are cut.
        device: where the model runs.
    """

    inputs: tuple[Tensor, ...]
    arguments: tuple[Any, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.inputs[0])

    def __call__(self, rows: Sequence[int]) -> list[Any]:
        """Copies of the inputs and arguments of some rows, since models may work in place."""
        some, n = list(rows), len(self)
        cut = [a[some] if goes_along(a, n) else a for a in self.arguments]
        values = (*(x[some] for x in self.inputs), *cut)
        return [v.detach().to(self.device).clone() if isinstance(v, Tensor) else v for v in values]
