"""The data of a report: columns of any kind, beside the explained rows and in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.scale.frames import frame_columns

from .statistics import Array

__all__ = ["Given", "column_rows", "columns_of"]


@dataclass(frozen=True, eq=False)
class Given:
    """The data that were explained, one row for each explained row and in their order.

    Attributes:
        data: as the user gave them: a DataFrame, or a tensor [rows, ...]; None if nothing was given.
        columns: one array for each column, in the order of the data; none for images.
        inputs: the columns that the model gets.
        places: where each explained row is in the data, long [rows].
        id_column: the column that holds the ids; None where ids are positions.
    """

    data: Any
    columns: Mapping[str, Array]
    inputs: tuple[str, ...]
    places: Array
    id_column: str | None

    @classmethod
    def of(
        cls,
        data: Any,
        ids: Sequence[int | str | None],
        names: Sequence[str],
        columns: Sequence[str] | None,
        id_column: str | None,
    ) -> Given:
        """Match the data with the explained rows.

        Args:
            data: a DataFrame, a tensor [rows, ...], the path of a Parquet file, or None.
            ids: of the explained rows.
            names: of the features, which are those of the columns of a tensor where the numbers agree.
            columns: those that the model gets; None for all but the ids.
            id_column: the column that holds the ids; None for positions.

        Raises:
            ArgumentError: the data cannot be read, or lack a column or a row.
        """
        data = _read(data)
        found = columns_of(data, names)
        if id_column is not None and id_column not in found:
            raise _no_column("id_column", id_column, found)
        missing = [name for name in columns or () if name not in found]
        if missing:
            raise _no_column("columns", missing[0], found)
        inputs = tuple(columns) if columns is not None else tuple(n for n in found if n != id_column)
        n = 0 if data is None else len(data)
        return cls(data, found, inputs, _places(ids, found, id_column, n), id_column)

    def __len__(self) -> int:
        return 0 if self.data is None else len(self.data)

    @property
    def is_table(self) -> bool:
        """Whether the data are a DataFrame."""
        return hasattr(self.data, "columns")

    def column(self, name: str) -> Array:
        """The cells of a column, one for each explained row.

        Raises:
            ArgumentError: there is no such column.
        """
        if name not in self.columns:
            raise _no_column("cohorts", name, self.columns)
        return self.columns[name][self.places]

    def rows(self, index: Array, as_table: bool, dtype: torch.dtype | None) -> Any:
        """What the model gets for some explained rows: a DataFrame, or a tensor [rows, ...].

        Args:
            index: numbers of explained rows, long [rows].
            as_table: a DataFrame, with cells of any kind.
            dtype: of tensors that are made from a table; None keeps whole numbers.

        Raises:
            ArgumentError: the data were not given, or are no numbers.
        """
        if self.data is None:
            raise ArgumentError(
                "data",
                expected="the rows that were explained, since the explainer is given",
                found="None",
                mend="Pass the DataFrame or tensor that was explained.",
            )
        places = self.places[index]
        if isinstance(self.data, Tensor):
            return self.data[torch.from_numpy(places).to(self.data.device)]
        if as_table:
            return _taken(self.data, list(self.inputs), places)
        return as_tensor([self.columns[name][places] for name in self.inputs], self.inputs, dtype)


def as_tensor(columns: Sequence[Array], names: Sequence[str], dtype: torch.dtype | None) -> Tensor:
    """Columns of numbers as one tensor [rows, columns].

    Raises:
        ArgumentError: a column holds no numbers.
    """
    wrong = [name for name, values in zip(names, columns, strict=True) if values.dtype.kind not in "biuf"]
    if wrong:
        raise ArgumentError(
            "columns",
            expected="columns of numbers, since the baselines are no table",
            found=f"other cells in {wrong[0]!r}",
            mend="Name the columns that the model gets with columns=[...], as for explain_dataset.",
        )
    stacked = torch.from_numpy(np.stack([np.ma.getdata(values) for values in columns], 1))
    default = torch.get_default_dtype() if stacked.is_floating_point() else torch.long
    return stacked.to(default if dtype is None else dtype)


def _read(data: Any) -> Any:
    if not isinstance(data, str | Path):
        return data
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(data)
    except (OSError, pa.ArrowException) as error:
        raise ArgumentError(
            "data",
            expected="a Parquet file, or a folder of them, that can be read",
            found=f"{data}: {' '.join(str(error).split())}",
            mend="Check the path, or pass a DataFrame.",
        ) from error


def columns_of(data: Any, names: Sequence[str]) -> dict[str, Array]:
    """The columns of a DataFrame, or of a tensor [rows, columns]; none of anything else.

    Args:
        data: as the user gave it.
        names: of features, which name the columns of a tensor if they are as many.
    """
    if data is None:
        return {}
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.dtype.names is None:
        data = torch.from_numpy(data)
    if not isinstance(data, Tensor):
        return frame_columns(data)
    if data.dim() != 2:
        return {}
    named = names if len(names) == data.shape[1] else [f"column {i}" for i in range(data.shape[1])]
    return dict(zip(named, data.detach().cpu().numpy().T, strict=True))


def _places(ids: Sequence[Any], columns: Mapping[str, Array], id_column: str | None, n: int) -> Array:
    """Where each explained row is in the data."""
    if not n:
        return np.zeros(0, dtype=np.int64)
    if id_column is None:
        found = [i if isinstance(i, int) and 0 <= i < n else None for i in ids]
    else:
        cells = columns[id_column].tolist()
        known = {_as_id(cell): place for place, cell in enumerate(cells)}
        found = [known.get(_as_id(i)) for i in ids]
    lost = [i for i, place in zip(ids, found, strict=True) if place is None and i is not None]
    if lost:
        raise ArgumentError(
            "data",
            expected=f"a row for each of {len(ids)} explained rows",
            found=f"{n} rows, and none with the id {lost[0]!r}",
            mend="Pass the data that were explained, with id_column if the run had one.",
        )
    return np.array([0 if place is None else place for place in found], dtype=np.int64)


def _as_id(value: Any) -> str:
    return str(value)


def _taken(frame: Any, columns: list[str], places: Array) -> Any:
    if hasattr(frame, "iloc"):
        return frame[columns].iloc[places].reset_index(drop=True)
    if hasattr(frame, "take") and hasattr(frame, "to_pandas"):  # of Arrow
        return frame.select(columns).take(places).to_pandas()
    return frame[columns][places]


def _no_column(what: str, name: str, columns: Mapping[str, Array]) -> ArgumentError:
    return ArgumentError(
        what,
        expected=f"columns of the data: {', '.join(list(columns)[:20]) or 'there are none'}",
        found=repr(name),
        mend="Check the name, or pass the values: cohorts={'name': values}.",
    )


def column_rows(values: Any, n: int, what: str) -> Array:
    """Values that the user gave for each explained row, [rows].

    Raises:
        ArgumentError: they are not as many.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or len(array) != n:
        raise ArgumentError(
            what,
            expected=f"one value for each of {n} explained rows",
            found=f"shape {array.shape}",
            mend="Give them in the order of the explained rows.",
        )
    return array
