"""Rows: a table of one library, seen in the same way whatever the library is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

__all__ = ["Places", "Rows", "cannot_hold", "is_missing", "same_places"]

#: For each column of a table one number of a row in another table: [rows, columns].
Places = NDArray[np.int64]


class Rows(ABC):
    """The rows of a table.

    Attributes:
        table: as the user gave it.
        keys: of its columns, in order, by which its library knows them.
    """

    table: Any
    keys: Sequence[Hashable]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(str(key) for key in self.keys)

    def __len__(self) -> int:
        return len(self.table)

    #: What the table is, in words, and what to do where a model cannot take it.
    described: str
    mend: str = (
        "It is called with a table of the same columns and types. Pass a function of that which calls the "
        "model, such as pipeline.predict_proba, or lambda table: model.predict(prepare.transform(table))."
    )

    @abstractmethod
    def dtype(self, column: int) -> Any:
        """The type of a column, which can be compared and shown."""

    @abstractmethod
    def cells(self, column: int) -> NDArray[Any] | list[Any]:
        """The cells of a column: an array of numbers or times, else a list of objects."""

    @abstractmethod
    def objects(self, column: int, places: NDArray[np.int64]) -> list[Any]:
        """The cells of a column in some rows, as objects."""

    @abstractmethod
    def is_numeric(self, column: int) -> bool:
        """Whether a column has a type of numbers."""

    def categories(self, column: int) -> list[Any] | None:
        """The cells that a column may have, in order, where its type lists them."""
        return None

    @abstractmethod
    def joined(self, other: Rows) -> Rows:
        """These rows and those of a table with the same columns and types, below each other."""

    @abstractmethod
    def in_order(self, keys: Sequence[Hashable]) -> Rows:
        """The same rows with the same columns in another order."""

    @abstractmethod
    def one(self, values: Mapping[Hashable, Any]) -> Rows:
        """One row with the columns and types of this table.

        Args:
            values: a cell for each column.

        Raises:
            ArgumentError: a column cannot hold its cell.
        """

    @abstractmethod
    def taken(self, places: Places, index: Any = None) -> Any:
        """A table as the user knows it, each cell of which is one of the same column in these rows.

        Args:
            places: the row of each cell, [rows, columns].
            index: of the table, from `index_of`; None for numbers.
        """

    @property
    def has_index(self) -> bool:
        """Whether rows have labels that say more than a number."""
        return False

    def index_of(self, places: NDArray[np.int64]) -> Any:
        """The labels of some rows."""
        return None


def same_places(cells: NDArray[Any] | list[Any]) -> NDArray[np.int64]:
    """For each cell the place of the first one that equals it; missing cells equal each other.

    Numbers are compared bit by bit, and objects only with those of their own type: 1, 1.0 and True differ.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biufmM" and cells.dtype.itemsize <= 8:
        bits = np.ascontiguousarray(cells).view(f"i{cells.dtype.itemsize}")
        _, first, place = np.unique(bits, return_index=True, return_inverse=True)
        found: NDArray[np.int64] = first[place.reshape(-1)].astype(np.int64)
        return found
    seen: dict[Hashable, int] = {}
    keys = (_key(cell) for cell in cells)
    return np.array([seen.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def _key(cell: Any) -> Any:
    if is_missing(cell):
        return type(cell)
    try:
        hash(cell)
    except TypeError:  # a list or an array is only itself
        return id(cell)
    return type(cell), cell


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or pandas' NA."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return isinstance(cell, float | np.floating) and bool(cell != cell)


def cannot_hold(name: str, dtype: Any, cell: Any) -> ArgumentError:
    """The error for a cell that its column cannot hold."""
    return ArgumentError(
        "baselines",
        expected=f"a cell that column {name!r} of type {dtype} can hold",
        found=repr(cell),
        mend="Pass rows of the same table, such as frame.sample(100), or a mapping with a cell per column.",
    )
