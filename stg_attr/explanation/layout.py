"""Layout: values of gates in the shape of the inputs, and the examples that somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups

__all__ = ["Rows", "checked_example", "checked_rows", "lay_out"]

Rows = int | Sequence[int] | slice | Tensor


def lay_out(values: Tensor, groups: FeatureGroups, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Give every input element the value of its gate, [batch, gates], and 0 where it has none."""
    return tuple(
        groups.expand(values.unsqueeze(0), i, ungated=0.0)[0].expand(x.shape).to(_dtype(x)).clone()
        for i, x in enumerate(inputs)
    )


def _dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 inputs, else float32: half precision would tie probabilities near 1."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def checked_rows(rows: Rows, n: int) -> slice | Tensor:
    """Which of n examples are asked for: a slice as it is, others as long [rows], counted from 0.

    Raises:
        ArgumentError: there are no such examples.
    """
    if isinstance(rows, slice):
        return rows
    try:
        found = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):  # no numbers
        found = torch.tensor(inf)
    if found.dtype == torch.bool and found.shape == (n,):
        return found.nonzero().squeeze(1)
    whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    if found.numel() and not (whole and found.dim() <= 1 and -n <= int(found.min()) <= int(found.max()) < n):
        raise ArgumentError(
            "rows",
            expected=f"numbers of examples below {n}, or a flag for each of the {n}",
            found=str(rows),
            mend="Pass a number, a list, a slice, or a tensor such as explanation.converged.",
        )
    return found.reshape(-1).long() % n if found.numel() else found.reshape(-1).long()


def checked_example(example: int | Tensor, n: int) -> int:
    """Which of n examples is asked for, counted from 0.

    Raises:
        ArgumentError: there is no such example, or more than one is asked for.
    """
    found = checked_rows(example, n)
    if isinstance(found, slice) or len(found) != 1:
        raise ArgumentError(
            "example",
            expected=f"the number of one example, below {n}",
            found=str(example),
            mend="Call it for each: [explanation.describe(i) for i in range(len(explanation))].",
        )
    return int(found)
