"""ComponentForward: a model as a function of the gates of its components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.model.layer_rows import LayerRows

from .runs import SiteRuns
from .site import Site

__all__ = ["ComponentForward", "Shown", "located"]

#: What closed components show: for each site and each run of its module, rows [1 or rows, ...].
Shown = list[list[Tensor]]


class ComponentForward:
    """A model as a function of gates: `forward(gates, index, *values)`.

        a_z = z a + (1 - z) c

    in every component, where a is what it computes in this call, from components that are gated too, and c
    what is shown in its place.

    Args:
        forward: the model.
        runs: its sites.
        rows: where the rows of the examples are in each of their tensors.
        closed: what closed components show.
    """

    def __init__(
        self, forward: Callable[..., Any], runs: SiteRuns, rows: Sequence[LayerRows], closed: Shown
    ) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        self._runs, self._rows, self._closed = runs, rows, closed

    def __call__(self, gates: Tensor, index: Tensor, *values: Any) -> Any:
        """The model's output.

        Args:
            gates: gate values, [rows, components].
            index: the rows of `closed` that closed components show, long [rows].
            values: the inputs and other arguments of the model.
        """
        sizes = [site.n_parts for site in self._runs.sites]
        of_site = torch.split(gates, sizes, dim=1)

        def change(which: int, run: int, tensor: Tensor) -> Tensor:
            if run >= len(self._closed[which]):
                raise _runs_change(self._runs.sites[which], len(self._closed[which]))
            found, rows = self._closed[which][run], self._rows[which]
            shown = found[index] if len(found) > 1 else found
            open_, dim = rows.unfolded(tensor, len(gates)), _from_the_end(self._runs.sites[which], tensor)
            return rows.folded(_mixed(open_, shown, of_site[which], dim))

        output = self._runs.run(self.__wrapped__, values, change)
        for site, n, closed in zip(self._runs.sites, self._runs.n_runs, self._closed, strict=True):
            if n != len(closed):
                raise _runs_change(site, len(closed))
        return output


def _from_the_end(site: Site, tensor: Tensor) -> int:
    """The dimension of a site, counted from the end, since the rows of a tensor are brought to the front."""
    return site.dim - tensor.dim() if site.dim >= 0 else site.dim


def _mixed(own: Tensor, shown: Tensor, gates: Tensor, dim: int) -> Tensor:
    """Parts of a tensor [rows, ...], each gated by one of the gates [rows, parts]."""
    at = dim % own.dim()
    z = gates.to(own.dtype).repeat_interleave(own.shape[at] // gates.shape[1], 1)
    z = z.reshape(len(z), *[1] * (at - 1), -1, *[1] * (own.dim() - 1 - at))
    # lerp returns exactly what is shown at z = 0, and exactly its own at z = 1
    return torch.lerp(shown.expand_as(own), own, z)


def located(
    runs: SiteRuns, forward: Callable[..., Any], given: Callable[[Sequence[int]], Sequence[Any]], n: int
) -> tuple[LayerRows, ...]:
    """Where the rows of the examples are in the tensor of each site, seen by running 2 or fewer of them.

    Args:
        runs: the sites.
        forward: the model.
        given: its arguments for some examples.
        n: number of examples.

    Raises:
        ArgumentError: the rows of a site do not go with the examples, or it cannot be cut into its parts.
    """
    pair = [0, 1] if n > 1 else [0, 0]
    two, one = runs.read(forward, given(pair)), runs.read(forward, given(pair[:1]))
    found = []
    for site, several, alone in zip(runs.sites, two, one, strict=True):
        if len(several) != len(alone):
            raise _runs_change(site, len(several))
        rows = LayerRows.of(several[0], 2, alone[0], 1)
        if rows is None:
            raise _no_rows(site, several[0])
        unfolded = rows.unfolded(several[0], 2)
        at = _from_the_end(site, several[0])
        width = unfolded.shape[at] if rows.dim - several[0].dim() < at < 0 else 0
        if not width or width % site.n_parts:
            raise _cannot_be_cut(site, several[0], rows.dim)
        found.append(rows)
    return tuple(found)


def _runs_change(site: Site, n: int) -> ArgumentError:
    return ArgumentError(
        f"site {site.name!r}",
        expected="a module that the model runs equally often for every input",
        found=f"one that ran {n} times, and another number of times on other rows",
        mend="If it runs once for each row or token, take a module that runs on all rows at once.",
    )


def _no_rows(site: Site, tensor: Tensor) -> ArgumentError:
    return ArgumentError(
        f"site {site.name!r}",
        expected="a tensor whose rows go with the examples, [batch, ...]",
        found=f"shape {tuple(tensor.shape)} for 2 examples",
        mend="Its rows were sorted, chosen or merged before. Take another module.",
    )


def _cannot_be_cut(site: Site, tensor: Tensor, rows: int) -> ArgumentError:
    return ArgumentError(
        f"site {site.name!r}",
        expected=f"a dimension after that of the examples, {rows}, which {site.n_parts} parts divide",
        found=f"dimension {site.dim} of shape {tuple(tensor.shape)}",
        mend="Change dim or n_parts of the site.",
    )
