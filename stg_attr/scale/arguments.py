"""Arguments of `explain` that apply to every row of a data set, read from the signature of `explain`.

`explain_dataset` accepts a new argument of `StochasticGates.explain` or `LayerStochasticGates.explain`, and
the command line gets an option for it, without a change in this folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.attribution.effort import Effort
from stg_attr.errors import ArgumentError

__all__ = ["ExplainArguments", "accepted_arguments", "check_accepted", "check_arguments"]

#: Arguments of `StochasticGates.explain` or `LayerStochasticGates.explain` by name, the same for all rows.
ExplainArguments: TypeAlias = Mapping[str, Any]

#: Arguments that `explain_dataset` sets itself, or that differ from batch to batch.
_NOT_FOR_A_DATA_SET = frozenset({"self", "inputs", "show_progress", "on_step", "resume"})


def accepted_arguments() -> dict[str, inspect.Parameter]:
    """Arguments that `explain_dataset` passes on, by name: those of both explainers."""
    parameters: dict[str, inspect.Parameter] = {}
    for explainer in (StochasticGates, LayerStochasticGates):
        for name, parameter in inspect.signature(explainer.explain).parameters.items():
            parameters.setdefault(name, parameter)
    return {name: parameter for name, parameter in parameters.items() if name not in _NOT_FOR_A_DATA_SET}


def check_arguments(arguments: ExplainArguments) -> None:
    """Check the arguments before anything is written.

    Raises:
        ArgumentError: neither explainer has such an argument, or a number is outside its range.
    """
    accepted = accepted_arguments()
    unknown = sorted(arguments.keys() - accepted.keys())
    if unknown:
        raise ArgumentError(
            "arguments", expected=f"some of {sorted(accepted)}", found=str(unknown), mend="Leave them out."
        )
    defaults = inspect.signature(StochasticGates.explain).parameters
    numbers = [field.name for field in fields(Effort)]
    Effort(
        **{name: arguments.get(name, defaults[name].default) for name in numbers}
    )  # `Effort` checks the numbers
    _check_forward_args(arguments.get("additional_forward_args"))
    _check_no_array(arguments.get("baselines"))
    seed = arguments.get("seed", 0)
    if not -(2**63) <= seed < 2**63:
        raise ArgumentError(
            "seed",
            expected="a whole number of 64 bits, which a Parquet file can store",
            found=str(seed),
            mend="Leave it out for the default.",
        )


def _check_no_array(baselines: Any) -> None:
    """Refuse an array: of a data set, DataFrames are explained as tables, and all else as tensors."""
    if isinstance(baselines, np.ndarray):
        raise ArgumentError(
            "baselines",
            expected="a number, a tensor, a ReferenceSet or a function; or a DataFrame, if the data are one",
            found="ndarray",
            mend="Convert it with torch.as_tensor.",
        )


def _check_forward_args(given: Any) -> None:
    """Refuse tensors with rows: whether `explain` cuts them into rows depends on the size of a batch."""
    values = given if isinstance(given, tuple) else (given,)
    shapes = [tuple(value.shape) for value in values if isinstance(value, Tensor) and value.dim()]
    if shapes:
        raise ArgumentError(
            "additional_forward_args",
            expected="values that are the same for every row of the data set",
            found=f"tensors of shape {shapes}",
            mend="Put rows into the data set, as a further input whose feature mask is -1; put a tensor that "
            "is the same for all rows into the model, with functools.partial.",
        )


def check_accepted(explainer: Any, arguments: ExplainArguments) -> None:
    """Check that this explainer has the arguments.

    Raises:
        ArgumentError: only the other explainer has one of them.
    """
    accepted = inspect.signature(explainer.explain).parameters
    unknown = [name for name in arguments if name not in accepted]
    if unknown:
        raise ArgumentError(
            "arguments",
            expected=f"those of {type(explainer).__name__}.explain",
            found=str(unknown),
            mend="Leave them out, or pass another explainer.",
        )
