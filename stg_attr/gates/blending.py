"""Blending: the input of the model when some gates are closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

from .baselines import Baseline, amounts_of, as_references
from .features import FeatureGroups
from .filling import FillIn
from .representative import representative_order

__all__ = ["Blend", "mixed"]


@dataclass(frozen=True)
class Blend(Batch):
    """x_z = z x + (1 - z) b: the input that the model sees, for one or several inputs.

    Attributes:
        inputs: x, each [batch, ...].
        references: b, what closed gates show, from `as_references`.
        groups: which gate each element belongs to.
        fills: for each input what fills in its hidden elements in place of its references, or None; none at
            all where no input has one. The references are then those where all is hidden.
        amounts: for each input the `amounts` of its `ReferenceSet`, or None; none at all where no input has
            some.
        n_held_out: references that are kept for a certificate: the last ones of the order in which they are
            shown.
        order: the order in which references are shown; empty for a random one.
    """

    inputs: tuple[Tensor, ...] = field(metadata=per_example())
    references: tuple[Tensor, ...] = field(metadata=per_example(axis=1, shared=True))
    groups: FeatureGroups = field(metadata=per_example())
    fills: tuple[FillIn | None, ...] = ()
    amounts: tuple[Tensor | None, ...] = ()
    n_held_out: int = 0
    order: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        inputs: tuple[Tensor, ...],
        baselines: Baseline | tuple[Baseline | None, ...] | None,
        groups: FeatureGroups,
        n_held_out: Callable[[int], int] = lambda n: 0,
    ) -> Blend:
        """The blend of inputs with baselines of any kind; see `as_references`.

        Which references are held out is random. The others are shown in a representative order where they
        are rows that all examples share, and in a random one where they are computed.

        Args:
            inputs: each [batch, ...].
            baselines: what closed gates show.
            groups: which gate each element belongs to.
            n_held_out: how many of so many references are kept for a certificate.

        Raises:
            ArgumentError: the baselines do not fit the inputs.
        """
        references = as_references(baselines, inputs)
        each = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
        fills = tuple(b if isinstance(b, FillIn) else None for b in each)
        amounts = tuple(amounts_of(b) for b in each)
        known = any(a is not None for a in amounts)
        blend = cls(inputs, references, groups, fills if any(fills) else (), amounts if known else ())
        kept = n_held_out(blend.n_references)
        order, seen = blend.reference_order, blend.n_references - kept
        if seen > 1 and not any(callable(b) or isinstance(b, FillIn) for b in each):
            shown = [b[order[:seen].to(b.device)] if len(b) > 1 else b for b in references]
            numbers = [None if a is None else a[order[:seen].to(a.device)] for a in amounts]
            order = torch.cat([order[:seen][representative_order(shown, numbers)], order[seen:]])
        return replace(blend, n_held_out=kept, order=tuple(order.tolist()))

    @property
    def n_references(self) -> int:
        """Number of references of each example."""
        return max(reference.shape[0] for reference in self.references)

    @cached_property
    def reference_order(self) -> Tensor:
        """The order in which references are shown, long [references].

        No seed changes it, so that solves with several seeds are measured on the same references.
        """
        if self.order:
            return torch.tensor(self.order, device="cpu")
        generator = torch.Generator().manual_seed(0)
        return torch.randperm(self.n_references, generator=generator, device="cpu")

    def mean_references(self, n: int) -> tuple[Tensor, ...]:
        """The mean over the references whose scores are reported, one [1 or batch, ...] per input.

        A single reference keeps its dtype. Where references are held out, scores are reported of the last of
        them, else of the first of all.

        Args:
            n: how many there are, at most.
        """
        rows = self.reference_order[-n:] if self.n_held_out else self.reference_order[:n]
        return tuple(_mean_of(b[rows.to(b.device)] if len(b) > 1 else b) for b in self.references)

    @cached_property
    def differs(self) -> Tensor:
        """Features whose value is not that of every reference, bool [batch, gates]: others change nothing."""
        x = self.inputs[0]
        if self.fills:  # what a hidden feature shows is not known before
            return self.groups.exists.expand(len(x), -1)
        found = torch.zeros(len(x), self.groups.n_gates, dtype=torch.bool, device=x.device)
        for row in range(self.n_references):
            shown = (b[row if len(b) > 1 else 0] for b in self.references)
            found |= self.groups.any([x != b for x, b in zip(self.inputs, shown, strict=True)])
            if bool((found | ~self.groups.exists).all()):
                break  # most inputs differ in everything from the first reference
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the gates: float64 if an input has that dtype, else float32."""
        double = any(x.dtype == torch.float64 for x in self.inputs)
        return torch.float64 if double else torch.float32

    def __call__(self, gates: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs that the model sees, with samples and batch in one dimension.

        Args:
            gates: gate values in [0, 1], [samples, batch, gates].
            draws: number of the reference that each sample uses, long [samples].

        Returns:
            One tensor per input, [samples * batch, ...]: all examples of the first sample, then of the next.
        """
        return tuple(self._blend(gates, draws, which) for which in range(len(self.inputs)))

    def _blend(self, gates: Tensor, draws: Tensor, which: int) -> Tensor:
        x, references = self.inputs[which], self.references[which]
        z = self.groups.expand(gates, which)  # [samples, batch, ...]
        fill = self.fills[which] if self.fills else None
        if fill is not None:
            b = fill.drawn(x, z, draws)
        else:
            b = (
                references[draws] if references.shape[0] > 1 else references
            )  # [samples or 1, 1 or batch, ...]
        return mixed(x, b, z, (gates.shape[0], *x.shape))


def mixed(x: Tensor, b: Tensor, z: Tensor, shape: Sequence[int]) -> Tensor:
    """Blend values whose shapes broadcast: z x + (1 - z) b; of whole numbers and flags, x where z > 0.5.

    Args:
        x: values where z is 1.
        b: values where z is 0.
        z: gate values in [0, 1].
        shape: of all samples of all examples, (samples, batch, ...).

    Returns:
        [samples * batch, ...].
    """
    if x.is_floating_point() or x.is_complex():
        # lerp returns exactly b at z = 0 and exactly x at z = 1; z * x + (1 - z) * b may round
        rows = torch.lerp(b, x, z.to(x.dtype))
    else:
        rows = torch.where(z > 0.5, x, b)  # a mixture of integers, such as ids, has no meaning
    rows = rows.expand(shape).flatten(0, 1)
    # of one example with expanded gates, torch chooses another order of the dimensions in memory, which
    # `Tensor.view` in the model would refuse
    return rows.contiguous() if x.is_contiguous() else rows


def _mean_of(references: Tensor) -> Tensor:
    if len(references) == 1:
        return references[0]
    real = references.is_floating_point() or references.is_complex()
    return references.mean(0, dtype=None if real else torch.float64)
