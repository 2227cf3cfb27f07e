"""Autocast: the model runs under the caller's automatic mixed precision, and no other computation does."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["as_called", "autocast_dtypes", "no_autocast"]


def as_called(forward: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The model as a function that runs under the autocast that is on now, wherever it is called later."""
    modes = _modes(device)
    return _UnderAutocast(forward, modes, torch.is_autocast_cache_enabled()) if modes else forward


def autocast_dtypes(forward: Callable[..., Any]) -> list[torch.dtype]:
    """The dtypes that a model from `as_called` is run in."""
    found = inspect.unwrap(forward, stop=lambda wrapped: isinstance(wrapped, _UnderAutocast))
    return list(found.modes.values()) if isinstance(found, _UnderAutocast) else []


@contextlib.contextmanager
def no_autocast(device: torch.device) -> Iterator[None]:
    """A context in which nothing is computed in the lower precision of an autocast around it.

    Autocast also reaches the matrix products of a solve. In bfloat16, a probability just below 1 is rounded
    to 1, and its log-odds are infinite.
    """
    with contextlib.ExitStack() as stack:
        for kind in _modes(device):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _modes(device: torch.device) -> dict[str, torch.dtype]:
    """The device types for which autocast is on, and the dtype that each casts to."""
    kinds = dict.fromkeys(["cpu", device.type])  # without repetition
    if hasattr(torch, "get_autocast_dtype"):
        return {kind: torch.get_autocast_dtype(kind) for kind in kinds if torch.is_autocast_enabled(kind)}
    found = {}  # torch 2.3 has functions of their own for the CPU, and those without an argument are for CUDA
    if torch.is_autocast_cpu_enabled():
        found["cpu"] = torch.get_autocast_cpu_dtype()
    if "cuda" in kinds and torch.is_autocast_enabled():
        found["cuda"] = torch.get_autocast_gpu_dtype()
    return found


class _UnderAutocast:
    """The model under autocast."""

    def __init__(self, forward: Callable[..., Any], modes: Mapping[str, torch.dtype], cache: bool) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        self.modes, self._cache = modes, cache

    def __call__(self, *values: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for kind, dtype in self.modes.items():
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=self._cache))
            return self.__wrapped__(*values)
