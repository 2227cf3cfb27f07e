"""Tensors: which can be computed with like any other."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["unusual"]


def unusual(x: Tensor) -> str | None:
    """What keeps a tensor from being computed with like any other, or None."""
    if x.layout != torch.strided:
        return f"a tensor of layout {x.layout}"
    if x.is_meta:
        return "a tensor on the meta device, without values"
    if x.is_quantized or x.is_nested or (x.is_floating_point() and x.itemsize < 2):
        return "a nested tensor" if x.is_nested else f"a tensor of {x.dtype}"
    return None
