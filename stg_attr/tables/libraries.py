"""Libraries of tables: none is imported here, since a table comes from one that the user has imported."""

from __future__ import annotations

import sys
from typing import Any

from .pandas_rows import PandasRows
from .rows import Rows

__all__ = ["rows_of_table"]


def rows_of_table(table: Any) -> Rows | None:
    """The rows of a table; None of what is no table."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(table, pandas.DataFrame):
        return PandasRows(table)
    return None
