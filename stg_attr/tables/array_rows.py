"""Arrays of NumPy: of numbers or objects, [rows, columns], or structured, [rows] with named fields."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .rows import Places, Rows, cannot_hold, is_missing

__all__ = ["ArrayRows", "RecordRows", "checked_array"]


class ArrayRows(Rows):
    """The rows of an array, [rows, columns]; its columns are known by their numbers."""

    described = "an array of NumPy"

    def __init__(self, array: NDArray[Any]) -> None:
        self.table = array
        self.keys = range(array.shape[1])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, as those of features that have none."""
        return tuple(f"feature {i}" for i in self.keys)

    def dtype(self, column: int) -> Any:
        return self.table.dtype

    def cells(self, column: int) -> NDArray[Any] | list[Any]:
        return _cells(self.table[:, column])

    def objects(self, column: int, places: NDArray[np.int64]) -> list[Any]:
        return list(self.table[places, column])

    def is_numeric(self, column: int) -> bool:
        return self.table.dtype.kind in "biuf"

    def joined(self, other: Rows) -> Rows:
        return ArrayRows(np.concatenate([self.table, other.table]))

    def in_order(self, keys: Sequence[Hashable]) -> Rows:
        return self

    def one(self, values: Mapping[Hashable, Any]) -> Rows:
        row = np.empty((1, len(self.keys)), dtype=self.table.dtype)
        for i, key in enumerate(self.keys):
            _put(row[0], i, values[key], str(key))
        return ArrayRows(row)

    def taken(self, places: Places, index: Any = None) -> Any:
        return np.take_along_axis(self.table, places, axis=0)


class RecordRows(Rows):
    """The rows of a structured array, [rows], whose fields are its columns."""

    described = "a structured array of NumPy"

    def __init__(self, array: NDArray[Any]) -> None:
        self.table = array
        self.keys = list(array.dtype.names or ())

    def dtype(self, column: int) -> Any:
        return self.table.dtype[column]

    def cells(self, column: int) -> NDArray[Any] | list[Any]:
        return _cells(self.table[self.names[column]])

    def objects(self, column: int, places: NDArray[np.int64]) -> list[Any]:
        return list(self.table[self.names[column]][places])

    def is_numeric(self, column: int) -> bool:
        return self.dtype(column).kind in "biuf"

    def joined(self, other: Rows) -> Rows:
        return RecordRows(np.concatenate([self.table, other.table]))

    def in_order(self, keys: Sequence[Hashable]) -> Rows:
        return RecordRows(self.table[list(map(str, keys))])

    def one(self, values: Mapping[Hashable, Any]) -> Rows:
        row = np.empty(1, dtype=self.table.dtype)
        for key in self.names:
            _put(row[key], 0, values[key], key)
        return RecordRows(row)

    def taken(self, places: Places, index: Any = None) -> Any:
        table = np.empty(len(places), dtype=self.table.dtype)
        for i, name in enumerate(self.names):
            table[name] = self.table[name][places[:, i]]
        return table


def _cells(column: NDArray[Any]) -> NDArray[Any] | list[Any]:
    return column if column.dtype.kind in "biufmM" else column.tolist()


def _put(row: NDArray[Any], place: int, cell: Any, name: str) -> None:
    """Write one cell, and check that it is kept."""
    try:
        row[place] = cell
    except (TypeError, ValueError, OverflowError) as error:
        raise cannot_hold(name, row.dtype, cell) from error
    kept = row[place]
    if not (is_missing(cell) if is_missing(kept) else kept is cell or bool(kept == cell)):
        raise cannot_hold(name, row.dtype, cell)


def checked_array(array: NDArray[Any], what: str) -> Rows:
    """The rows of an array.

    Raises:
        ArgumentError: it has no columns, or a mask, or cells that are arrays.
    """
    names = array.dtype.names
    if names is not None and array.ndim == 1 and not any(array.dtype[name].shape for name in names):
        return RecordRows(array)
    if names is None and array.ndim == 2 and not isinstance(array, np.ma.MaskedArray):
        return ArrayRows(array)
    masked = ", masked" if isinstance(array, np.ma.MaskedArray) else ""
    raise ArgumentError(
        what,
        expected="an array [rows, columns], or a structured array [rows]",
        found=f"{array.dtype} of shape {array.shape}{masked}",
        mend="Images, series and tokens are tensors: torch.as_tensor(array). Missing cells are NaN, or None "
        "in an array of objects.",
    )
