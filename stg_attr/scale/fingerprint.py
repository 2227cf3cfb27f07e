"""Fingerprints of models, data sets and settings: a short text that changes when the value changes.

The fingerprint of a value must be the same in every process and on every machine, because an output that one
process began is continued by others. Libraries do not give that: `joblib.hash` and a hash of
`cloudpickle.dumps` differ between two processes for the same `torch.nn.Module`, because they hash its pickle;
joblib refuses functions without a name, and cloudpickle also hashes the file and the line of a function.
"""

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

_LONGEST_TEXT = 80  # characters of a value that is written as it is

_Update = Callable[[Any], object]  # adds bytes, or an array of bytes, to a hash
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, range)


def digest(value: Any) -> str:
    """A text of 16 characters: the same in every process, and different for a different value.

    It depends on every number in tensors, arrays and modules, on the code of functions and on what they refer
    to, and on the class and the attributes of other objects. It does not depend on what a compiled extension
    stores internally.
    """
    sha = hashlib.sha256()
    _add(value, sha.update, set())
    return sha.hexdigest()[:16]


def described(value: Any) -> str:
    """A short number, text or list as it is; any other value as its type and digest."""
    plain = isinstance(value, (type(None), bool, int, float, str))
    plain_list = isinstance(value, (tuple, list)) and all(isinstance(v, (int, float, str)) for v in value)
    if (plain or plain_list) and len(repr(value)) < _LONGEST_TEXT:
        return repr(value)
    return f"{type(value).__name__} {digest(value)}"


def _add(value: Any, update: _Update, seen: set[int]) -> None:
    """Add a value to a hash.

    Args:
        value: of any type.
        update: adds bytes to the hash.
        seen: ids of the objects that were added before. They are not added again, because an object can
            contain itself.
    """
    update(f"|{type(value).__qualname__}:".encode())  # 1 and 1.0, and a tuple and a list, are different
    if isinstance(value, _PLAIN):
        update(repr(value).encode())
    elif isinstance(value, Tensor):
        _add_tensor(value, update)
    elif isinstance(value, np.ndarray):
        _add_array(value, update, seen)
    elif isinstance(value, (set, frozenset)):
        update(
            "".join(sorted(digest(part) for part in value)).encode()
        )  # the order differs between processes
    elif id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            _add(part, update, seen)


def _add_tensor(value: Tensor, update: _Update) -> None:
    update(f"{value.dtype}{tuple(value.shape)}".encode())
    flat = value.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        update(flat.view(torch.uint8).numpy())  # as bytes, because NumPy has no bfloat16


def _add_array(value: np.ndarray[Any, Any], update: _Update, seen: set[int]) -> None:
    update(f"{value.dtype}{value.shape}".encode())
    if value.dtype.hasobject:
        for part in value.ravel():
            _add(part, update, seen)
    else:
        update(np.ascontiguousarray(value).tobytes())


def _parts(value: Any) -> Iterator[Any]:
    """The parts of an object that its fingerprint depends on, in the same order in every process."""
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
        yield from (value.co_code, value.co_names, value.co_consts)  # without the file and the line
    elif isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
        yield getattr(value, "__qualname__", value.__name__)
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}"
        yield vars(type(value)).get("__call__")
        yield {name: getattr(value, name) for name in sorted(getattr(value, "__dict__", {}))}


def _module_parts(module: nn.Module) -> Iterator[Any]:
    for name, part in module.named_modules():
        yield from (name, f"{type(part).__module__}.{type(part).__qualname__}", part.extra_repr())
        if not type(part).__module__.startswith("torch."):  # the release of torch is in the manifest
            yield type(part).forward
            # Not the names that begin with _: torch keeps hooks there, and the tensors that are added below.
            yield {k: v for k, v in sorted(vars(part).items()) if not k.startswith("_") and k != "training"}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield from (name, tensor.detach())


def _function_parts(function: types.FunctionType) -> Iterator[Any]:
    """The code, the defaults, the variables of a closure, and the global variables that a function reads.

    Only some kinds of global variables: numbers, tensors, modules, and functions of the same file, because
    other functions belong to libraries.
    """
    yield from (function.__qualname__, function.__code__, function.__defaults__, function.__kwdefaults__)
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        same_module = getattr(used, "__module__", None) == function.__module__
        if isinstance(used, (Tensor, nn.Module, int, float)) or (
            same_module and isinstance(used, types.FunctionType)
        ):
            yield used
