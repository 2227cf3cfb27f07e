"""Consistency of the parts of an explanation that are shaped like the inputs, when it comes from a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

from .columns import Column, Kind

__all__ = ["check_elements", "is_data_only"]

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_REAL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_elements(explanation: Any) -> None:
    """Check shapes, types and ranges of attributions, inputs, feature mask and baselines.

    Args:
        explanation: an `Explanation`, which stands above this file.

    Raises:
        ValueError: a part does not fit the others.
    """
    given = explanation.attributions
    attributions = (given,) if isinstance(given, Tensor) else given
    inputs, masks, baselines = explanation.inputs, explanation.feature_mask, explanation.baselines
    batch, n_gates = explanation.log_alpha.shape
    if explanation.columns is not None:
        _check_columns(explanation.columns, inputs)
    for part, x, mask, baseline in zip(attributions, inputs, masks, baselines, strict=True):
        _check("attributions", part, (batch, *x.shape[1:]), _REAL)
        if not bool(((part >= 0) & (part <= 1)).all()):
            raise ValueError("attributions hold what is no probability")
        _check("inputs", x, tuple(part.shape), ())
        _check("feature_mask", mask, _broadcast(mask, x), _WHOLE)
        if mask.numel() and (int(mask.min()) < -1 or int(mask.max()) >= n_gates):
            raise ValueError("feature_mask names a gate that is not there")
        _check("baselines", baseline, _broadcast(baseline, x), ())
    positions = sum(part.shape[1] for part in attributions if part.dim() > 1)
    if explanation.tokens is not None and any(len(own) != positions for own in explanation.tokens):
        raise ValueError(f"tokens are not {positions} for each example")


def is_data_only() -> ArgumentError:
    """The error for an explanation that cannot be asked anything, since it is without its model."""
    return ArgumentError(
        "explanation",
        expected="one that still has its model, as explain returned it",
        found="data only: it was loaded from a file, unpickled or copied, or is of rows of another",
        mend="Explain the inputs again, and ask before it is saved.",
    )


def _check_columns(columns: tuple[Column, ...], inputs: tuple[Tensor, ...]) -> None:
    """Check that each cell of a column of texts has its text."""
    if len(inputs) != 1 or inputs[0].dim() != 2 or inputs[0].shape[1] != len(columns):
        raise ValueError(f"{len(columns)} columns do not fit the inputs")
    for column, values in zip(columns, inputs[0].T, strict=True):
        known = values[~values.isnan()]
        if column.kind is Kind.TEXT and not bool(((known >= 0) & (known < len(column.texts))).all()):
            raise ValueError(f"column {column.name} has cells without a text")


def _broadcast(part: Tensor, x: Tensor) -> tuple[int, ...]:
    """The shape that a part must have: that of the input, or 1 where the part has 1."""
    if part.dim() != x.dim():
        return tuple(x.shape)
    return tuple(1 if n == 1 else m for n, m in zip(part.shape, x.shape, strict=True))


def _check(name: str, value: Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    if tuple(value.shape) != shape or (dtypes and value.dtype not in dtypes):
        raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}, where {shape} fits")
