"""Feature groups: the gate that each element of each input belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.errors import ArgumentError

from .neighbours import image_neighbours
from .tensors import unusual

__all__ = ["FeatureGroups"]

UNGATED = -1  # the id, and the column, of elements that no gate switches


@dataclass(frozen=True)
class FeatureGroups(Batch):
    """The gate of every element of the inputs, from a `feature_mask`.

    Each gate has a column in tensors of shape [..., gates]. The columns are in the order of the feature ids,
    the smallest first. If the mask has a row for each example, each example has columns of its own. An
    example with fewer features than the others has empty columns at the end.

    Attributes:
        index: for each input, the column of each element's gate, -1 where no gate switches the element;
            [1 or batch, ...], broadcastable to the input.
        feature_ids: the ids that the mask uses, [1 or batch, gates]; -1 in empty columns.
        noise_order: number of the noise variable that each gate uses, [1 or batch, gates]. Gates are counted
            in the order of their first elements. So the noise, and with it the result, does not depend on
            how the features are numbered.
        runs: for each input, its first column if its elements have consecutive columns, one for each element,
            so that `expand` only has to reshape; else None.

    Example:
        >>> groups = FeatureGroups.from_mask(torch.tensor([[7, 7, 40]]), (torch.randn(2, 3),))
        >>> groups.n_gates, groups.feature_ids.tolist()
        (2, [[7, 40]])
        >>> groups.expand(torch.tensor([[[0.25, 1.0]]]), 0)
        tensor([[[0.2500, 0.2500, 1.0000]]])
    """

    index: tuple[Tensor, ...] = field(metadata=per_example(shared=True))
    feature_ids: Tensor = field(metadata=per_example(shared=True))
    noise_order: Tensor = field(metadata=per_example(shared=True))
    runs: tuple[int | None, ...]

    @property
    def n_gates(self) -> int:
        """Number of columns: the largest number of features that an example has."""
        return self.feature_ids.shape[1]

    @cached_property
    def exists(self) -> Tensor:
        """Which columns are those of a gate, and not empty; bool [1 or batch, gates]."""
        return self.feature_ids != UNGATED

    @cached_property
    def _flat(self) -> tuple[Tensor, ...]:
        """For each input, the column of each element, [1 or batch, elements].

        Elements that no gate switches get the column after the last, where `expand` puts their value:
        -1 modulo (n_gates + 1) is n_gates.
        """
        return tuple(_rows_of(part).remainder(self.n_gates + 1) for part in self.index)

    @cached_property
    def _in_order(self) -> bool:
        """Whether each gate uses the noise variable with the number of its column."""
        order = self.noise_order
        return torch.equal(order, torch.arange(self.n_gates, device=order.device).expand_as(order))

    @classmethod
    def from_mask(
        cls, feature_mask: Tensor | Sequence[Tensor] | None, inputs: Sequence[Tensor]
    ) -> FeatureGroups:
        """Make the groups of a Captum `feature_mask`. None gives every element its own gate.

        Args:
            feature_mask: integers, one tensor per input, each broadcastable to its input with 1 or
                `batch` rows (or no batch dimension). Elements with the same id share a gate, also if they
                belong to several inputs. Ids may have gaps; -1 marks elements that no gate switches.
            inputs: the inputs, each [batch, ...].

        Raises:
            ArgumentError: count, dtype or shape of the masks is wrong, an id is below -1, or all are -1.
        """
        masks = _running_masks(inputs) if feature_mask is None else _checked_masks(feature_mask, inputs)
        n_rows = max(mask.shape[0] for mask in masks)
        rows = [torch.cat([_row(mask, i).flatten() for mask in masks]) for i in range(n_rows)]
        compact = [_compact(row) for row in rows]
        width = max(ids.numel() for _, ids, _ in compact)
        if width == 0:
            raise ArgumentError(
                "feature_mask",
                expected="at least one element with an id of 0 or more",
                found="only -1, which marks elements that are never gated",
                mend="Give the elements to explain an id.",
            )
        columns = torch.stack([column for column, _, _ in compact])
        sizes = [mask[0].numel() for mask in masks]
        index = tuple(
            part.reshape(n_rows, *mask.shape[1:])
            for part, mask in zip(torch.split(columns, sizes, dim=1), masks, strict=True)
        )
        return cls(
            index=index,
            feature_ids=torch.stack([_padded(ids, width, UNGATED) for _, ids, _ in compact]),
            noise_order=torch.stack([_padded_order(order, width) for _, _, order in compact]),
            runs=tuple(_run(part) for part in index),
        )

    @classmethod
    def from_columns(cls, index: tuple[Tensor, ...], feature_ids: Tensor) -> FeatureGroups:
        """Make groups from columns without gaps. Each gate uses the noise variable of its column."""
        order = torch.arange(feature_ids.shape[1], device=feature_ids.device)
        return cls(index, feature_ids, order.expand_as(feature_ids), tuple(_run(part) for part in index))

    def expand(self, gates: Tensor, which: int, ungated: float = 1.0) -> Tensor:
        """Give each element of one input the value of its gate.

        Args:
            gates: one value per gate, [samples, batch, gates].
            which: number of the input.
            ungated: value of elements that no gate switches.

        Returns:
            [samples, batch, ...], broadcastable to the input.
        """
        index = self.index[which]
        samples, batch, n_gates = gates.shape
        shape = (samples, batch, *index.shape[1:])
        first = self.runs[which]
        if first is not None:  # a view instead of a gather, which would copy
            whole = index.numel() == n_gates
            return (gates if whole else gates[..., first : first + index.numel()]).reshape(shape)
        padded, flat = torch.nn.functional.pad(gates, (0, 1), value=ungated), self._flat[which]
        return padded.gather(2, flat.expand(samples, batch, -1)).reshape(shape)

    def reduce(self, values: Sequence[Tensor]) -> Tensor:
        """Return the mean over the elements of each gate: tensors like the inputs -> [batch, gates]."""
        batch, n_gates = values[0].shape[0], self.n_gates
        total = torch.zeros(batch, n_gates + 1, dtype=torch.float64, device=values[0].device)
        count = torch.zeros_like(total)
        for value, index in zip(values, self.index, strict=True):
            column = _rows_of(index.expand(value.shape)).remainder(n_gates + 1)  # -1 becomes the last column
            total.scatter_add_(1, column, _rows_of(value).to(total.dtype))
            count.scatter_add_(1, column, torch.ones_like(column, dtype=total.dtype))
        return (total / count.clamp_min(1))[:, :n_gates]

    def any(self, flags: Sequence[Tensor]) -> Tensor:
        """Whether an element of each gate has a flag: bool tensors like the inputs -> bool [batch, gates]."""
        found = torch.zeros(len(flags[0]), self.n_gates + 1, dtype=torch.uint8, device=flags[0].device)
        for flag, index in zip(flags, self.index, strict=True):
            column = _rows_of(index.expand(flag.shape)).remainder(self.n_gates + 1)
            found.scatter_reduce_(1, column, _rows_of(flag).to(found.dtype), "amax")
        return found[:, : self.n_gates].bool()

    @cached_property
    def neighbours(self) -> Tensor:
        """The gates beside each gate of an image, long [1 or batch, gates, degree]; -1 for none."""
        return image_neighbours(self.index, self.n_gates)

    def noise(self, uniform: Tensor) -> Tensor:
        """Give each gate its noise variable, as `noise_order` says.

        Args:
            uniform: noise variables in the order of their numbers, [samples, 1 or batch, gates].

        Returns:
            Noise in the order of the columns, [samples, 1 or batch, gates].
        """
        if self._in_order:
            return uniform
        rows = max(uniform.shape[1], self.noise_order.shape[0])
        order = self.noise_order.expand(uniform.shape[0], rows, -1)
        return uniform.expand(-1, rows, -1).gather(2, order)


def _running_masks(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Give each element an id of its own. Ids run on from input to input, since equal ids share a gate."""
    masks, start = [], 0
    for x in inputs:
        n = prod(x.shape[1:])
        masks.append(torch.arange(start, start + n, device=x.device).reshape(1, *x.shape[1:]))
        start += n
    return masks


def _checked_masks(feature_mask: Tensor | Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    given: list[Any] = list(feature_mask) if isinstance(feature_mask, (tuple, list)) else [feature_mask]
    if len(given) != len(inputs):
        raise ArgumentError(
            "feature_mask",
            expected=f"one mask per input, {len(inputs)}",
            found=str(len(given)),
            mend="Pass a tuple with a mask for every input; ids are global over inputs.",
        )
    return [_checked_mask(mask, x, i) for i, (mask, x) in enumerate(zip(given, inputs, strict=True))]


def _checked_mask(mask: Tensor, x: Tensor, i: int) -> Tensor:
    what = f"feature_mask of input {i}"
    if (
        not isinstance(mask, Tensor)
        or mask.is_floating_point()
        or mask.is_complex()
        or mask.dtype == torch.bool
    ):
        raise ArgumentError(
            what,
            expected="a tensor of integers",
            found=str(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__,
            mend="Convert it with mask.long(), after rounding if it holds fractions."
            if isinstance(mask, Tensor)
            else "Give each input a mask: torch.as_tensor(mask), or -1 for elements that have no gate.",
        )
    if unusual(mask):
        raise ArgumentError(
            what,
            expected="a dense tensor of integers",
            found=str(unusual(mask)),
            mend="Convert it, for example with .to_dense().",
        )
    mask = mask.to(x.device, torch.long)
    if mask.numel() and int(mask.min()) < UNGATED:
        raise ArgumentError(
            what,
            expected="ids of 0 or more, or -1 for elements that are never gated",
            found=f"id {int(mask.min())}",
            mend="Renumber it with torch.unique(mask, return_inverse=True)[1].",
        )
    return _with_batch_dim(mask, x, what)


def _with_batch_dim(mask: Tensor, x: Tensor, what: str) -> Tensor:
    full = mask.reshape((1,) * (x.dim() - mask.dim()) + mask.shape) if mask.dim() < x.dim() else mask
    fits = full.dim() == x.dim() and all(m in (1, n) for m, n in zip(full.shape, x.shape, strict=True))
    if not fits:
        repeats = full.dim() == x.dim() and full.shape[0] > 1 and x.shape[0] % full.shape[0] == 0
        hint = (
            " (captum's sensitivity_max and NoiseTunnel repeat the inputs but not always the mask;"
            " use one mask row for all examples there)"
        )
        raise ArgumentError(
            what,
            expected=f"a shape that broadcasts to {tuple(x.shape)}, with 1 or {x.shape[0]} rows",
            found=str(tuple(mask.shape)),
            mend="Give every dimension its full length or 1." + (hint if repeats else ""),
        )
    return full


def _rows_of(x: Tensor) -> Tensor:
    """Reshape [rows, ...] to [rows, elements]; also [rows], where an example is one number."""
    return x.reshape(x.shape[0], -1)


def _row(mask: Tensor, i: int) -> Tensor:
    return mask[i] if mask.shape[0] > 1 else mask[0]


def _compact(row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number the ids of a row without gaps.

    Returns:
        The column of each element (-1 for none), the ids in the order of the columns, and the rank of each
        id if ids are ordered by their first element.
    """
    ids, column = torch.unique(row, return_inverse=True)
    gated = ids != UNGATED
    if not bool(gated.all()):  # unique sorts, so -1 is the first of the ids
        ids, column = ids[1:], column - 1
    position = torch.arange(row.numel(), device=row.device)
    first = torch.full((ids.numel(),), row.numel(), device=row.device)
    inside = column >= 0
    first = first.scatter_reduce(0, column[inside], position[inside], "amin")
    return column, ids, first.argsort().argsort()  # argsort of an order gives the ranks


def _padded(values: Tensor, width: int, fill: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.numel()), value=fill)


def _padded_order(order: Tensor, width: int) -> Tensor:
    """Give empty columns the noise variables that are left, so that every index is valid."""
    return torch.cat([order, torch.arange(order.numel(), width, device=order.device)])


def _run(index: Tensor) -> int | None:
    """Return the first column if the elements have consecutive columns, equal for all examples; else None."""
    flat = index.flatten()
    if index.shape[0] > 1 or flat.numel() == 0 or int(flat[0]) < 0:
        return None
    run = torch.arange(flat.numel(), device=flat.device) + flat[0]
    return int(flat[0]) if torch.equal(flat, run) else None
