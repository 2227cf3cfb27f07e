"""Consistency of an explanation that comes from a file, which anyone may have written."""

from __future__ import annotations

import torch
from torch import Tensor

from stg_attr.solve import Learned

from .explanation import Explanation

__all__ = ["check_consistent"]

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_consistent(explanation: Explanation) -> None:
    """Check shapes, types and ranges, so that whatever reads the explanation finds what it expects.

    Raises:
        ValueError: a part does not fit the others.
    """
    batch, n_gates = len(explanation.status), explanation.log_alpha.shape[-1]
    gates = (batch, n_gates)
    if batch == 0 or n_gates == 0:
        raise ValueError("no examples or no gates")
    for name in ("log_alpha", "active_probabilities", "influence", "effect"):
        _check_numbers(name, getattr(explanation, name), gates)
    _check_probabilities("active_probabilities", explanation.active_probabilities)
    _check("selected", explanation.selected, gates, (torch.bool,))
    _check("feature_ids", explanation.feature_ids, gates, (torch.int64,))
    _check("n_evaluations", explanation.n_evaluations, (batch,), (torch.int64,))
    _check_measured(explanation, batch)
    _check_elements(explanation, batch, n_gates)
    if explanation.restarts is not None:
        selected = explanation.restarts.selected
        _check("restarts", selected, (max(1, len(selected)), *gates), (torch.bool,))
    if explanation.learned is not None:
        _check_learned(explanation.learned, gates)


def _check_learned(learned: Learned, gates: tuple[int, int]) -> None:
    for name in ("total", "slopes", "squares"):
        _check_numbers(name, getattr(learned, name), gates)
    for name in ("scale", "error"):
        _check_numbers(name, getattr(learned, name), gates[:1])
    for name in ("n_steps", "n_samples"):
        _check(name, getattr(learned, name), gates[:1], (torch.int64,))
        if bool((getattr(learned, name) < 0).any()):
            raise ValueError(f"{name} is negative")
    _check("settled", learned.settled, gates[:1], (torch.bool,))


def _check_measured(explanation: Explanation, batch: int) -> None:
    for name, value in vars(explanation.scores).items():
        _check_numbers(name, value, (batch,), may_be_nan=name not in ("full", "baseline"))
    points = explanation.curve.n_open.shape[-1]
    for name, value in vars(explanation.curve).items():
        if name == "n_open":
            _check(name, value, (batch, points), (torch.int64,))
        else:
            _check_numbers(name, value, (batch, points), may_be_nan=True)
    steps = explanation.loss_trace.shape[0]
    _check_numbers("loss_trace", explanation.loss_trace, (steps, batch), may_be_nan=True)
    target = explanation.target
    if target is not None:
        _check("target", target, (batch, target.shape[-1]), (torch.int64,))


def _check_elements(explanation: Explanation, batch: int, n_gates: int) -> None:
    attributions = explanation.attributions
    parts = (attributions,) if isinstance(attributions, Tensor) else attributions
    for part, x, mask, baseline in zip(
        parts, explanation.inputs, explanation.feature_mask, explanation.baselines, strict=True
    ):
        _check_numbers("attributions", part, (batch, *x.shape[1:]))
        _check_probabilities("attributions", part)
        _check("inputs", x, tuple(part.shape), ())
        _check("feature_mask", mask, _broadcast(mask, x), _WHOLE)
        if mask.numel() and (int(mask.min()) < -1 or int(mask.max()) >= n_gates):
            raise ValueError("feature_mask names a gate that is not there")
        _check("baselines", baseline, _broadcast(baseline, x), ())


def _broadcast(part: Tensor, x: Tensor) -> tuple[int, ...]:
    """The shape that a part must have: that of the input, or 1 where the part has 1."""
    if part.dim() != x.dim():
        return tuple(x.shape)
    return tuple(1 if n == 1 else m for n, m in zip(part.shape, x.shape, strict=True))


def _check(name: str, value: Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    if tuple(value.shape) != shape or (dtypes and value.dtype not in dtypes):
        raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}, where {shape} fits")


def _check_numbers(name: str, value: Tensor, shape: tuple[int, ...], may_be_nan: bool = False) -> None:
    _check(name, value, shape, (torch.float32, torch.float64, torch.float16, torch.bfloat16))
    if not may_be_nan and bool(value.isnan().any()):
        raise ValueError(f"{name} holds NaN")


def _check_probabilities(name: str, value: Tensor) -> None:
    if not bool(((value >= 0) & (value <= 1)).all()):
        raise ValueError(f"{name} holds what is no probability")
