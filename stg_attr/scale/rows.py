"""Rows: one example of a data set, whatever kind of data set it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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

#: A column of a table, or a place in the tuples or a key of the dictionaries that a torch data set returns.
Name = str | int

_NUMBERS = "biuf"  # kinds of NumPy dtypes that a model can be given


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        position: its place in the data set, or its id in a data set without order.
        id: what the user calls it.
        inputs: the model's inputs, without a batch dimension.
        target: the output to explain; None to leave it to the call.
        error: why the row could not be read; None where it could.
    """

    position: int
    id: int | str
    inputs: tuple[Tensor, ...] = ()
    target: int | tuple[int, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set are what.

    Attributes:
        inputs: the model's inputs; None for all but the other two in a table, and for the first of a tuple.
        id: names a row; None for its position.
        target: the output to explain in each row; None to leave it to the call.
    """

    inputs: tuple[Name, ...] | None = None
    id: Name | None = None
    target: Name | None = None

    @property
    def others(self) -> tuple[Name, ...]:
        """The columns that are no inputs."""
        return tuple(name for name in (self.id, self.target) if name is not None)

    def wanted(self, there: Sequence[str]) -> list[str]:
        """The columns to read from a table.

        Raises:
            ArgumentError: one of them is not there.
        """
        asked = [*(self.inputs or ()), *self.others]
        missing = [name for name in asked if name not in there]
        if missing:
            raise ArgumentError(
                "columns",
                expected=f"columns of the data set, {list(there)[:20]}",
                found=f"{missing}",
                mend="Check the spelling in columns, id_column and target_column.",
            )
        return list(there) if self.inputs is None else [str(name) for name in dict.fromkeys(asked)]


def table_rows(
    table: Mapping[str, NDArray[Any]],
    columns: Columns,
    positions: Sequence[int],
    dtype: torch.dtype | None,
) -> Iterator[Row]:
    """Rows of a table: columns of numbers make up one input, columns of arrays are an input each.

    Args:
        table: columns of one length; a cell may be a number or an array.
        columns: which column is what.
        positions: of the rows.
        dtype: of the inputs; None leaves whole numbers whole.

    Raises:
        ArgumentError: a column holds no numbers, or columns of numbers and of arrays are mixed.
    """
    names = columns.inputs or [name for name in table if name not in columns.others]
    inputs = {str(name): table[str(name)] for name in names}
    ids = positions if columns.id is None else table[str(columns.id)].tolist()
    targets = [None] * len(positions) if columns.target is None else table[str(columns.target)].tolist()
    cells = _cells(inputs, dtype, len(positions))
    for position, row_id, target, values in zip(positions, ids, targets, cells, strict=True):
        yield _checked(position, row_id, target, values)


def _cells(
    inputs: Mapping[str, NDArray[Any]], dtype: torch.dtype | None, n: int
) -> Iterator[tuple[Tensor, ...] | str]:
    """The inputs of each row, or why it has none."""
    scalar = [name for name, values in inputs.items() if values.ndim == 1 and values.dtype.kind in _NUMBERS]
    arrays = [name for name, values in inputs.items() if values.ndim > 1 or _holds_arrays(values)]
    if not inputs or len(inputs) not in (len(scalar), len(arrays)):
        kinds = {name: str(values.dtype) for name, values in inputs.items()}
        raise ArgumentError(
            "columns",
            expected="columns of numbers, which make up one input, or columns of arrays, one input each",
            found=f"numbers in {scalar}, arrays in {arrays}, of {kinds}" if inputs else "no column",
            mend="Name the columns that the model takes with columns=[...].",
        )
    if scalar:
        exact = np.result_type(np.int64, *(values.dtype for values in inputs.values()))  # float64 or int64
        stacked = np.stack([values.astype(exact) for values in inputs.values()], 1)
        return iter([(row,) for row in _tensor(stacked, dtype).unbind(0)])
    return (_arrays({name: values[i] for name, values in inputs.items()}, dtype) for i in range(n))


def _holds_arrays(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "O":
        return False
    first: Any = next((cell for cell in values if cell is not None), [])
    return isinstance(first, (Sequence, np.ndarray, Tensor)) and not isinstance(first, (str, bytes))


def _tensor(values: NDArray[Any], dtype: torch.dtype | None) -> Tensor:
    tensor = torch.from_numpy(values)
    default = torch.get_default_dtype() if tensor.is_floating_point() else torch.long
    return tensor.to(default if dtype is None else dtype)


def _arrays(cells: Mapping[str, Any], dtype: torch.dtype | None) -> tuple[Tensor, ...] | str:
    values = []
    for name, cell in cells.items():
        try:
            array = np.asarray(cell)
        except ValueError as error:
            return f"column {name!r}: {error}"
        if array.dtype.kind not in _NUMBERS:
            return f"column {name!r}: expected numbers; found {'nothing' if cell is None else array.dtype}"
        values.append(_tensor(np.array(array), dtype))
    return tuple(values)


def item_row(item: Any, columns: Columns, position: int) -> Row:
    """A row of a torch data set: a tensor, or a tuple or dictionary of them.

    Raises:
        ArgumentError: it has no such parts.
    """
    if isinstance(item, (Tensor, np.ndarray)):
        item = (item,)
    keys = columns.inputs or (0,)
    try:
        values = tuple(torch.as_tensor(item[key]) for key in keys)
        row_id = position if columns.id is None else item[columns.id]
        target = None if columns.target is None else item[columns.target]
    except (KeyError, IndexError, TypeError) as error:
        found = f"keys {list(item)}" if isinstance(item, Mapping) else type(item).__name__
        raise ArgumentError(
            "columns",
            expected="places or keys in the rows of the data set",
            found=f"{[*keys, *columns.others]} for a row of {found} ({type(error).__name__}: {error})",
            mend="Name the inputs with columns=[...].",
        ) from error
    return _checked(position, _plain(row_id), _plain(target), values)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value


def _checked(position: int, row_id: Any, target: Any, values: tuple[Tensor, ...] | str) -> Row:
    """A row whose id, target and numbers can be used, or one that says why they cannot."""
    row_id = row_id if isinstance(row_id, (int, str)) else str(row_id)
    if isinstance(values, str):
        return Row(position, row_id, error=values)
    for i, value in enumerate(values):
        finite = value.isfinite() if value.is_floating_point() else torch.ones((), dtype=torch.bool)
        if not bool(finite.all()):
            found = f"{int((~finite).sum())} of {value.numel()} NaN or inf"
            return Row(position, row_id, error=f"input {i}: expected finite numbers; found {found}")
    if isinstance(target, float) and target.is_integer():
        target = int(target)  # a column of whole numbers with gaps comes as floats
    if target is not None and not isinstance(target, (int, list, tuple)):
        return Row(position, row_id, error=f"target: expected whole numbers; found {target!r}")
    return Row(position, row_id, values, tuple(target) if isinstance(target, list) else target)


def arrow_columns(table: pa.Table | pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """Columns of an Arrow table as arrays; gaps in numbers become NaN, lists become arrays in cells."""
    return {field.name: _arrow_column(table.column(field.name), field) for field in table.schema}


def _arrow_column(column: pa.Array | pa.ChunkedArray, field: pa.Field) -> NDArray[Any]:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if not _is_list(column.type):
        chunked = isinstance(column, pa.ChunkedArray)
        array: NDArray[Any] = column.to_numpy() if chunked else column.to_numpy(zero_copy_only=False)
        return array
    cells, shape = np.empty(len(column), dtype=object), _tensor_shape(field)
    for i, cell in enumerate(column):
        values = _nested(cell)
        cells[i] = values if shape is None or values is None else values.reshape(shape)
    return cells


def _tensor_shape(field: pa.Field) -> tuple[int, ...] | None:
    """Shape of the cells of a tensor column, which is stored flat; Ray's is told by its metadata alone."""
    shape = getattr(field.type, "shape", None)
    if shape is None and (field.metadata or {}).get(b"ARROW:extension:name", b"").startswith(b"ray.data."):
        shape = json.loads(field.metadata[b"ARROW:extension:metadata"])
    return tuple(shape) if isinstance(shape, (list, tuple)) else None


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _nested(cell: pa.Scalar) -> Any:
    """A list of lists as an array; as it is where its parts do not fit together, to be refused later."""
    if not cell.is_valid:
        return None
    if not _is_list(cell.values.type):
        return cell.values.to_numpy(zero_copy_only=False)
    parts = [_nested(part) for part in cell.values]
    even = len({getattr(part, "shape", None) for part in parts}) == 1
    return np.stack(parts) if even and parts[0] is not None else parts
