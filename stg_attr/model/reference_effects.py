"""ReferenceEffects: what each of several references shows in each feature, as columns of a regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.gates import Blend

__all__ = ["ReferenceEffects"]


@dataclass(frozen=True)
class ReferenceEffects:
    """Columns that say what each reference shows in each feature.

    A feature with amounts has one column in proportion to them, for scores that are linear in it, and columns
    of 0 and 1 at thresholds, for any other. A feature of ids or categories has a column for each value; so
    has one of several elements, such as one-hot columns, whose values are shown by two references on average.
    Columns have the mean 0 over the references, and the squares of those of a feature add up to a mean of 1.

    Attributes:
        columns: [references, columns].
        gate: the feature of each column, long [columns].
    """

    columns: Tensor
    gate: Tensor

    @classmethod
    def of(cls, blend: Blend, used: Tensor, thresholds: int) -> ReferenceEffects | None:
        """Read the references.

        Args:
            blend: inputs, references and features.
            used: which references are shown, long [references].
            thresholds: of each feature with amounts, at most.

        Returns:
            None for one reference, where references or features are not the same for all examples, and where
            the references do not differ.
        """
        pairs = zip(blend.references, blend.inputs, strict=True)
        shared = all(_is_shared(b) and b.shape[2:] == x.shape[1:] for b, x in pairs)
        if len(used) < 2 or not shared or any(len(index) > 1 for index in blend.groups.index):
            return None
        rows = [_chosen(b[:, 0], used) for b in blend.references]
        known = blend.amounts or (None,) * len(rows)
        amounts = [_amounts(row, of, used) for row, of in zip(rows, known, strict=True)]
        groups = blend.groups.to(torch.device("cpu"))
        mean = groups.reduce(amounts)  # NaN where something has no amount
        there = mean.isfinite()
        alike = _dense_rank(groups.reduce([_mixed(row, seed) for seed, row in enumerate(rows)]))
        elements = torch.cat([index.flatten() for index in groups.index])
        single = elements[elements >= 0].bincount(minlength=groups.n_gates) == 1
        repeated = alike.amax(0) + 1 <= len(used) / 2
        numeric = there.any(0) & (single | ~repeated)
        filled = torch.where(there, mean, mean.nanmean(0)).nan_to_num()
        parts = [
            _unit(filled.unsqueeze(1)) * numeric,
            _unit(_steps(filled, thresholds)) * numeric,
            _unit(there.to(filled.dtype).unsqueeze(1)) * numeric,  # a missing amount has an effect of its own
            _unit(_levels(torch.where(numeric, 0, alike))),
        ]
        several = torch.stack([part.square().sum(1).mean(0) for part in parts]).sum(0)  # kinds of columns
        columns = torch.cat(parts, dim=1) / several.clamp_min(1).sqrt()
        gate = torch.arange(columns.shape[2], device="cpu").expand(columns.shape[1], -1)
        differs = (columns != 0).any(0)
        return cls(columns[:, differs], gate[differs]) if bool(differs.any()) else None

    def shown(self, which: Tensor) -> ReferenceEffects:
        """Those of some references, each any number of times, long [samples]."""
        return ReferenceEffects(self.columns[which], self.gate)


def _chosen(rows: Tensor, used: Tensor) -> Tensor:
    rows = rows.cpu()
    return rows[used] if len(rows) > 1 else rows.expand(len(used), *rows.shape[1:])


def _amounts(row: Tensor, known: Tensor | None, used: Tensor) -> Tensor:
    """The amounts of the elements of references, float64 [references, ...]; NaN for ids."""
    if known is not None:
        return _chosen(known, used).double()
    return (
        row.double()
        if row.is_floating_point()
        else torch.full(row.shape, torch.nan, dtype=torch.float64, device="cpu")
    )


def _is_shared(references: Tensor) -> bool:
    """Whether all examples have the same references, [references, 1 or batch, ...], as activations do."""
    return references.shape[1] == 1 or bool((references == references[:, :1]).all())


def _mixed(row: Tensor, seed: int) -> Tensor:
    """Numbers whose mean over some elements is the same only if each of these elements is, [references, ...].

    They are equal to the last bit where the elements are, and by chance hardly ever.
    """
    generator = torch.Generator().manual_seed(seed)
    real = torch.view_as_real(row).sum(-1) if row.is_complex() else row
    weight = torch.rand(row.shape[1:], dtype=torch.float64, generator=generator) + 0.5
    return _dense_rank(real).double() * weight


def _dense_rank(values: Tensor) -> Tensor:
    """The number of smaller values among the references, each counted once, long [references, ...]."""
    ordered, place = values.sort(0)
    new = torch.zeros_like(place)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(place).scatter_(0, place, new.cumsum(0))


def _steps(values: Tensor, most: int) -> Tensor:
    """1 where a value is above a threshold between references, [references, steps, gates]."""
    ordered, n = values.sort(0).values, len(values)
    after = torch.linspace(0, n - 1, min(n - 1, most) + 1, device="cpu").long()[:-1]
    cut = (ordered[after] + ordered[after + 1]) / 2
    return (values.unsqueeze(1) > cut).to(values.dtype)


def _levels(rank: Tensor) -> Tensor:
    """1 for the value that a reference has, [references, values, gates]."""
    level = torch.arange(int(rank.max()) + 1, device="cpu").reshape(-1, 1)
    return (rank.unsqueeze(1) == level).double()


def _unit(columns: Tensor) -> Tensor:
    """Columns with mean 0; the squares of those of a gate add up to a mean of 1, or 0 for a constant one."""
    centred = columns - columns.mean(0)
    size = centred.square().mean(0).sum(0).sqrt()
    return centred / torch.where(size > 0, size, 1.0)
