"""DataFrames of Polars; it is imported only by users, who pass such a table."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rows import Places, Rows, cannot_hold, is_missing

__all__ = ["PolarsRows"]


class PolarsRows(Rows):
    """The rows of a DataFrame of Polars."""

    described = "a DataFrame of Polars"

    def __init__(self, frame: Any) -> None:
        self.table = frame
        self.keys = frame.columns

    def dtype(self, column: int) -> Any:
        return self.table.dtypes[column]

    def cells(self, column: int) -> NDArray[Any] | list[Any]:
        series = self.table.to_series(column)
        plain = series.dtype.is_numeric() and not series.dtype.is_decimal() and not series.null_count()
        return np.asarray(series.to_numpy()) if plain else list(series.to_list())

    def objects(self, column: int, places: NDArray[np.int64]) -> list[Any]:
        return list(self.table.to_series(column).gather(places.tolist()).to_list())

    def is_numeric(self, column: int) -> bool:
        return bool(self.dtype(column).is_numeric())

    def categories(self, column: int) -> list[Any] | None:
        known: Any = getattr(self.dtype(column), "categories", None)  # an Enum has a Series of texts
        return list(known) if hasattr(known, "to_list") else None

    def joined(self, other: Rows) -> Rows:
        return PolarsRows(self.table.vstack(other.table).rechunk())

    def in_order(self, keys: Sequence[Hashable]) -> Rows:
        return PolarsRows(self.table.select(list(keys)))

    def one(self, values: Mapping[Hashable, Any]) -> Rows:
        polars: Any = sys.modules["polars"]
        columns = []
        for i, key in enumerate(self.keys):
            try:
                series = polars.Series(str(key), [values[key]], dtype=self.dtype(i), strict=True)
            except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError) as error:
                raise cannot_hold(str(key), self.dtype(i), values[key]) from error
            if series.is_null()[0] and not is_missing(values[key]):
                raise cannot_hold(str(key), self.dtype(i), values[key])
            columns.append(series)
        return PolarsRows(polars.DataFrame(columns))

    def taken(self, places: Places, index: Any = None) -> Any:
        polars: Any = sys.modules["polars"]
        columns = [self.table.to_series(i).gather(places[:, i]) for i in range(len(self.keys))]
        return polars.DataFrame(columns)
