"""Files of trained nets: tensors and text in the safetensors format, never code."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

from stg_attr.errors import ArgumentError

from .nets import GateNet

__all__ = ["load", "save"]

_VERSION = 1


def save(net: GateNet, numbers: dict[str, Any], path: str | PathLike[str]) -> None:
    """Write the tensors of a net, and numbers.

    Raises:
        ArgumentError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: x.detach().cpu().clone().contiguous() for name, x in net.state_dict().items()}
    try:
        save_file(tensors, path, {"stg_attr.amortized": json.dumps({"version": _VERSION, **numbers})})
    except (SafetensorError, OSError) as error:
        raise ArgumentError(
            "path",
            expected="the name of a file in a folder that is there and can be written to",
            found=f"{path}: {error}",
            mend="Make the folder first.",
        ) from error


def load(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the numbers and the tensors of a file.

    Raises:
        ArgumentError: the file is not one of a net, or is damaged.
        FileNotFoundError: there is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            numbers: dict[str, Any] = json.loads((file.metadata() or {})["stg_attr.amortized"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if numbers.pop("version") != _VERSION:
            raise ValueError("another version")
        return numbers, tensors
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error


def damaged(path: str | PathLike[str], error: Exception) -> ArgumentError:
    """The error for a file that holds no net that fits."""
    return ArgumentError(
        "path",
        expected="a file written by AmortizedStochasticGates.save, with the same net",
        found=f"{path}: {error}",
        mend="Fit it again, or pass the net that was saved.",
    )
