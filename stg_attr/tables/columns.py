"""Columns of a table as numbers and texts, for explanations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stg_attr.explanation import Column, Kind

from .rows import Rows, is_missing, same_places

__all__ = ["Shown"]

_EXACT = 2**53  # whole numbers up to here are exact in double precision
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, eq=False)
class Shown:
    """One column, as an explanation shows it.

    Attributes:
        column: what the values stand for.
        values: by the number of a cell, see `Cells`; NaN for cells that are missing or not shown.
        has_mean: whether the references have a mean: numbers do, and texts where all of them are the same.
    """

    column: Column
    values: NDArray[np.float64]
    has_mean: bool

    @classmethod
    def of(cls, rows: Rows, column: int, numbers: NDArray[np.int64], n_inputs: int) -> Shown:
        """Read a column.

        Args:
            rows: inputs, then references.
            column: its place.
            numbers: of its cells, [rows].
            n_inputs: how many of the rows are inputs.
        """
        places = np.unique(numbers)
        cells = rows.objects(column, places)
        kind = _kind([cell for cell in cells if not is_missing(cell)])
        has_mean = kind is not Kind.TEXT or len(np.unique(numbers[n_inputs:])) == 1
        if not has_mean:  # the texts of many references would be too many, and are not shown
            places = np.unique(numbers[:n_inputs])
            cells = rows.objects(column, places)
        values = np.full(len(rows), np.nan)
        there = [(place, cell) for place, cell in zip(places, cells, strict=True) if not is_missing(cell)]
        if kind is Kind.TEXT:
            there = _in_order(there, rows.categories(column))
        for rank, (place, cell) in enumerate(there):
            values[place] = rank if kind is Kind.TEXT else _number(cell)
        texts = tuple(str(cell) for _, cell in there) if kind is Kind.TEXT else ()
        return cls(Column(rows.names[column], kind, texts), values, has_mean)


def _kind(cells: list[Any]) -> Kind:
    """The kind of a column with these cells, of which none is missing."""
    flags = [isinstance(cell, bool | np.bool_) for cell in cells]
    if not cells or any(flags):
        return Kind.TEXT if not all(flags) else Kind.FLAG if cells else Kind.NUMBER
    for kind, types in _KINDS.items():
        if all(isinstance(cell, types) for cell in cells):
            large = kind is Kind.WHOLE and any(abs(int(cell)) > _EXACT for cell in cells)
            return Kind.TEXT if large else kind
    return Kind.TEXT


_KINDS: dict[Kind, tuple[type, ...]] = {
    Kind.WHOLE: (int, np.integer),
    Kind.NUMBER: (int, float, np.integer, np.floating),
    Kind.DATE: (date, np.datetime64),
}


def _number(cell: Any) -> float:
    if isinstance(cell, np.datetime64):
        return float(cell.astype("datetime64[us]").astype(np.int64)) / 1e6
    if isinstance(cell, datetime):
        return float((cell.replace(tzinfo=None) - _EPOCH).total_seconds())
    if isinstance(cell, date):
        return float((cell - _EPOCH.date()).days * 86400)
    return float(cell)


def _in_order(cells: list[tuple[int, Any]], categories: list[Any] | None) -> list[tuple[int, Any]]:
    """Places and cells, in the order of categories, by value, or by text where values have no order."""
    if categories is not None:
        rank = same_places([*categories, *(cell for _, cell in cells)])[len(categories) :].tolist()
        order = sorted(range(len(cells)), key=lambda i: rank[i])
        return [cells[i] for i in order]
    try:
        return sorted(cells, key=lambda pair: pair[1])
    except (TypeError, ValueError):  # arrays raise the latter
        return sorted(cells, key=lambda pair: str(pair[1]))
