"""Tensors that ordinary operations do not support."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["unusual"]


def unusual(x: Tensor) -> str | None:
    """Say why ordinary operations cannot compute with a tensor, or return None if they can.

    Such tensors are sparse, on the meta device, quantised, nested, or of a floating-point type of one byte.
    """
    if x.layout != torch.strided:
        return f"a tensor of layout {x.layout}"
    if x.is_meta:
        return "a tensor on the meta device, without values"
    if x.is_quantized or x.is_nested or (x.is_floating_point() and x.itemsize < 2):
        return "a nested tensor" if x.is_nested else f"a tensor of {x.dtype}"
    return None
