"""The noise of the gate modules, and the precision in which their gates are computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["normal", "uniform", "widened"]


def _noise_dtype() -> torch.dtype:
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def widened(parameter: Tensor) -> Tensor:
    return parameter.to(torch.promote_types(parameter.dtype, _noise_dtype()))


# rand and randn, not uniform_ and normal_: vmap refuses draws in place
def uniform(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n_rows, like.shape[0], **_noise_options(like, generator))


def normal(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n_rows, like.shape[0], **_noise_options(like, generator))


def _noise_options(like: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    options = {"dtype": _noise_dtype(), "device": like.device}
    # generator=None is another overload, which torch.export cannot give a dynamic batch size
    return options if generator is None else {**options, "generator": generator}
