"""Examples: all that the model is given for some examples of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.gates import Blend
from stg_attr.objective import Anchors

__all__ = ["Arguments", "Examples", "goes_along"]


def goes_along(argument: Any, batch: int) -> bool:
    """Whether an additional argument is a tensor with one row for each example."""
    return isinstance(argument, Tensor) and argument.dim() > 0 and argument.shape[0] == batch


@dataclass(frozen=True, eq=False)
class Arguments(Batch):
    """Additional arguments of the model, in two groups: with one row per example, and the same for all.

    Attributes:
        along: those with one row per example, each [batch, ...].
        fixed: the others, the same for all examples.
        order: for each argument in the order of the call, whether it is in `along`.
    """

    along: tuple[Tensor, ...] = field(metadata=per_example())
    fixed: tuple[Any, ...]
    order: tuple[bool, ...]

    @classmethod
    def of(cls, arguments: tuple[Any, ...], batch: int) -> Arguments:
        """Split the arguments of a call."""
        values = [_differentiable(argument) for argument in arguments]
        order = tuple(goes_along(value, batch) for value in values)
        along = tuple(value for value, moves in zip(values, order, strict=True) if moves)
        fixed = tuple(value for value, moves in zip(values, order, strict=True) if not moves)
        return cls(along, fixed, order)

    def repeated(self, times: int) -> list[Any]:
        """All arguments in the order of the call; rows of examples are repeated, once for each sample."""
        along = (part.repeat(times, *[1] * (part.dim() - 1)) for part in self.along)
        fixed = iter(self.fixed)
        return [next(along) if moves else next(fixed) for moves in self.order]


def _differentiable(argument: Any) -> Any:
    """Copy a tensor that was made under `torch.inference_mode`: autograd accepts only the copy."""
    return argument.clone() if isinstance(argument, Tensor) and argument.is_inference() else argument


@dataclass(frozen=True, eq=False)
class Examples(Batch):
    """Some examples of a batch, with all that the model is given for them.

    Attributes:
        index: their numbers in the batch, long [examples] on the CPU.
        blend: their inputs, references and groups.
        arguments: their additional arguments.
        place: position of the explained score in a flattened row of outputs, long [examples]; None where a
            row is one number.
        anchors: the scores of their inputs and baselines; None before these are measured.
    """

    index: Tensor = field(metadata=per_example())
    blend: Blend = field(metadata=per_example())
    arguments: Arguments = field(metadata=per_example())
    place: Tensor | None = field(default=None, metadata=per_example())
    anchors: Anchors | None = field(default=None, metadata=per_example())
    _parts: dict[tuple[int, int], Examples] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def ones(self) -> Tensor:
        """A 1 for each example, long [examples]; the scorer adds it to its counts of evaluations."""
        return torch.ones_like(self.index)

    def part(self, rows: slice) -> Examples:
        """Consecutive examples, as one object that is kept: every step asks for the same rows again."""
        if rows.start == 0 and rows.stop >= len(self.index):
            return self
        key = (rows.start, rows.stop)
        if key not in self._parts:
            self._parts[key] = self.rows(rows)
        return self._parts[key]
