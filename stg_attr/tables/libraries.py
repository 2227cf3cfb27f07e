"""Libraries of tables: none is imported here, since a table comes from one that the user has imported."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from stg_attr.errors import ArgumentError

from .array_rows import checked_array
from .pandas_rows import PandasRows
from .polars_rows import PolarsRows
from .rows import Rows

__all__ = ["rows_of_table"]


def rows_of_table(table: Any, what: str) -> Rows | None:
    """The rows of a table; None of what is no table.

    Args:
        table: as the user gave it.
        what: the argument that it is, for the error.

    Raises:
        ArgumentError: it is a single row or column, not there yet, or an array of another shape.
    """
    if isinstance(table, np.ndarray):
        return checked_array(table, what)
    pandas: Any = sys.modules.get("pandas")
    polars: Any = sys.modules.get("polars")
    if pandas is not None and isinstance(table, pandas.DataFrame):
        return PandasRows(table)
    if polars is not None and isinstance(table, polars.DataFrame):
        return PolarsRows(table)
    mends = {
        (pandas, "Series"): "Keep the table with two brackets: frame.iloc[[0]].",
        (polars, "Series"): "Keep the table with a slice: frame[:1].",
        (polars, "LazyFrame"): "Read it first: frame.collect().",
    }
    for (library, name), mend in mends.items():
        if library is not None and isinstance(table, getattr(library, name)):
            raise ArgumentError(what, expected="a table, [rows, columns]", found=f"a {name}", mend=mend)
    return None
