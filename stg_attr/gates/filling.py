"""Filling: a baseline that sees what is shown, so that what is hidden is filled in to fit it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["FillIn", "NearestRows", "Table"]


class Table(Protocol):
    """A DataFrame of pandas or Polars, or an array of NumPy: [rows, columns], or [rows] with named fields."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and of columns."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class NearestRows:
    """The rows of a table that fill in the hidden cells of others: see `references.nearest`.

    Attributes:
        data: the table.
        n: number of rows for each selection of columns.
        seed: of the order of rows that are alike.
    """

    data: Table
    n: int
    seed: int


@dataclass(frozen=True)
class FillIn:
    """A baseline that sees which elements are shown, and fills in the hidden ones to fit these.

        x_z = z x + (1 - z) fill(x, z)

    A fixed baseline can put together what does not occur, such as a summer day with snow. With this one, a
    hidden feature shows what is likely given the shown ones. The score then has information about hidden
    features that the shown ones carry: a feature may be needed less, since others tell its value.

    Explaining individual predictions when features are dependent (Aas, Jullum, Løland, 2021),
    https://arxiv.org/abs/1903.10464.

    Args:
        fill: called with inputs [rows, ...], which are 0 where nothing is shown, and the share of each
            element that is shown, in [0, 1], of the same shape and on the same device. It returns what hidden
            elements show: [rows, ...], or [references, rows, ...], of which each sample uses one. The number
            of references is always the same.
        rows: those that fill in the cells of a table, in place of the function; as `references.nearest` makes
            them.

    Raises:
        ArgumentError: the function does not take two arguments.

    Example:
        >>> mean_of_shown = FillIn(lambda x, shown: (x * shown).sum(1, keepdim=True).expand(x.shape))
        >>> mean_of_shown(torch.tensor([[5.0, 7.0]]))  # where nothing is shown
        tensor([[0., 0.]])
    """

    fill: Callable[[Tensor, Tensor], Tensor]
    rows: NearestRows | None = None

    def __post_init__(self) -> None:
        """Check that the function takes two arguments."""
        try:
            inspect.signature(self.fill).bind(None, None)
        except ValueError:  # such as of a function of torch, which says nothing of its arguments
            return
        except TypeError as error:
            raise ArgumentError(
                "fill",
                expected="a function of the inputs and of the share of each element that is shown",
                found=f"{self.fill!r}, for which {error}" if callable(self.fill) else repr(self.fill),
                mend="FillIn(lambda x, shown: ...) gets both; a function of the inputs needs no FillIn.",
            ) from error

    def __call__(self, x: Tensor) -> Tensor:
        """What is shown where all is hidden, for inputs [batch, ...]."""
        return self._filled(torch.zeros_like(x), torch.zeros(x.shape, device=x.device))

    def drawn(self, x: Tensor, shown: Tensor, draws: Tensor) -> Tensor:
        """What hidden elements show in each sample, [samples, batch, ...].

        Args:
            x: inputs, [batch, ...].
            shown: the share of each element that is shown, [samples, 1 or batch, ...].
            draws: the number of the reference of each sample, long [samples].

        Raises:
            ArgumentError: the function returns another shape.
        """
        shown = shown.expand(shown.shape[0], *x.shape)
        visible = torch.where(shown > 0, x, torch.zeros((), dtype=x.dtype, device=x.device))
        found = self._filled(visible.flatten(0, 1), shown.flatten(0, 1)).to(x.device, x.dtype)
        if found.dim() > x.dim():  # with one reference, it may be that none is drawn for each sample
            row = torch.arange(found.shape[1], device=found.device)
            which = draws.to(found.device).repeat_interleave(len(x)) if len(found) > 1 else 0
            found = found[which, row]
        return found.reshape(shown.shape)

    def _filled(self, x: Tensor, shown: Tensor) -> Tensor:
        found = self.fill(x, shown)
        if not isinstance(found, Tensor) or found.shape not in (x.shape, (*found.shape[:1], *x.shape)):
            raise ArgumentError(
                "baselines",
                expected=f"a function that fills in inputs of shape {tuple(x.shape)}, or several times",
                found=str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__,
                mend="Return a tensor [rows, ...] or [references, rows, ...].",
            )
        return found
