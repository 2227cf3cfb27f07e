"""Memory: the outputs of rows that a model was run on, for questions that ask for the same rows again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .randomness import is_random

__all__ = ["Memory", "Recalled"]

_MOST_NUMBERS = 2**26  # of all outputs that are kept: 256 MB in single precision; more rows are not kept


class Memory:
    """Outputs without slopes of the rows that a model was run on.

    Attributes:
        row: shape of a row of outputs; None before the first.
    """

    def __init__(self) -> None:
        self.row: torch.Size | None = None
        self._known: dict[bytes, Tensor] = {}
        self._numbers = 0

    def may_answer(self) -> bool:
        """Whether an output may be taken from an earlier call: it needs no slopes, and no chance is in it."""
        return not torch.is_grad_enabled() and not is_random()

    def recall(self, inputs: Sequence[Tensor], arguments: Sequence[Any], along: Sequence[bool]) -> Recalled:
        """What is known of some rows, and what the model must be run on.

        Args:
            inputs: each [rows, ...].
            arguments: additional arguments.
            along: which of these have one row for each row of the inputs.
        """
        keys = _keys([*inputs, *(a for a, moves in zip(arguments, along, strict=True) if moves)])
        first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._known}
        rows = torch.tensor(sorted(first.values()), dtype=torch.long, device="cpu")
        known = torch.ones(len(keys), dtype=torch.long, device="cpu").index_fill(0, rows, 0)
        given = [a[rows.to(a.device)] if moves else a for a, moves in zip(arguments, along, strict=True)]
        here = [x[rows.to(x.device)] for x in inputs]
        return Recalled(self, keys, [keys[i] for i in rows.tolist()], known, here, given)

    def outputs(self, keys: Sequence[bytes], fresh: dict[bytes, Tensor]) -> Tensor:
        """The outputs of rows, [rows, ...]; those of `fresh` are kept."""
        if fresh:
            self._keep(fresh)
        return torch.stack([fresh[key] if key in fresh else self._known[key] for key in keys])

    def _keep(self, fresh: dict[bytes, Tensor]) -> None:
        row = next(iter(fresh.values()))
        self.row, numbers = row.shape, row.numel() * len(fresh)
        if self._numbers + numbers <= _MOST_NUMBERS and not is_random():
            self._numbers += numbers
            self._known |= fresh


@dataclass(frozen=True)
class Recalled:
    """Some rows, and which of them the model must be run on.

    Attributes:
        memory: of rows that were run before.
        keys: of the rows.
        missing: of those that the model must be run on, each once.
        known: whether the model need not be run on a row, long [rows] of 0 and 1 on the CPU.
        inputs: of those that are missing, each [missing, ...].
        arguments: that go with them.
    """

    memory: Memory
    keys: list[bytes]
    missing: list[bytes]
    known: Tensor
    inputs: list[Tensor]
    arguments: list[Any]

    def whole(self, output: Tensor | None = None) -> Tensor:
        """The outputs of all rows, [rows, ...], given those that were missing, [missing, ...]."""
        rows = () if output is None else output.detach().clone()
        return self.memory.outputs(self.keys, dict(zip(self.missing, rows, strict=True)))


def _keys(tensors: Sequence[Tensor]) -> list[bytes]:
    """The same short bytes for rows that are equal in all tensors, each [rows, ...]."""
    flat = [x.detach().cpu().reshape(len(x), -1).contiguous().view(torch.uint8).numpy() for x in tensors]
    return [hashlib.blake2b(b"".join(x[i].tobytes() for x in flat)).digest() for i in range(len(flat[0]))]
