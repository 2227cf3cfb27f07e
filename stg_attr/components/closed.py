"""What closed components show: their activation on other inputs, its mean, or 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.model import Given, checked_inputs
from stg_attr.model.given_rows import GivenRows
from stg_attr.model.layer_rows import LayerRows

from .forward import Shown
from .runs import SiteRuns

__all__ = ["Closed", "Counterfactuals", "MeanActivation", "checked_counterfactuals"]


@dataclass(frozen=True, eq=False)
class MeanActivation:
    """Closed components show their mean activation over some inputs, at each position.

    Args:
        rows: the inputs, [rows, ...], or a tuple of such tensors, as the model takes them.
        additional_forward_args: what the model is given beside them; None for the arguments of the call.

    Example:
        >>> MeanActivation(torch.zeros(100, 3)).rows.shape
        torch.Size([100, 3])
    """

    rows: Given
    additional_forward_args: Any = None


#: Inputs on which closed components act, one for each example; or the mean over some inputs; None for 0.
Counterfactuals: TypeAlias = Given | MeanActivation | None


@dataclass(frozen=True)
class Closed:
    """Reads what closed components show.

    Attributes:
        forward: the model.
        runs: its sites.
        places: where the rows of the examples are in the tensors of each site.
        together: rows of a call of the model.
    """

    forward: Callable[..., Any]
    runs: SiteRuns
    places: Sequence[LayerRows]
    together: int

    def each(self, rows: GivenRows) -> Shown:
        """The activations of inputs, [rows, ...] for each site and run of its module."""
        parts = list(self._parts(rows))
        return [[torch.cat(runs) for runs in zip(*site, strict=True)] for site in zip(*parts, strict=True)]

    def mean(self, rows: GivenRows) -> Shown:
        """Their mean over the inputs, [1, ...]."""
        total: Shown = []
        for part in self._parts(rows):
            # half precision would lose what many rows add
            sums = [
                [t.sum(0, True, dtype=torch.promote_types(t.dtype, torch.float32)) for t in s] for s in part
            ]
            pairs = zip(total or sums, sums, strict=True)
            total = [[a + b for a, b in zip(x, y, strict=True)] for x, y in pairs] if total else sums
        return [[t / len(rows) for t in site] for site in total]

    def zero(self, rows: GivenRows) -> Shown:
        """0 in the shape of the activations of an input, [1, ...]."""
        values = rows(range(1))
        inputs, arguments = tuple(values[: len(rows.inputs)]), tuple(values[len(rows.inputs) :])
        one = next(self._parts(GivenRows(inputs, arguments, rows.device)))
        return [[torch.zeros_like(t) for t in site] for site in one]

    def _parts(self, rows: GivenRows) -> Iterator[Shown]:
        """The activations, some rows after the others."""
        for start in range(0, len(rows), self.together):
            some = range(len(rows))[start : start + self.together]
            seen = self.runs.read(self.forward, rows(some))
            yield [[p.unfolded(t, len(some)) for t in s] for p, s in zip(self.places, seen, strict=True)]


def checked_counterfactuals(baselines: Given, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Counterfactual inputs as a tuple, each with the rows and shape of the input.

    Raises:
        ArgumentError: they are of another number or shape.
    """
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    found = tuple(x if b is None else b for b, x in zip(given, inputs, strict=False))
    if len(given) == len(inputs) and all(isinstance(b, Tensor) for b in found):
        one = [
            b.expand(x.shape) if b.shape == (1, *x.shape[1:]) else b
            for b, x in zip(found, inputs, strict=True)
        ]
        if [b.shape for b in one] == [x.shape for x in inputs]:
            return checked_inputs(tuple(one))
    raise ArgumentError(
        "baselines",
        expected=f"counterfactual inputs of shapes {[tuple(x.shape) for x in inputs]}, one for each input",
        found=str([tuple(b.shape) if isinstance(b, Tensor) else type(b).__name__ for b in given]),
        mend="Pass one row for each example, or MeanActivation(rows); None for 0.",
    )
