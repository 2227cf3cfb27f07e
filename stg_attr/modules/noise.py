"""The noise of the gate modules, and the precision in which their gates are computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["normal", "uniform", "widened"]


def _noise_dtype() -> torch.dtype:
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def widened(parameter: Tensor) -> Tensor:
    """Convert a parameter to single precision or more, since half is too coarse for logits of the noise."""
    return parameter.to(torch.promote_types(parameter.dtype, _noise_dtype()))


# These two use rand and randn, since torch.func.vmap refuses the in-place uniform_ and normal_.
def uniform(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw uniform noise in [0, 1) for each row and gate, [rows, gates], on the device of `like`, [gates]."""
    return torch.rand(n_rows, like.shape[0], **_noise_options(like, generator))


def normal(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal noise, as `uniform` does."""
    return torch.randn(n_rows, like.shape[0], **_noise_options(like, generator))


def _noise_options(like: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    options = {"dtype": _noise_dtype(), "device": like.device}
    # With generator=None torch picks another overload, and torch.export refuses a dynamic batch size there.
    return options if generator is None else {**options, "generator": generator}
