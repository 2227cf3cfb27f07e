"""Rows of a table that are most like what is shown of another row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Kind
from stg_attr.gates import FillIn, NearestRows

from .columns import Shown

__all__ = ["nearest_cells"]


def nearest_cells(references: Tensor, shown: Sequence[Shown], nearest: NearestRows) -> FillIn:
    """Fill in the cells of the rows that are most like the shown cells.

    The squared distance of two cells is that of their numbers, or dates, in units of the standard deviation;
    of texts and flags it is 0 where they are equal, else 1. A missing cell is 1 away from all others.

    Args:
        references: numbers of the cells of the rows, long [references, columns], see `Cells`.
        shown: the values of the cells of each column.
        nearest: how many rows, and the seed of the order of rows that are alike.

    Raises:
        ArgumentError: there are fewer rows.
    """
    n = nearest.n
    if n > len(references):
        raise ArgumentError(
            "n",
            expected=f"at most {len(references)}, the rows of the data",
            found=str(n),
            mend="Pass more rows, or a smaller n.",
        )
    generator = torch.Generator().manual_seed(nearest.seed)
    rows = references[torch.randperm(len(references), generator=generator, device="cpu")]
    columns = [_scaled(column, rows[:, i]) for i, column in enumerate(shown)]

    def alike(x: Tensor, visible: Tensor) -> Tensor:
        numbers, weight = x.cpu(), visible.cpu().double()
        distance = torch.zeros(len(numbers), len(rows), dtype=torch.float64, device="cpu")
        for i, values in enumerate(columns):
            used = weight[:, i].nonzero().squeeze(1)  # of a hidden column any cell will do
            distance[used] += weight[used, i : i + 1] * _apart(numbers[used, i], rows[:, i], values)
        chosen = distance.argsort(dim=1, stable=True)[:, :n]  # of equal ones the first, in a random order
        return rows[chosen.T]

    return FillIn(alike)


def _scaled(shown: Shown, numbers: Tensor) -> Tensor | None:
    """Values by the number of a cell, in units of their standard deviation; None for texts and flags."""
    if shown.column.kind in (Kind.TEXT, Kind.FLAG):
        return None
    values = torch.from_numpy(shown.values)
    known = values[numbers][~values[numbers].isnan()]
    spread = known.std(correction=0) if len(known) else torch.zeros((), dtype=values.dtype, device="cpu")
    return values / torch.where(spread > 0, spread, 1.0)


def _apart(own: Tensor, others: Tensor, values: Tensor | None) -> Tensor:
    """Squared distances of cells [rows] from others [references], [rows, references]."""
    same = own.unsqueeze(1) == others
    if values is None:
        return (~same).double()
    difference = (values[own].unsqueeze(1) - values[others]).square()
    return torch.where(same, 0.0, torch.where(difference.isnan(), 1.0, difference))
