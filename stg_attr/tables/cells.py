"""Cells: a table as whole numbers, each of which stands for a cell, and the model as a function of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Column
from stg_attr.gates import Baseline, Blend, FillIn, NearestRows, ReferenceSet
from stg_attr.model import FirstCall, module_of

from .alike import nearest_cells
from .columns import Shown
from .libraries import rows_of_table
from .references import reference_rows
from .rows import Rows, same_places

__all__ = ["Cells", "OverCells"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of the rows to explain and of their references.

    A cell is named by the number of the first row that has it in its column. So two cells are equal where
    their numbers are, and a gate chooses between two numbers: no cell is ever computed.

    Attributes:
        inputs: the rows to explain.
        pool: these rows, then those of the references.
        one_each: whether there is a reference for each row to explain, of one set of references after the
            other.
        nearest: how rows fill in hidden cells, if they do.
    """

    inputs: Rows
    pool: Rows
    one_each: bool
    nearest: NearestRows | None

    @classmethod
    def of(cls, inputs: Any, baselines: Any, forward: Callable[..., Any]) -> Cells | None:
        """The cells of a table and of its references; None where the inputs are no table.

        Args:
            inputs: as the user gave them.
            baselines: see `reference_rows`.
            forward: the model.

        Raises:
            ArgumentError: the table is empty or has two columns of one name, the baselines do not fit it, or
                it is an array for a module of torch.
        """
        if isinstance(inputs, np.ndarray) and module_of(forward) is not None:
            raise ArgumentError(
                "inputs",
                expected="tensors, since the model is a module of torch",
                found="ndarray",
                mend="Convert it with torch.as_tensor(array), or pass a function that takes arrays.",
            )
        rows = rows_of_table(inputs, "inputs")
        if rows is None:
            return None
        _check(rows)
        nearest = baselines.rows if isinstance(baselines, FillIn) else None
        others = reference_rows(baselines if nearest is None else nearest.data, rows)
        return cls(rows, rows.joined(others), callable(baselines) and nearest is None, nearest)

    @cached_property
    def numbers(self) -> Tensor:
        """The number of each cell, long [rows of the pool, columns]."""
        columns = [same_places(self.pool.cells(i)) for i in range(len(self.pool.keys))]
        return torch.from_numpy(np.stack(columns, axis=1))

    @property
    def references(self) -> Baseline:
        """The numbers of the cells that hidden ones show."""
        n, columns = len(self.inputs), len(self.pool.keys)
        found = self.numbers[n:]
        if self.nearest is not None:
            return nearest_cells(found, self._shown, self.nearest)
        if self.one_each:
            return lambda _: found.reshape(-1, n, columns)
        return ReferenceSet(found, self._values(found, is_reference=True))

    def table(self, numbers: Tensor, examples: Tensor | None = None) -> Any:
        """The table of some cells, in the form of the inputs.

        Args:
            numbers: of the cells, long [rows, columns].
            examples: the example of each row, long [rows], where the inputs have an index.
        """
        index = None if examples is None else self.inputs.index_of(examples.cpu().numpy())
        return self.pool.taken(numbers.cpu().numpy(), index)

    @cached_property
    def _shown(self) -> Sequence[Shown]:
        return [
            Shown.of(self.pool, i, numbers.numpy(), len(self.inputs))
            for i, numbers in enumerate(self.numbers.T)
        ]

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the numbers of an explanation stand for."""
        return tuple(shown.column for shown in self._shown)

    def shown(self, blend: Blend) -> Blend:
        """Inputs and references as an explanation holds them, on the CPU: see `columns`."""
        return replace(
            blend.to(torch.device("cpu")),
            inputs=tuple(self._values(x) for x in blend.inputs),
            references=tuple(self._values(b, is_reference=True) for b in blend.references),
        )

    def _values(self, numbers: Tensor, is_reference: bool = False) -> Tensor:
        """Numbers of cells as values, both [..., columns]; NaN for references without a mean."""
        columns = []
        for shown, which in zip(self._shown, numbers.cpu().unbind(-1), strict=True):
            values = torch.from_numpy(shown.values)[which]
            columns.append(values.fill_(torch.nan) if is_reference and not shown.has_mean else values)
        return torch.stack(columns, dim=-1)


def _check(rows: Rows) -> None:
    if not len(rows) or not len(rows.keys):
        raise ArgumentError(
            "inputs",
            expected="at least one row and one column",
            found=f"{len(rows)} rows and {len(rows.keys)} columns",
            mend="Choose rows with frame.iloc[[0]], say: two brackets keep a table.",
        )
    twice = [str(key) for key, n in Counter(rows.keys).items() if n > 1]
    if twice:
        raise ArgumentError(
            "inputs",
            expected="a name of its own for each column",
            found=f"{', '.join(twice)} more than once",
            mend="Rename them, or keep one with frame.loc[:, ~frame.columns.duplicated()].",
        )


class OverCells:
    """The model as a function of the numbers of cells.

    Args:
        forward: takes a table in the form of the inputs.
        cells: of the inputs and references.
    """

    def __init__(self, forward: Callable[..., Any], cells: Cells) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        self._cells, rows = cells, cells.inputs
        takes = f"a function of {rows.described}, which the inputs are"
        self._forward = FirstCall(forward, "forward_func", takes, rows.mend)

    def __call__(self, numbers: Tensor, *arguments: Any) -> Any:
        examples = None
        if self._cells.inputs.has_index:
            examples, *arguments = arguments  # type: ignore[assignment]  # a list will do
        return self._forward(self._cells.table(numbers, examples), *arguments)
