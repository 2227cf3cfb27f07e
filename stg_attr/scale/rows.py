"""One row of a data set in one form, whatever kind of data set it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["Columns", "Name", "Row", "check_names", "id_type_of", "item_row", "table_rows"]

#: The name of a column of a table; or, for a torch data set, an index into its tuples or a key of its
#: dictionaries.
Name = str | int

_NUMBERS = "biuf"  # kinds of NumPy dtypes that a model accepts: bool, int, unsigned int, float


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        position: index in the data set; for a data set without order, the id.
        id: the value of the id column; the position by default; None if the row has no id.
        inputs: the model's inputs, without a batch dimension.
        target: the output to explain; None to use the target of the call.
        error: why the row cannot be used; None if it can.
    """

    position: int
    id: int | str | None
    inputs: tuple[Tensor, ...] = ()
    target: int | tuple[int, ...] | None = None
    error: str | None = None

    def with_id_of(self, id_type: str) -> Row:
        """The row with an id that a column of this type can store, or with the reason why it has none.

        Args:
            id_type: Arrow type of the row ids, `int64` or `string`.
        """
        if self.id is None:
            return self if self.error else replace(self, error="id: expected a value; found nothing")
        if id_type == "string":
            return replace(self, id=str(self.id))
        if isinstance(self.id, int) and -(2**63) <= self.id < 2**63:
            return self
        reason = f"id: expected a whole number of 64 bits, as in the first row; found {self.id!r}"
        return replace(self, id=None, error=self.error or reason)


def id_type_of(ids: NDArray[Any]) -> str:
    """Arrow type for the ids of a column: `int64` for whole numbers that fit into it, else `string`."""
    if ids.dtype.kind == "O":
        found = [value for value in ids.tolist() if value is not None]
        return "int64" if found and all(type(value) is int for value in found) else "string"
    whole = ids.dtype.kind == "i" or (ids.dtype.kind == "u" and ids.dtype.itemsize < 8)
    return "int64" if whole else "string"


def check_names(names: Sequence[str]) -> None:
    """Check that the columns of a table have different names.

    Raises:
        ArgumentError: two have the same.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(
            "dataset",
            expected="columns with different names",
            found=f"several with the name {twice[0]!r}",
            mend="Rename them.",
        )


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
            ArgumentError: the table does not have one of them, or has two of one name.
        """
        check_names(available)
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
        yield _checked_row(columns, position, row_id, target, row_values)


def _input_values(
    inputs: Mapping[str, NDArray[Any]], dtype: torch.dtype | None, n_rows: int
) -> Iterator[tuple[Tensor, ...] | str]:
    """The inputs of each row, or the reason why a row cannot be used."""
    if _hold_numbers(inputs):
        exact = np.result_type(np.int64, *(values.dtype for values in inputs.values()))  # float64 or int64
        stacked = np.stack([np.ma.getdata(values).astype(exact) for values in inputs.values()], 1)
        missing = np.stack([np.ma.getmaskarray(values) for values in inputs.values()], 1)
        rows: list[tuple[Tensor, ...] | str] = [(row,) for row in _as_tensor(stacked, dtype).unbind(0)]
        for i in np.flatnonzero(missing.any(1)).tolist():
            rows[i] = f"column {list(inputs)[missing[i].argmax()]!r}: expected numbers; found nothing"
        return iter(rows)
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
        ArgumentError: the first row does not have one of these elements.
    """
    if isinstance(item, (Tensor, np.ndarray)):
        item = (item,)
    keys = columns.inputs or (0,)
    try:
        given = [item[key] for key in keys]
        row_id = position if columns.id is None else item[columns.id]
        target = None if columns.target is None else item[columns.target]
    except (KeyError, IndexError, TypeError) as error:
        if position:  # the first row has them, so that only this row is broken
            return Row(position, position, error=f"{type(error).__name__}: {error}")
        found = f"keys {list(item)}" if isinstance(item, Mapping) else f"type {type(item).__name__}"
        raise ArgumentError(
            "columns",
            expected="indices or keys that the rows of the data set have",
            found=f"{[*keys, *columns.others]} for a row with {found} ({type(error).__name__}: {error})",
            mend="Name the inputs with columns=[...].",
        ) from error
    values = _item_values(keys, given)
    return _checked_row(columns, position, _as_python(row_id), _as_python(target), values)


def _item_values(keys: Sequence[Name], given: Sequence[Any]) -> tuple[Tensor, ...] | str:
    """Elements of an item as tensors, or the reason why one of them cannot be used."""
    values = []
    for key, value in zip(keys, given, strict=True):
        try:
            values.append(torch.as_tensor(value))
        except (TypeError, ValueError, RuntimeError) as error:
            return f"element {key!r}: expected numbers; found {type(value).__name__} ({error})"
    return tuple(values)


def _as_python(value: Any) -> Any:
    return value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value


def _checked_row(
    columns: Columns, position: int, row_id: Any, target: Any, values: tuple[Tensor, ...] | str
) -> Row:
    """A row with inputs and a target that can be used, or a row with the reason why they cannot."""
    if row_id is None or row_id != row_id:  # NaN
        row_id = None
    elif not isinstance(row_id, (int, str)):
        row_id = str(row_id)
    if isinstance(values, str):
        return Row(position, row_id, error=values)
    for i, value in enumerate(values):
        finite = value.isfinite() if value.is_floating_point() else torch.ones((), dtype=torch.bool)
        if not bool(finite.all()):
            found = f"{int((~finite).sum())} of {value.numel()} NaN or inf"
            return Row(position, row_id, error=f"input {i}: expected finite numbers; found {found}")
    if isinstance(target, float) and target.is_integer():
        target = int(target)  # pandas stores integers with missing values as floats
    if columns.target is not None and not isinstance(target, (int, list, tuple)):
        found = "nothing" if target is None else repr(target)
        return Row(position, row_id, error=f"target: expected whole numbers; found {found}")
    return Row(position, row_id, values, tuple(target) if isinstance(target, list) else target)
