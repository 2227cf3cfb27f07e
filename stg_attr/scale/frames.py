"""Columns of DataFrames and of Arrow tables as arrays of NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .rows import check_names

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_columns", "frame_columns"]


def frame_columns(frame: Any) -> dict[str, NDArray[Any]]:
    """Columns of a DataFrame of pandas, Polars or Arrow as arrays.

    Raises:
        ArgumentError: it is no DataFrame, or two columns have the same name.
    """
    import pyarrow as pa

    if type(frame).__module__.split(".")[0] == "pandas" and hasattr(frame, "columns"):
        check_names([str(name) for name in frame.columns])
        return {str(name): _pandas_column(frame[name]) for name in frame.columns}
    if hasattr(frame, "__arrow_c_stream__"):
        table = pa.table(frame)
        check_names(table.column_names)
        return arrow_columns(table)
    raise ArgumentError(
        "dataset",
        expected="a torch Dataset or DataLoader, a DataFrame, the path of a Parquet file or folder, or a "
        "ray.data.Dataset",
        found=type(frame).__name__,
        mend="Wrap tensors in torch.utils.data.TensorDataset.",
    )


def _pandas_column(series: Any) -> NDArray[Any]:
    """A column of pandas as an array.

    Some dtypes hold pd.NA, which NumPy does not have: a missing number becomes NaN, or, among whole numbers
    and truth values, is masked.
    """
    dtype = series.dtype if isinstance(series.dtype, np.dtype) else getattr(series.dtype, "numpy_dtype", None)
    kind = getattr(dtype, "kind", "")
    if kind == "f":
        return series.to_numpy(dtype=dtype, na_value=np.nan)  # type: ignore[no-any-return]  # pandas has no types
    if kind in ("b", "i", "u") and series.hasnans:
        values: NDArray[Any] = np.ma.array(series.to_numpy(dtype=dtype, na_value=0), mask=series.isna())
        return values
    return series.to_numpy(dtype=dtype if kind in ("b", "i", "u") else None)  # type: ignore[no-any-return]  # as above


def arrow_columns(table: pa.Table | pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """Columns of an Arrow table as arrays.

    A missing number becomes NaN. A column of whole numbers or truth values of which some are missing becomes
    a masked array, so that the others stay what they are. A column of lists or tensors becomes an array of
    objects: for each row an array, or None where the row has no value.
    """
    return {field.name: _arrow_column(table.column(field.name), field) for field in table.schema}


def _arrow_column(column: pa.Array | pa.ChunkedArray, field: pa.Field) -> NDArray[Any]:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    is_chunked = isinstance(column, pa.ChunkedArray)
    if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        return _masked(column)
    if not _is_list(column.type):
        array: NDArray[Any] = column.to_numpy() if is_chunked else column.to_numpy(zero_copy_only=False)
        return array
    shape = _tensor_shape(field)
    cells, start = np.empty(len(column), dtype=object), 0
    for chunk in column.chunks if is_chunked else [column]:
        has_value = chunk.is_valid().to_numpy(zero_copy_only=False)
        places = start + np.flatnonzero(has_value)
        for i, value in zip(places, _list_arrays(chunk.drop_null()), strict=True):
            cells[i] = value if shape is None else value.reshape(shape)
        start += len(chunk)
    return cells


def _masked(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Whole numbers or truth values, of which some are missing."""
    import pyarrow as pa

    whole = pa.chunked_array(column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    filler = pa.scalar(0).cast(whole.type)
    values: NDArray[Any] = np.ma.array(whole.fill_null(filler).to_numpy(), mask=whole.is_null().to_numpy())
    return values


def _tensor_shape(field: pa.Field) -> tuple[int, ...] | None:
    """Shape of the cells in a column of tensors, which Arrow stores as flat lists; None for other columns.

    The type of the column holds the shape. In a file that Ray wrote, only the metadata of the column hold it,
    unless Ray has registered its types with Arrow.
    """
    shape = getattr(field.type, "shape", None)
    if shape is None and (field.metadata or {}).get(b"ARROW:extension:name", b"").startswith(b"ray.data."):
        shape = json.loads(field.metadata[b"ARROW:extension:metadata"])
    return tuple(shape) if isinstance(shape, (list, tuple)) else None


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _list_arrays(lists: pa.Array) -> Iterable[Any]:
    """Each list of a column as an array.

    A list whose parts have different lengths stays a Python list; the row is refused later.

    Args:
        lists: a column without missing rows.
    """
    all_lists = _as_one_array(lists)
    if all_lists is not None:
        return all_lists
    # Row by row, because NumPy turns integers with a missing number into floats: only those of one row.
    return (_list_array(cell) for cell in lists)


def _list_array(cell: pa.Scalar) -> Any:
    array = _as_one_array(cell.values, missing_as_nan=True)
    return cell.as_py() if array is None else array


def _as_one_array(values: pa.Array, missing_as_nan: bool = False) -> NDArray[Any] | None:
    """Nested lists as one array; None if their lengths differ or a value is missing.

    Args:
        values: numbers, or lists nested to any depth.
        missing_as_nan: accept missing numbers, as NaN.
    """
    import pyarrow.compute as pc

    shape = [len(values)]
    while _is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values))
        if values.null_count or len(lengths) != 1:
            return None
        shape.append(lengths[0].as_py())
        values = values.flatten()
    if values.null_count and not missing_as_nan:
        return None
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(shape)
    return array
