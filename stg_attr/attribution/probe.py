"""Probe: the model and all it was asked, so that an explanation can ask it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stg_attr.gates import Blend
from stg_attr.objective import Objective

from .case import Case
from .model import undisturbed
from .scoring import Scorer

__all__ = ["Probe"]


@dataclass(frozen=True, eq=False)
class Probe:
    """A live question: explanations in memory carry it, files and pickles do not.

    Attributes:
        forward: the model.
        arguments: its additional arguments, on the device of the solve.
        objective: what was asked.
        blend: all examples, on the device where they were given.
        index: what is explained, from `as_index`.
        device: where the model is run.
        rows_together: examples in one case.
        samples_per_call: gate samples in one call of the model; None for the default.
        n_references: references on which sets are measured.
        seed: of the solve; of a model that draws noise of its own, too.
    """

    forward: Callable[..., Any]
    arguments: tuple[Any, ...]
    objective: Objective
    blend: Blend
    index: Tensor | None
    device: torch.device
    rows_together: int
    samples_per_call: int | None
    n_references: int
    seed: int

    def shards(self) -> Iterator[slice]:
        """The rows of each case, one after the other."""
        batch = len(self.blend.inputs[0])
        return (slice(i, i + self.rows_together) for i in range(0, batch, self.rows_together))

    def repeated(self, rows: slice, times: int) -> Tensor:
        """Rows again and again, block by block, long [times * rows]."""
        return torch.arange(len(self.blend.inputs[0]), device="cpu")[rows].repeat(times)

    def undisturbed(self) -> AbstractContextManager[None]:
        """The context in which the model is asked: the caller's state is put back at its end."""
        return undisturbed(self.forward, self.device, self.seed)

    def scorer(self, rows: slice | Tensor) -> Scorer:
        """Runs the model on some rows."""
        return Scorer(self.forward, self.arguments, len(self.blend.inputs[0]), rows)

    def case(self, rows: slice | Tensor, scorer: Scorer | None = None) -> Case:
        """The case of some rows, a long tensor may repeat them; to be used within `undisturbed`."""
        index = self.index[rows] if self.index is not None and len(self.index) > 1 else self.index
        return Case(
            self.blend.rows(rows).to(self.device),
            scorer or self.scorer(rows),
            self.objective,
            index,
            self.samples_per_call,
            self.n_references,
        )
