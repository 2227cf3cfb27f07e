"""Pairs: rows of a data set, each with a reference, as the draws of gates that all rows share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from .blending import Blend, mixed
from .features import FeatureGroups

__all__ = ["PairedBlend", "Pairs"]


@dataclass(frozen=True)
class Pairs:
    """Draws of a row and a reference. Each sample of the shared gates is scored on one of them.

    The last draws have rows that no other draw has, and other references, where there are many: what was
    searched on the first ones can be tested on the last.

    Attributes:
        rows: of the data, one [rows, ...] per input.
        references: what closed gates show, one [references, 1 or rows, ...] per input.
        row: the row of each draw, long [draws].
        reference: its reference, long [draws].
        n_fresh: number of draws at the end whose rows no other draw has.
    """

    rows: tuple[Tensor, ...]
    references: tuple[Tensor, ...]
    row: Tensor
    reference: Tensor
    n_fresh: int

    @classmethod
    def of(cls, blend: Blend, n_draws: int, most_fresh: int, least_divided: int, seed: int = 0) -> Pairs:
        """Draw rows and references at random.

        Args:
            blend: all rows, with their references.
            n_draws: draws for learning and searching; rows are drawn in turns, references independently.
            most_fresh: further draws with rows of their own, each drawn once; half of the rows at most.
            least_divided: from so many references on, half of them are kept for the further draws; fewer
                serve all draws.
            seed: of the draws.
        """
        made, n, n_references = torch.Generator().manual_seed(seed), len(blend.inputs[0]), blend.n_references
        order, shuffled = (torch.randperm(k, generator=made, device="cpu") for k in (n, n_references))
        n_fresh = min(n // 2, most_fresh)
        known = order[: n - n_fresh]
        some, others = (shuffled, shuffled) if n_references < least_divided else shuffled.chunk(2)
        row = torch.cat([known[torch.arange(n_draws, device="cpu") % len(known)], order[n - n_fresh :]])
        drawn = [
            pool[torch.randint(len(pool), (k,), generator=made, device="cpu")]
            for pool, k in ((some, n_draws), (others, n_fresh))
        ]
        return cls(blend.inputs, blend.references, row, torch.cat(drawn), n_fresh)

    def __len__(self) -> int:
        return len(self.row)

    def blend(self, inputs: tuple[Tensor, ...], groups: FeatureGroups, n_held_out: int = 0) -> PairedBlend:
        """The blend of one example that stands for all rows.

        Args:
            inputs: what an explanation names as its inputs, each [1, ...].
            groups: the gates that all rows share.
            n_held_out: draws that are kept for a certificate.
        """
        references = tuple(_mean(b.flatten(0, 1)).unsqueeze(0) for b in self.references)
        return PairedBlend(inputs, references, groups, n_held_out=n_held_out, pairs=self)

    @property
    def mean_row(self) -> tuple[Tensor, ...]:
        """What stands for all rows: their mean, each [1, ...]; of whole numbers the first."""
        return tuple(_mean(x) for x in self.rows)

    def shown(self, draws: Tensor, which: int) -> tuple[Tensor, Tensor]:
        """Rows and references of some draws, twice [draws, 1, ...].

        Args:
            draws: long [draws].
            which: number of the input.
        """
        x, b, draws = self.rows[which], self.references[which], draws.cpu()
        row = self.row[draws].to(x.device)
        reference = self.reference[draws].to(x.device) % len(b)
        return x[row].unsqueeze(1), b[reference, row % b.shape[1]].unsqueeze(1)


@dataclass(frozen=True)
class PairedBlend(Blend):
    """x_z = z x + (1 - z) b, with another row x and another reference b for each draw.

    Its inputs and references are means, for those who read an explanation. Besides the blended inputs, a call
    returns the number of the row of each sample, long [samples].
    """

    pairs: Pairs = field(kw_only=True)

    @property
    def n_references(self) -> int:
        """Number of draws."""
        return len(self.pairs)

    @cached_property
    def reference_order(self) -> Tensor:
        """The draws as they are, since they are at random; those with fresh rows come last."""
        return torch.arange(len(self.pairs), device="cpu")

    @cached_property
    def differs(self) -> Tensor:
        """Features whose value is not that of the reference in every draw, bool [1, gates]."""
        found = torch.zeros(1, self.groups.n_gates, dtype=torch.bool, device=self.inputs[0].device)
        for draws in torch.split(self.reference_order, 64):
            parts = [self.pairs.shown(draws, which) for which in range(len(self.inputs))]
            found |= self.groups.any([(x != b).any(0) for x, b in parts])
            if bool((found | ~self.groups.exists).all()):
                break
        return found

    def __call__(self, gates: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        """The inputs that the model sees, each [samples * batch, ...], and the numbers of their rows, long.

        Args:
            gates: gate values in [0, 1], [samples, batch, gates]: a search may ask for the example several
                times.
            draws: number of the draw of each sample, long [samples], or [1] for all.
        """
        draws = draws.expand(len(gates))
        blended = (self._paired(gates, draws, which) for which in range(len(self.inputs)))
        return (*blended, self.pairs.row[draws.cpu()].repeat_interleave(gates.shape[1]))

    def _paired(self, gates: Tensor, draws: Tensor, which: int) -> Tensor:
        z, (x, b) = self.groups.expand(gates, which), self.pairs.shown(draws, which)
        return mixed(x, b, z, (*gates.shape[:2], *x.shape[2:]))


def _mean(rows: Tensor) -> Tensor:
    """The mean of rows, [1, ...]; of whole numbers, which may be ids, the first."""
    real = rows.is_floating_point() or rows.is_complex()
    return rows.mean(0, keepdim=True) if real else rows[:1]
