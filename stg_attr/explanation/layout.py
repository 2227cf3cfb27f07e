"""Layout: values of gates in the shape of the inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stg_attr.gates import FeatureGroups

__all__ = ["lay_out"]


def lay_out(values: Tensor, groups: FeatureGroups, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Give every input element the value of its gate, [batch, gates], and 0 where it has none."""
    return tuple(
        groups.expand(values.unsqueeze(0), i, ungated=0.0)[0].expand(x.shape).to(_dtype(x)).clone()
        for i, x in enumerate(inputs)
    )


def _dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 inputs, else float32: half precision would tie probabilities near 1."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
