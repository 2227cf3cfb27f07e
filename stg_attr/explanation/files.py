"""Files of records: tensors and text in the safetensors format, never code.

The fields of a record say what is written: tensors, tuples of tensors and records by their type, others by
their `as_text`; a field with neither is not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from os import PathLike
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from stg_attr.batch import Batch, Holds
from stg_attr.tensor_files import DAMAGED, damaged, read, write

__all__ = ["load", "save"]

B = TypeVar("B", bound=Batch)

_VERSION = 2
_EXPECTED = f"a file written by Explanation.save, version {_VERSION}"
_MEND = "Save it again with this version of stg_attr."
_DTYPES = {
    float: (torch.float32, torch.float64, torch.float16, torch.bfloat16),
    int: (torch.int64,),
    bool: (torch.bool,),
}


def save(record: Batch, path: str | PathLike[str]) -> None:
    """Write a record.

    Raises:
        ArgumentError: a part of it cannot be written without code, or the file cannot be written.
    """
    text = {"version": _VERSION, **_texts(record)}
    # `single` tells a lone tensor from a tuple of one; only attributions may be either
    text["single"] = isinstance(getattr(record, "attributions", None), Tensor)
    write(path, "stg_attr", text, _tensors(record))


def _texts(record: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in _fields(type(record)):
        value = getattr(record, f.name)
        if isinstance(value, Batch):
            found |= {f"{f.name}.{name}": part for name, part in _texts(value).items()}
        elif f.metadata.get("as_text"):
            found[f.name] = f.metadata["as_text"].write(value)
    return found


def _tensors(record: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for f in _fields(type(record)):
        value, kinds = getattr(record, f.name), _kinds(type(record), f)
        if isinstance(value, Batch):
            found |= {f"{f.name}.{name}": part for name, part in _tensors(value).items()}
        elif tuple in kinds and Tensor in kinds:
            parts = (value,) if isinstance(value, Tensor) else value
            found |= {f"{f.name}.{i}": part for i, part in enumerate(parts)}
        elif isinstance(value, Tensor):
            found[f.name] = value
    return found


def load(kind: type[B], path: str | PathLike[str], check: Callable[[B], None]) -> B:
    """Read a record.

    Args:
        kind: its class.
        path: of the file, which anyone may have written.
        check: raises ValueError where parts of the record do not fit together, beyond what its fields say.

    Raises:
        ArgumentError: the file holds no such record, is damaged, or cannot be read.
        FileNotFoundError: there is no such file.
    """
    text, tensors = read(path, "stg_attr", _VERSION, _EXPECTED, _MEND)
    try:
        record = _assembled(kind, text, tensors, "")
        _check_record(record, {})
        check(record)
        return record
    except DAMAGED as error:
        raise damaged(path, error, _EXPECTED, _MEND) from error


def _assembled(kind: type[B], text: dict[str, Any], tensors: dict[str, Tensor], prefix: str) -> B:
    values: dict[str, Any] = {}
    for f in _fields(kind):
        name, kinds = prefix + f.name, _kinds(kind, f)
        record = next((part for part in kinds if isinstance(part, type) and issubclass(part, Batch)), None)
        has_default = f.default is not MISSING or f.default_factory is not MISSING
        is_there = any(key == name or key.startswith(f"{name}.") for key in tensors)
        if f.metadata.get("as_text"):
            if name in text or not has_default:
                values[f.name] = f.metadata["as_text"].read(text[name])
        elif not is_there and (has_default or NoneType in kinds):
            values[f.name] = None
        elif record is not None:
            values[f.name] = _assembled(record, text, tensors, f"{name}.")
        elif tuple in kinds:
            n = sum(key.startswith(f"{name}.") for key in tensors)
            parts = tuple(tensors[f"{name}.{i}"] for i in range(n))
            values[f.name] = parts[0] if Tensor in _bare(kind, f) and text["single"] else parts
        elif Tensor in kinds:
            values[f.name] = tensors[name]
    return kind(**values)


def _fields(kind: type[Batch]) -> tuple[Field[Any], ...]:
    return fields(kind)  # type: ignore[arg-type]  # every record is a dataclass


def _bare(kind: type[Batch], f: Field[Any]) -> tuple[Any, ...]:
    """The types that a field may have: those of a union one by one."""
    hint = get_type_hints(kind)[f.name]
    return (hint,) if get_origin(hint) is tuple or not get_args(hint) else get_args(hint)


def _kinds(kind: type[Batch], f: Field[Any]) -> set[Any]:
    """The same, and for a tuple the type of its entries."""
    found: set[Any] = set()
    for hint in _bare(kind, f):
        found |= {tuple, get_args(hint)[0]} if get_origin(hint) is tuple else {hint}
    return found


def _check_record(record: Batch, sizes: dict[str, int]) -> None:
    """Check shapes, types and ranges, so that whatever reads the record finds what it expects.

    Raises:
        ValueError: a part does not fit the others.
    """
    for f in _fields(type(record)):
        value, holds = getattr(record, f.name), f.metadata.get("holds")
        if isinstance(value, Batch):
            _check_record(value, sizes)
        elif f.metadata.get("as_text") and isinstance(value, tuple):
            _check_size(((holds and holds.shape) or ("batch",))[0], len(value), sizes)
        elif isinstance(value, Tensor) and holds is not None and holds.shape is not None:
            _check_tensor(f.name, value, holds, sizes)


def _check_tensor(name: str, value: Tensor, holds: Holds, sizes: dict[str, int]) -> None:
    if value.dim() != len(holds.shape or ()) or value.dtype not in _DTYPES[holds.kind]:
        raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}, where {holds.shape} fits")
    for dimension, size in zip(holds.shape or (), value.shape, strict=True):
        _check_size(dimension, size, sizes)
    if holds.kind is float and not holds.may_be_nan and bool(value.isnan().any()):
        raise ValueError(f"{name} holds NaN")
    if holds.low is not None and bool((value < holds.low).any()):
        raise ValueError(f"{name} holds values below {holds.low}")
    if holds.high is not None and bool((value > holds.high).any()):
        raise ValueError(f"{name} holds values above {holds.high}")


def _check_size(dimension: str, size: int, sizes: dict[str, int]) -> None:
    if size != sizes.setdefault(dimension, size) or (size == 0 and dimension in ("batch", "gates")):
        raise ValueError(f"{size} entries along {dimension}, where {sizes[dimension] or 'at least 1'} fit")
