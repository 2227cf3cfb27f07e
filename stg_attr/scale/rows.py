"""One row of a data set in one form, whatever kind of data set it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.errors import ArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Columns", "Name", "Row", "arrow_columns", "item_row", "table_rows"]

#: The name of a column of a table; or, for a torch data set, an index into its tuples or a key of its
#: dictionaries.
Name = str | int

_NUMBERS = "biuf"  # kinds of NumPy dtypes that a model accepts: bool, int, unsigned int, float


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        position: index in the data set; for a data set without order, the id.
        id: the value of the id column; the position by default.
        inputs: the model's inputs, without a batch dimension.
        target: the output to explain; None to use the target of the call.
        error: why the row could not be read; None if it could.
    """

    position: int
    id: int | str
    inputs: tuple[Tensor, ...] = ()
    target: int | tuple[int, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set hold the inputs, the ids and the targets.

    Attributes:
        inputs: the model's inputs. None for all columns of a table except the other two, or for the first
            element of a tuple.
        id: the id of each row; None to use its position.
        target: the output to explain in each row; None to use the target of the call.
    """

    inputs: tuple[Name, ...] | None = None
    id: Name | None = None
    target: Name | None = None

    @property
    def others(self) -> tuple[Name, ...]:
        """The columns that do not hold inputs."""
        return tuple(name for name in (self.id, self.target) if name is not None)

    def to_read(self, available: Sequence[str]) -> list[str]:
        """The columns to read from a table.

        Args:
            available: all columns of the table.

        Raises:
            ArgumentError: the table does not have one of them.
        """
        named = [*(self.inputs or ()), *self.others]
        missing = [name for name in named if name not in available]
        if missing:
            raise ArgumentError(
                "columns",
                expected=f"columns of the data set, {list(available)[:20]}",
                found=f"{missing}",
                mend="Check the spelling in columns, id_column and target_column.",
            )
        return list(available) if self.inputs is None else [str(name) for name in dict.fromkeys(named)]


def table_rows(
    table: Mapping[str, NDArray[Any]],
    columns: Columns,
    positions: Sequence[int],
    dtype: torch.dtype | None,
) -> Iterator[Row]:
    """Rows of a table. All columns of numbers together are one input; each column of arrays is one input.

    Args:
        table: columns of equal length; a cell is a number or an array.
        columns: which columns hold the inputs, the ids and the targets.
        positions: of the rows.
        dtype: of the inputs. None keeps integers as integers.

    Raises:
        ArgumentError: a column does not hold numbers, or some columns hold numbers and others arrays.
    """
    names = columns.inputs or [name for name in table if name not in columns.others]
    inputs = {str(name): table[str(name)] for name in names}
    ids = positions if columns.id is None else table[str(columns.id)].tolist()
    targets = [None] * len(positions) if columns.target is None else table[str(columns.target)].tolist()
    values = _input_values(inputs, dtype, len(positions))
    for position, row_id, target, row_values in zip(positions, ids, targets, values, strict=True):
        yield _checked_row(position, row_id, target, row_values)


def _input_values(
    inputs: Mapping[str, NDArray[Any]], dtype: torch.dtype | None, n_rows: int
) -> Iterator[tuple[Tensor, ...] | str]:
    """The inputs of each row, or the reason why a row cannot be used."""
    if _hold_numbers(inputs):
        exact = np.result_type(np.int64, *(values.dtype for values in inputs.values()))  # float64 or int64
        stacked = np.stack([values.astype(exact) for values in inputs.values()], 1)
        return iter([(row,) for row in _as_tensor(stacked, dtype).unbind(0)])
    return (_arrays({name: values[i] for name, values in inputs.items()}, dtype) for i in range(n_rows))


def _hold_numbers(inputs: Mapping[str, NDArray[Any]]) -> bool:
    """Whether all columns hold numbers (True) or all hold arrays (False).

    Raises:
        ArgumentError: neither is so.
    """
    numbers = [name for name, values in inputs.items() if values.ndim == 1 and values.dtype.kind in _NUMBERS]
    arrays = [name for name, values in inputs.items() if values.ndim > 1 or _holds_arrays(values)]
    if not inputs or len(inputs) not in (len(numbers), len(arrays)):
        kinds = {name: str(values.dtype) for name, values in inputs.items()}
        raise ArgumentError(
            "columns",
            expected="columns of numbers, which together are one input, or columns of arrays, one input each",
            found=f"numbers in {numbers}, arrays in {arrays}, of {kinds}" if inputs else "no column",
            mend="Name the columns of the model's inputs with columns=[...].",
        )
    return bool(numbers)


def _holds_arrays(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "O":
        return False
    first: Any = next((cell for cell in values if cell is not None), [])
    return isinstance(first, (Sequence, np.ndarray, Tensor)) and not isinstance(first, (str, bytes))


def _as_tensor(values: NDArray[Any], dtype: torch.dtype | None) -> Tensor:
    tensor = torch.from_numpy(values)
    default = torch.get_default_dtype() if tensor.is_floating_point() else torch.long
    return tensor.to(default if dtype is None else dtype)


def _arrays(cells: Mapping[str, Any], dtype: torch.dtype | None) -> tuple[Tensor, ...] | str:
    """The cells of one row as tensors, or the reason why one of them cannot be used."""
    values = []
    for name, cell in cells.items():
        try:
            array = np.asarray(cell)
        except ValueError as error:
            return f"column {name!r}: {error}"
        if array.dtype.kind not in _NUMBERS:
            return f"column {name!r}: expected numbers; found {'nothing' if cell is None else array.dtype}"
        values.append(_as_tensor(np.array(array), dtype))  # a copy: Arrow's memory is read-only
    return tuple(values)


def item_row(item: Any, columns: Columns, position: int) -> Row:
    """A row of a torch data set.

    Args:
        item: what the data set returns for one index: a tensor, or a tuple or dictionary of tensors.
        columns: which elements hold the inputs, the id and the target.
        position: of the row.

    Raises:
        ArgumentError: the item does not have one of these elements.
    """
    if isinstance(item, (Tensor, np.ndarray)):
        item = (item,)
    keys = columns.inputs or (0,)
    try:
        values = tuple(torch.as_tensor(item[key]) for key in keys)
        row_id = position if columns.id is None else item[columns.id]
        target = None if columns.target is None else item[columns.target]
    except (KeyError, IndexError, TypeError) as error:
        found = f"keys {list(item)}" if isinstance(item, Mapping) else f"type {type(item).__name__}"
        raise ArgumentError(
            "columns",
            expected="indices or keys that the rows of the data set have",
            found=f"{[*keys, *columns.others]} for a row with {found} ({type(error).__name__}: {error})",
            mend="Name the inputs with columns=[...].",
        ) from error
    return _checked_row(position, _as_python(row_id), _as_python(target), values)


def _as_python(value: Any) -> Any:
    return value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value


def _checked_row(position: int, row_id: Any, target: Any, values: tuple[Tensor, ...] | str) -> Row:
    """A row with inputs and a target that can be used, or a row with the reason why they cannot."""
    row_id = row_id if isinstance(row_id, (int, str)) else str(row_id)
    if isinstance(values, str):
        return Row(position, row_id, error=values)
    for i, value in enumerate(values):
        finite = value.isfinite() if value.is_floating_point() else torch.ones((), dtype=torch.bool)
        if not bool(finite.all()):
            found = f"{int((~finite).sum())} of {value.numel()} NaN or inf"
            return Row(position, row_id, error=f"input {i}: expected finite numbers; found {found}")
    if isinstance(target, float) and target.is_integer():
        target = int(target)  # pandas stores integers with missing values as floats
    if target is not None and not isinstance(target, (int, list, tuple)):
        return Row(position, row_id, error=f"target: expected whole numbers; found {target!r}")
    return Row(position, row_id, values, tuple(target) if isinstance(target, list) else target)


def arrow_columns(table: pa.Table | pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """Columns of an Arrow table as arrays.

    A missing number becomes NaN. A column of lists or tensors becomes an array of objects: for each row an
    array, or None where the row has no value.
    """
    return {field.name: _arrow_column(table.column(field.name), field) for field in table.schema}


def _arrow_column(column: pa.Array | pa.ChunkedArray, field: pa.Field) -> NDArray[Any]:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    is_chunked = isinstance(column, pa.ChunkedArray)
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
