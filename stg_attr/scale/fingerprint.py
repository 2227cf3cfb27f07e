"""Fingerprints of models, data sets and settings: a short text that changes when the value changes.

The fingerprint of a value must be the same in every process and on every machine, because an output that one
process began is continued by others. Libraries do not give that: `joblib.hash` and a hash of
`cloudpickle.dumps` differ between two processes for the same `torch.nn.Module`, because they hash its pickle,
which holds addresses; joblib refuses functions without a name, and cloudpickle stores a function of the
user's own modules by its name only. So the parts of a value (`parts.py`) are hashed here.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from stg_attr.errors import ArgumentError

from .parts import parts

__all__ = ["described", "digest"]

_LONGEST_TEXT = 80  # characters of a value that is written as it is

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, range)


def digest(value: Any) -> str:
    """A text of 16 characters: the same in every process, and different for a different value.

    It depends on every number in tensors, arrays and modules, on the code of functions and of their classes,
    and on what they refer to, as far as `parts` goes.

    Raises:
        ArgumentError: a part of the value does not say what it consists of, for example a lock or a session
            of a compiled library.
    """
    try:
        return _Digests().of(value).hex()[:16]
    except RecursionError as error:
        raise _unreadable(value, error) from error


def described(value: Any, name: str) -> str:
    """A short number, text or list as it is; any other value as its type and digest.

    Args:
        value: an argument or a setting.
        name: of it.

    Raises:
        ArgumentError: see `digest`.
    """
    plain = isinstance(value, (type(None), bool, int, float, str))
    plain_list = isinstance(value, (tuple, list)) and all(isinstance(v, (int, float, str)) for v in value)
    if (plain or plain_list) and len(repr(value)) < _LONGEST_TEXT:
        return repr(value)
    try:
        return f"{type(value).__name__} {digest(value)}"
    except ArgumentError as error:
        raise ArgumentError(
            name,
            expected="a value that can be compared with that of an earlier run",
            found=f"in it {error}",
            mend="Pass numbers, tensors, or functions of such.",
        ) from error


class _Digests:
    """The digests of a value and of all its parts.

    The digest of a value is made of those of its parts, so it does not matter whether two equal parts are one
    object or two.
    """

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}  # by the id of a value
        self._kept: list[Any] = []  # these values, because another object could get the id of a deleted one
        self._begun: dict[int, int] = {}  # at which depth a value was begun that contains the present one

    def of(self, value: Any) -> bytes:
        """The digest of a value: 32 bytes."""
        kind = f"|{type(value).__qualname__}:".encode()  # 1 and 1.0, and a tuple and a list, are different
        if type(value) in _PLAIN:
            return hashlib.sha256(kind + repr(value).encode("utf-8", "surrogatepass")).digest()
        key, depth = id(value), len(self._begun)
        if key in self._begun:  # the value contains itself; its depth stands for it
            return hashlib.sha256(f"up {depth - self._begun[key]}".encode()).digest()
        if key not in self._known:
            self._kept.append(value)
            self._begun[key] = depth
            self._known[key] = self._of_parts(kind, value)
            del self._begun[key]
        return self._known[key]

    def _of_parts(self, kind: bytes, value: Any) -> bytes:
        if isinstance(value, (set, frozenset)):  # their order differs between processes
            return hashlib.sha256(kind + b"".join(sorted(self.of(part) for part in value))).digest()
        sha = hashlib.sha256(kind)
        try:
            for part in parts(value):
                sha.update(part if isinstance(part, memoryview) else self.of(part))
        except (ArgumentError, RecursionError):
            raise
        except Exception as error:  # a class may raise anything when it is asked for its state
            raise _unreadable(value, error) from error
        return sha.digest()


def _unreadable(value: Any, error: Exception) -> ArgumentError:
    kind = type(value)
    return ArgumentError(
        f"a value of type {kind.__module__}.{kind.__qualname__}",
        expected="an object whose contents can be read, so that two runs can be compared",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        mend="Give its class a method __getstate__ that returns numbers, texts and tensors.",
    )
