"""Fingerprints: what a model, a data set or a setting is, as a short text that changes when it does."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["described", "digest"]

_Feed = Callable[[Any], object]  # takes bytes, or an array of them


def digest(value: Any) -> str:
    """A text of 16 letters that is the same in every process, and another one for another value.

    Tensors, arrays and modules count with every number in them, functions with their code and with what
    they refer to, other objects with their class and their attributes. What a compiled extension holds
    inside is not seen.
    """
    sha = hashlib.sha256()
    _feed(value, sha.update, set())
    return sha.hexdigest()[:16]


def described(value: Any) -> str:
    """A value as a person reads it where that is short, else its kind and digest."""
    plain = isinstance(value, (type(None), bool, int, float, str))
    plain_list = isinstance(value, (tuple, list)) and all(isinstance(v, (int, float, str)) for v in value)
    if (plain or plain_list) and len(repr(value)) < 80:
        return repr(value)
    return f"{type(value).__name__} {digest(value)}"


def _feed(value: Any, feed: _Feed, seen: set[int]) -> None:
    feed(f"|{type(value).__qualname__}:".encode())
    if isinstance(
        value, (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, range)
    ):
        feed(repr(value).encode())
    elif isinstance(value, Tensor):
        _feed_tensor(value, feed)
    elif isinstance(value, np.ndarray):
        _feed_array(value, feed, seen)
    elif isinstance(value, (set, frozenset)):
        feed("".join(sorted(digest(part) for part in value)).encode())
    elif id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            _feed(part, feed, seen)


def _feed_tensor(value: Tensor, feed: _Feed) -> None:
    feed(f"{value.dtype}{tuple(value.shape)}".encode())
    flat = value.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        feed(flat.view(torch.uint8).numpy())


def _feed_array(value: np.ndarray[Any, Any], feed: _Feed, seen: set[int]) -> None:
    feed(f"{value.dtype}{value.shape}".encode())
    if value.dtype.hasobject:
        for part in value.ravel():
            _feed(part, feed, seen)
    else:
        feed(np.ascontiguousarray(value).tobytes())


def _parts(value: Any) -> Iterator[Any]:
    """What an object is made of, in an order that does not depend on the process."""
    if isinstance(value, nn.Module):
        yield from _module_parts(value)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield part
    elif isinstance(value, Sequence):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.CodeType):
        yield from (value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
        yield getattr(value, "__qualname__", value.__name__)
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}"
        yield vars(type(value)).get("__call__")
        yield {name: getattr(value, name) for name in sorted(getattr(value, "__dict__", {}))}


def _module_parts(module: nn.Module) -> Iterator[Any]:
    for name, part in module.named_modules():
        yield from (name, f"{type(part).__module__}.{type(part).__qualname__}", part.extra_repr())
        if not type(part).__module__.startswith("torch."):
            yield type(part).forward
            yield {k: v for k, v in sorted(vars(part).items()) if not k.startswith("_") and k != "training"}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield from (name, tensor.detach())


def _function_parts(function: types.FunctionType) -> Iterator[Any]:
    yield from (function.__qualname__, function.__code__, function.__defaults__, function.__kwdefaults__)
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        own = getattr(used, "__module__", None) == function.__module__
        if isinstance(used, (Tensor, nn.Module, int, float)) or (
            own and isinstance(used, types.FunctionType)
        ):
            yield used
