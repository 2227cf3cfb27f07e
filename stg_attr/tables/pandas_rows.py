"""DataFrames of pandas; it is imported only by users, who pass such a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rows import Places, Rows, cannot_hold, is_missing

__all__ = ["PandasRows"]


class PandasRows(Rows):
    """The rows of a DataFrame of pandas."""

    described = "a DataFrame of pandas"

    def __init__(self, frame: Any) -> None:
        self.table = frame
        self.keys = list(frame.columns)

    def dtype(self, column: int) -> Any:
        return self.table.dtypes.iloc[column]

    def cells(self, column: int) -> NDArray[Any] | list[Any]:
        series = self.table.iloc[:, column]
        if self.categories(column) is not None:
            return np.asarray(series.cat.codes)
        plain = isinstance(series.dtype, np.dtype) and series.dtype.kind in "biufmM"
        return np.asarray(series) if plain else list(series)

    def objects(self, column: int, places: NDArray[np.int64]) -> list[Any]:
        return list(self.table.iloc[places, column])

    def is_numeric(self, column: int) -> bool:
        import pandas as pd

        return bool(pd.api.types.is_numeric_dtype(self.dtype(column)))

    def categories(self, column: int) -> list[Any] | None:
        known = getattr(self.dtype(column), "categories", None)
        return None if known is None else list(known)

    def joined(self, other: Rows) -> Rows:
        import pandas as pd

        frames = [self.table, other.table]
        return PandasRows(pd.concat(frames, ignore_index=True))

    def in_order(self, keys: Sequence[Hashable]) -> Rows:
        return PandasRows(self.table[list(keys)])

    def one(self, values: Mapping[Hashable, Any]) -> Rows:
        import pandas as pd

        cells = [_one_cell(key, values[key], self.dtype(i)) for i, key in enumerate(self.keys)]
        frame = pd.concat(cells, axis=1, keys=range(len(cells)))
        return PandasRows(frame.set_axis(self.table.columns, axis=1))

    def taken(self, places: Places, index: Any = None) -> Any:
        import pandas as pd

        index = pd.RangeIndex(len(places)) if index is None else index
        columns = {}
        for i in range(len(self.keys)):
            cells = self.table.iloc[:, i].array
            # with the dtype, since pandas takes objects that are all texts for strings
            columns[i] = pd.Series(cells.take(places[:, i]), index=index, dtype=self.dtype(i), copy=False)
        return pd.DataFrame(columns, copy=False).set_axis(self.table.columns, axis=1)

    @property
    def has_index(self) -> bool:
        import pandas as pd

        return not pd.api.types.is_integer_dtype(self.table.index.dtype)

    def index_of(self, places: NDArray[np.int64]) -> Any:
        return self.table.index.take(places)


def _one_cell(key: Hashable, cell: Any, dtype: Any) -> Any:
    """A column of one cell, of a given type."""
    import pandas as pd

    known = getattr(dtype, "categories", None)
    if known is not None and not is_missing(cell) and cell not in list(known):
        raise cannot_hold(str(key), dtype, cell)
    try:
        series = pd.Series([cell], dtype=object).astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise cannot_hold(str(key), dtype, cell) from error
    kept = series.iloc[0]
    same = is_missing(cell) if is_missing(kept) else type(kept) is type(cell) or bool(kept == cell)
    if not same:
        raise cannot_hold(str(key), dtype, cell)
    return series
