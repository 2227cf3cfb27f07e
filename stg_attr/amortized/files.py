"""Files of trained nets: see `stg_attr.tensor_files`."""

from __future__ import annotations

from os import PathLike
from typing import Any

from torch import Tensor

from stg_attr import tensor_files
from stg_attr.errors import ArgumentError

from .nets import GateNet

__all__ = ["damaged", "load", "save"]

_KEY, _VERSION = "stg_attr.amortized", 1
_EXPECTED = "a file written by AmortizedStochasticGates.save, with the same net"
_MEND = "Fit it again, or pass the net that was saved."


def save(net: GateNet, numbers: dict[str, Any], path: str | PathLike[str]) -> None:
    """Write the tensors of a net, and numbers.

    Raises:
        ArgumentError: the file cannot be written.
    """
    tensor_files.write(path, _KEY, {"version": _VERSION, **numbers}, net.state_dict())


def load(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the numbers and the tensors of a file.

    Raises:
        ArgumentError: the file is not one of a net, or is damaged.
        FileNotFoundError: there is no such file.
    """
    return tensor_files.read(path, _KEY, _VERSION, _EXPECTED, _MEND)


def damaged(path: str | PathLike[str], error: Exception) -> ArgumentError:
    """The error for a file that holds no net that fits."""
    return tensor_files.damaged(path, error, _EXPECTED, _MEND)
