"""Buffers: what a model keeps between calls is after a solve as it was before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["kept_buffers"]

_LARGE = 2**20  # elements; such buffers are weights or tables, which a layer in eval mode does not change


@contextlib.contextmanager
def kept_buffers(module: nn.Module | None) -> Iterator[None]:
    """Put the buffers of a model back at the end: running means, power iterations, counters.

    Args:
        module: the model; None where it is no module.
    """
    known = [] if module is None else list(_buffers(module))
    try:
        yield
    finally:
        for buffer in known:
            buffer.put_back()


@dataclass(frozen=True)
class _Buffer:
    """A buffer, and a copy of its values unless it is large."""

    owner: nn.Module
    name: str
    value: Tensor
    copy: Tensor | None

    def put_back(self) -> None:
        if getattr(self.owner, self.name, None) is not self.value:
            setattr(self.owner, self.name, self.value)
        if self.copy is not None and not torch.equal(self.value, self.copy):
            with torch.inference_mode():  # in which every tensor may be written to
                self.value.copy_(self.copy)


def _buffers(module: nn.Module) -> Iterator[_Buffer]:
    for owner in module.modules():
        for name, value in owner.named_buffers(recurse=False):
            if is_lazy(value) or value.is_meta:
                continue
            changes = owner.training or value.numel() <= _LARGE
            yield _Buffer(owner, name, value, value.detach().clone() if changes else None)
