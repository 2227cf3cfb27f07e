"""Tensor files: named tensors and one text in the safetensors format, never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import Tensor

from .errors import ArgumentError

__all__ = ["DAMAGED", "damaged", "read", "write"]

#: What reading a file may raise where anyone may have written it.
DAMAGED = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


def write(
    path: str | PathLike[str], key: str, text: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a file.

    Args:
        path: of the file.
        key: by which the text is found.
        text: what JSON can hold.
        tensors: by name.

    Raises:
        ArgumentError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    copies = {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items()}
    try:
        save_file(copies, path, {key: json.dumps(text)})
    except (SafetensorError, OSError) as error:
        raise ArgumentError(
            "path",
            expected="the name of a file in a folder that is there and can be written to",
            found=f"{path}: {error}",
            mend="Make the folder first, for example with Path(path).parent.mkdir(parents=True).",
        ) from error


def read(
    path: str | PathLike[str], key: str, version: int, expected: str, mend: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The text and the tensors of a file.

    Args:
        path: of the file, which anyone may have written.
        key: by which the text is found.
        version: that the text must have as its "version".
        expected: what the file should be, for the error.
        mend: what to do otherwise, for the error.

    Raises:
        ArgumentError: the file is no such file, is damaged, or cannot be read.
        FileNotFoundError: there is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            text: dict[str, Any] = json.loads((file.metadata() or {})[key])
            # copies, since the tensors of the file change when the file does
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if text["version"] != version:
            raise ValueError(f"version {text['version']}")
        return text, tensors
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, *DAMAGED) as error:
        raise damaged(path, error, expected, mend) from error


def damaged(path: str | PathLike[str], error: Exception, expected: str, mend: str) -> ArgumentError:
    """The error for a file that does not hold what it should; see `read` for the arguments."""
    return ArgumentError("path", expected=expected, found=f"{path}: {error}", mend=mend)
