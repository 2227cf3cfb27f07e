"""The batch axis: take rows of records, move them to a device, and join them, once for all records.

A record is a dataclass. The metadata of each field says where its batch axis is::

    @dataclass(frozen=True)
    class Scores(Batch):
        kept: Tensor = field(metadata=per_example())             # [batch, ...]
        trace: Tensor = field(metadata=per_example(axis=1))      # [steps, batch]
        mask: Tensor = field(metadata=per_example(shared=True))  # [1 or batch, ...]
        seed: int                                                # one value for all examples

A field may hold a tensor, another record, a tuple of these, a tuple with one entry per example, or None.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import Field, asdict, dataclass, fields, replace
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["AsText", "Batch", "Holds", "by_name", "per_example"]

B = TypeVar("B", bound="Batch")


@dataclass(frozen=True)
class Holds:
    """What the tensor of a field must look like; a record that is read from a file is checked against it.

    Attributes:
        shape: names of its dimensions, such as ("batch", "gates"); dimensions of the same name have the same
            size. None where it is not checked.
        kind: float, int or bool.
        low: its smallest value.
        high: its largest value.
        may_be_nan: whether it may hold NaN.
    """

    shape: tuple[str, ...] | None = None
    kind: type = float
    low: float | None = None
    high: float | None = None
    may_be_nan: bool = False


@dataclass(frozen=True)
class AsText:
    """How a field that holds no tensors is written to a file.

    Attributes:
        write: makes a value that JSON can hold of the field's value.
        read: makes the field's value of that again.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def by_name(parameter: str, kinds: Sequence[type], mend: str) -> AsText:
    """Write a frozen dataclass as the name of its class and its values; only some classes can be read again.

    Args:
        parameter: what holds the value, for the error message.
        kinds: classes that can be read again.
        mend: what the user does with a value of another class.
    """
    known = {kind.__name__: kind for kind in kinds}

    def write(value: Any) -> Any:
        name = type(value).__name__
        if name not in known:
            expected = f"one of {sorted(known)}, since a file holds no code"
            raise ArgumentError(parameter, expected=expected, found=name, mend=mend)
        return [name, asdict(value)]

    def read(text: Any) -> Any:
        name, values = text
        return known[name](**values)

    return AsText(write, read)


@dataclass(frozen=True)
class _Axis:
    """Where the batch axis of a field is; see `per_example`."""

    axis: int
    shared: bool
    blank: float


def per_example(
    axis: int = 0,
    *,
    shared: bool = False,
    blank: float = 0,
    holds: Holds = Holds(),
    as_text: AsText | None = None,
) -> dict[str, Any]:
    """The metadata of a field that has one entry per example.

    Args:
        axis: where a tensor of it has its batch axis, 0 or 1.
        shared: its batch axis may have the length 1: one row then stands for all examples.
        blank: the value for an example of which nothing is known.
        holds: what its tensor must look like.
        as_text: how it is written to a file if it holds no tensors.
    """
    return {"axis": _Axis(axis, shared, blank), "holds": holds, "as_text": as_text}


class Batch:
    """A record of a batch of examples; subclasses are dataclasses with fields described by `per_example`."""

    def rows(self: B, rows: slice | Tensor) -> B:
        """The record of some examples.

        Args:
            rows: which, a slice or long [rows]; a tensor may name an example several times.
        """
        changed, values = {}, self.__dict__
        for name, axis in _batched(cast(Any, type(self))):
            old = values[name]
            new = None if old is None else _rows(old, rows, axis)
            if new is not old:
                changed[name] = new
        # A record in which nothing changes is returned as the same object, since it may hold cached values.
        return _with(self, changed) if changed else self

    def to(self: B, device: torch.device) -> B:
        """The same record, detached, on another device."""
        moved = {f.name: _moved(getattr(self, f.name), device) for f in fields(cast(Any, self)) if f.init}
        same = all(value is getattr(self, name) for name, value in moved.items())
        return self if same else cast(B, replace(cast(Any, self), **moved))

    @classmethod
    def joined(cls: type[B], parts: Sequence[B]) -> B:
        """Join records along the batch axis; fields without one are taken from the first record."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            name: _joined([getattr(part, name) for part in parts], axis)
            for name, axis in _batched(cast(Any, cls))
        }
        return cast(B, replace(cast(Any, parts[0]), **columns))

    def blank(self: B, n: int) -> B:
        """A record of `n` examples of which nothing is known, with the shapes and types of this one."""
        # n copies of the first example have the right shapes; their values are replaced afterwards
        return self.rows(torch.zeros(n, dtype=torch.long, device="cpu"))._emptied()

    def _emptied(self: B) -> B:
        blanks = {name: _blank(getattr(self, name), axis) for name, axis in _batched(cast(Any, type(self)))}
        return cast(B, replace(cast(Any, self), **blanks))


@cache
def _batched(kind: Any) -> tuple[tuple[str, _Axis], ...]:
    """The fields of a record that have a batch axis, and where it is."""
    found: tuple[Field[Any], ...] = fields(kind)
    return tuple((f.name, f.metadata["axis"]) for f in found if "axis" in f.metadata)


def _one_each(value: tuple[Any, ...]) -> bool:
    """Whether a tuple has an entry for each example, such as a status, and not one for each input."""
    return not value or not isinstance(value[0], (Tensor, Batch))


def _with(record: B, changed: dict[str, Any]) -> B:
    """As `dataclasses.replace`, in a third of the time: a search takes rows for each measurement."""
    kind = type(record)
    made = object.__new__(kind)
    values, old = made.__dict__, record.__dict__
    for name, fresh in _fields_of(cast(Any, kind)):
        values[name] = old[name] if fresh is None else fresh()
    values.update(changed)
    return made


@cache
def _fields_of(kind: Any) -> tuple[tuple[str, Callable[[], Any] | None], ...]:
    """The fields of a record; those that `__init__` does not take begin anew, as their factories say."""
    return tuple((f.name, None if f.init else cast(Any, f.default_factory)) for f in fields(kind))


def _rows(value: Any, rows: slice | Tensor, axis: _Axis) -> Any:
    if isinstance(value, Tensor):
        if axis.shared and value.shape[axis.axis] == 1:
            return value  # one row for all examples
        # rows are often on the CPU, while this tensor is not
        if isinstance(rows, slice):
            return value[rows] if axis.axis == 0 else value[:, rows]
        return value.index_select(axis.axis, rows if rows.is_cpu is value.is_cpu else rows.to(value.device))
    if not isinstance(value, tuple):
        return value.rows(rows)  # a record, or an estimator, which has `rows` too
    if not value:
        return value
    if _one_each(value):
        return _entries(value, rows)
    parts = tuple([_rows(part, rows, axis) for part in value])
    return value if all(map(operator.is_, parts, value)) else parts


def _entries(value: tuple[Any, ...], rows: slice | Tensor) -> tuple[Any, ...]:
    return value[rows] if isinstance(rows, slice) else tuple(value[i] for i in rows.tolist())


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Batch):
        return value.to(device)
    if isinstance(value, Tensor):
        here = value.device == device and not value.requires_grad
        return value if here else value.detach().to(device)
    if isinstance(value, tuple) and not _one_each(value):
        parts = tuple(_moved(part, device) for part in value)
        return value if all(map(operator.is_, parts, value)) else parts
    return value


def _joined(values: list[Any], axis: _Axis) -> Any:
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Batch):
        return type(first).joined(values)
    if isinstance(first, tuple) and _one_each(first):
        return tuple(entry for value in values for entry in value)
    if isinstance(first, tuple):
        return tuple(_joined(list(column), axis) for column in zip(*values, strict=True))
    if axis.shared and all(len(value) == 1 and torch.equal(value, first) for value in values):
        return first  # one row for all examples
    if axis.axis == 1:  # an interrupted solve has a shorter loss trace than the others; it is padded
        longest = max(len(value) for value in values)
        values = [_filled_up(value, longest, axis.blank) for value in values]
    return torch.cat(values, axis.axis)


def _filled_up(value: Tensor, length: int, blank: float) -> Tensor:
    missing = length - len(value)
    return value if not missing else torch.cat([value, value.new_full((missing, *value.shape[1:]), blank)])


def _blank(value: Any, axis: _Axis) -> Any:
    if isinstance(value, Batch):
        return value._emptied()
    if isinstance(value, Tensor):
        return torch.full_like(value, axis.blank)
    if isinstance(value, tuple) and not _one_each(value):
        return tuple(_blank(part, axis) for part in value)
    return value
