"""Tensors inside tuples, lists, mappings and dataclasses, as layers return them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

__all__ = ["holds", "tensors_of", "with_tensors"]


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors of a nested value, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value):
        yield from tensors_of(part)


def holds(value: Any, kind: type) -> bool:
    """Whether a nested value, or a part of it, is an instance of a class."""
    return isinstance(value, kind) or any(holds(part, kind) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (tuple, list)):
        return list(value)
    return [getattr(value, field.name) for field in _fields(value)]


def _fields(value: Any) -> Sequence[dataclasses.Field[Any]]:
    return (
        dataclasses.fields(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else ()
    )


def with_tensors(value: Any, new: dict[int, Tensor], counter: list[int] | None = None) -> Any:
    """The same nested value with some of its tensors, by number, replaced."""
    counter = [0] if counter is None else counter
    if isinstance(value, Tensor):
        number, counter[0] = counter[0], counter[0] + 1
        return new[number].to(value.device, value.dtype) if number in new else value
    parts = [with_tensors(part, new, counter) for part in _parts(value)]
    if isinstance(value, Mapping):
        changed = copy.copy(value)  # a ModelOutput keeps its attributes
        for key, part in zip(list(value), parts, strict=True):
            changed[key] = part  # type: ignore[index]  # mappings that layers return are mutable
        return changed
    if isinstance(value, tuple):
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return parts
    names = [field.name for field in _fields(value)]
    return dataclasses.replace(value, **dict(zip(names, parts, strict=True))) if names else value
