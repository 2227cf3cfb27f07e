"""Checks of the settings and of the input of a gate module."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["check_finite", "checked_length", "checked_mask", "checked_rows"]


def checked_rows(x: Tensor, parameter: Tensor, mask: Tensor | None, baseline: Tensor | float) -> int:
    """Check that an input fits the module, and return its batch size."""
    # torch.jit.trace warns at every comparison of shapes, so the checks are left out while it traces.
    # torch gives no types for is_tracing, as of 2.13: hence the ignore.
    if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        _check_input(x, parameter, mask)
        if mask is not None:
            _check_broadcast("mask", mask, x)
        if isinstance(baseline, Tensor):
            _check_broadcast("baseline", baseline, x)
    return x.shape[0]


def _check_input(x: Tensor, parameter: Tensor, mask: Tensor | None) -> None:
    if x.dim() < 2:
        expected = "[batch, ...], 2 dimensions or more"
        mend = "Use x.unsqueeze(0) for a single example and x.unsqueeze(1) for a single feature."
    elif x.device != parameter.device:
        expected, mend = f"the module's device, {parameter.device}", "Use module.to(x.device)."
    elif mask is None and x.shape[1:].numel() != len(parameter):
        expected = f"{len(parameter)} elements in each example, one per gate, as there is no mask"
        mend = "Change n_gates, or pass a mask that names the gate of each element."
    else:
        return
    found = f"shape {tuple(x.shape)} on {x.device}"
    raise ArgumentError("input_tensor", expected=expected, found=found, mend=mend)


def _check_broadcast(name: str, given: Tensor, x: Tensor) -> None:
    lengths = zip(reversed(given.shape), reversed(x.shape), strict=False)
    if given.dim() > x.dim() or not all(length in (1, full) for length, full in lengths):
        expected = f"a shape that broadcasts to the input's {tuple(x.shape)}"
        mend = "Give every dimension its full length or 1; the batch dimension may be left out."
        raise ArgumentError(name, expected=expected, found=f"{tuple(given.shape)}", mend=mend)


def checked_length(parameter: Tensor, name: str) -> int:
    """Check that a pretrained parameter has one dimension, and return its number of gates."""
    if parameter.dim() != 1:
        found, mend = f"shape {tuple(parameter.shape)}", "Flatten it; a mask says what each gate switches."
        raise ArgumentError(name, expected="1 dimension, [gates]", found=found, mend=mend)
    return len(parameter)


def check_finite(baseline: Tensor | float) -> None:
    """Refuse a baseline with NaN or inf: closed gates would show it to the model."""
    finite = bool(torch.isfinite(baseline).all()) if isinstance(baseline, Tensor) else isfinite(baseline)
    if not finite:
        mend = "Clean it with torch.nan_to_num."
        raise ArgumentError("baseline", expected="finite numbers", found="NaN or inf", mend=mend)


def checked_mask(mask: Tensor, n_gates: int) -> Tensor:
    """Check a mask, and return a copy of it.

    The copy has int64 ids, which `gather` needs, and is on the default device, where new parameters are.
    """
    _check_holds_integers(mask)
    ids = torch.unique(mask.long())
    wanted = torch.arange(n_gates, device=ids.device)
    if not torch.equal(ids, wanted):
        stray, unused = ids[(ids < 0) | (ids >= n_gates)], wanted[~torch.isin(wanted, ids)]
        found = f"id {int(stray[0])}" if len(stray) else f"no element with id {int(unused[0])}"
        mend = "Renumber it with torch.unique(mask, return_inverse=True)[1]; n_gates is its number of ids."
        expected = f"every id from 0 to n_gates - 1 = {n_gates - 1}, and no other"
        raise ArgumentError("mask", expected=expected, found=found, mend=mend)
    return mask.to(torch.empty(0).device, torch.long, copy=True)


def _check_holds_integers(mask: object) -> None:
    if not isinstance(mask, Tensor):
        found, mend = type(mask).__name__, "Use torch.as_tensor(mask)."
    elif mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool:
        found, mend = f"{mask.dtype}", "Use mask.long(), after rounding if it holds fractions."
    elif mask.is_meta:
        found, mend = "a tensor on the meta device, without values", "Make the mask on another device."
    else:
        return
    raise ArgumentError("mask", expected="a tensor of integers", found=found, mend=mend)
