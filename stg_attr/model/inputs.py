"""Captum's arguments in one form, which inputs, layers and metrics share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Baseline, unusual

__all__ = ["Baselines", "Gaps", "Given", "Inputs", "as_arguments", "checked_inputs", "own_arguments"]

Inputs: TypeAlias = Tensor | tuple[Tensor, ...]

#: Inputs as users may give them: the model is given a None as it is.
Given: TypeAlias = Tensor | tuple[Tensor | None, ...]

Baselines: TypeAlias = Baseline | tuple[Baseline | None, ...] | None


def as_arguments(additional_forward_args: Any) -> tuple[Any, ...]:
    """Captum's `additional_forward_args` as a tuple: empty for None, of one entry for a single value."""
    if isinstance(additional_forward_args, tuple):
        return additional_forward_args
    return () if additional_forward_args is None else (additional_forward_args,)


def own_arguments(arguments: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    """Copies of tensors, which later changes of the caller's do not reach; parameters stay what they are."""
    return tuple(a.to(device, copy=not a.requires_grad) if isinstance(a, Tensor) else a for a in arguments)


@dataclass(frozen=True)
class Gaps:
    """The places of None in a tuple of inputs: they get no gates, and the None is passed to the model.

    Attributes:
        present: for each input, whether it is not None.
    """

    present: tuple[bool, ...]

    @classmethod
    def of(cls, inputs: Any) -> Gaps:
        """The gaps of inputs as the user gave them."""
        return cls(tuple(x is not None for x in inputs) if isinstance(inputs, tuple) else (True,))

    def without(self, values: Any) -> Any:
        """Remove the entries at gaps from a tuple with one entry per input; return other values unchanged."""
        if not isinstance(values, tuple) or len(values) != len(self.present):
            return values
        return tuple(value for value, is_there in zip(values, self.present, strict=True) if is_there)

    def restored(self, attributions: Inputs) -> Inputs:
        """The opposite of `without`: put None back at the gaps."""
        if not isinstance(attributions, tuple):
            return attributions
        parts = iter(attributions)
        restored: tuple[Any, ...] = tuple(next(parts) if is_there else None for is_there in self.present)
        return restored

    def filled(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The model as a function of the inputs that are not None."""
        return forward if all(self.present) else _Filled(forward, self.present)


class _Filled:
    """The model as a function of the inputs that are not None; it puts None in the other places."""

    def __init__(self, forward: Callable[..., Any], present: tuple[bool, ...]) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        self._present = present

    def __call__(self, *values: Any) -> Any:
        given = iter(values)
        inputs = [next(given) if is_there else None for is_there in self._present]
        return self.__wrapped__(*inputs, *given)


def checked_inputs(inputs: Inputs) -> tuple[Tensor, ...]:
    """The inputs as a tuple.

    Raises:
        ArgumentError: they are no tensors, have no or different numbers of rows, or hold NaN or inf.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(given, tuple) or not given or not all(isinstance(x, Tensor) for x in given):
        found = type(inputs).__name__ if not isinstance(inputs, tuple) else [type(x).__name__ for x in inputs]
        raise ArgumentError(
            "inputs",
            expected="a tensor, a tuple of tensors or a table",
            found=str(found),
            mend=_how_to_convert(inputs),
        )
    _check_kinds(given)
    _check_rows(given)
    for i, x in enumerate(given):
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise ArgumentError(
                f"input {i}",
                expected="finite numbers",
                found="NaN or inf",
                mend="Fill gaps first, for example with torch.nan_to_num.",
            )
    return given


def _how_to_convert(inputs: Any) -> str:
    if isinstance(inputs, tuple) and any(isinstance(x, str) for x in inputs):
        return "Pass texts as a list: ['a great film']; pairs as [(one, other)]."
    if isinstance(inputs, Mapping) and any(isinstance(x, Tensor) for x in inputs.values()):
        return "Pass tuple(inputs.values()), and NamedInputs(model, inputs) as the model."
    mend = "Convert arrays with torch.as_tensor(...), lists to a tuple of tensors."
    return f"{mend} Rows of a table are a DataFrame, such as pd.DataFrame(rows), or an array [rows, columns]."


def _check_kinds(given: tuple[Tensor, ...]) -> None:
    for i, x in enumerate(given):
        if unusual(x):
            raise ArgumentError(
                f"input {i}",
                expected="a dense tensor with values",
                found=str(unusual(x)),
                mend="Convert it, for example with .to_dense() or .float().",
            )


def _check_rows(given: tuple[Tensor, ...]) -> None:
    sizes = [x.shape[0] if x.dim() else 0 for x in given]
    if len(set(sizes)) > 1:
        raise ArgumentError(
            "inputs",
            expected="the same number of examples in the first dimension of every input",
            found=f"{sizes}",
            mend="Pass what is not one row per example through additional_forward_args.",
        )
    if sizes[0] == 0 or sum(x.numel() for x in given) == 0:
        raise ArgumentError(
            "inputs",
            expected="at least one example, [batch, ...]",
            found=f"shapes {[tuple(x.shape) for x in given]}",
            mend="Add a batch dimension with x.unsqueeze(0).",
        )
