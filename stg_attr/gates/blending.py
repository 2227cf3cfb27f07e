"""Blending: the input of the model when some gates are closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.errors import ArgumentError

from .features import FeatureGroups
from .filling import FillIn
from .tensors import unusual

__all__ = ["Baseline", "Blend", "ReferenceSet", "as_references", "mixed"]


@dataclass(frozen=True)
class ReferenceSet:
    """Many baselines for every example. Each sample of the gates uses one of them.

    A plain tensor whose first dimension is neither 1 nor the batch size is read as a reference set, too. With
    this class the meaning does not depend on the batch size.

    Args:
        rows: reference rows, [references, ...], each of the shape of one example.
        amounts: for ids that stand for amounts, as the cells of a table do: these amounts, of the shape of
            `rows`, NaN where an id stands for none. They make contributions more exact and change nothing
            else.

    Example:
        >>> ReferenceSet(torch.zeros(100, 3)).rows.shape
        torch.Size([100, 3])
    """

    rows: Tensor
    amounts: Tensor | None = None


#: What a closed gate shows: a number, a tensor ([1 or batch, ...]), many reference rows, or a function of
#: the input. The function returns [batch, ...], as a blur does, or [references, batch, ...], as noise does.
Baseline = int | float | Tensor | ReferenceSet | Callable[[Tensor], Tensor]


def as_references(
    baselines: Baseline | tuple[Baseline | None, ...] | None, inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Convert every kind of baseline into one form, for all inputs.

    Args:
        baselines: one baseline, or one per input; None means 0.
        inputs: the inputs, each [batch, ...].

    Returns:
        One tensor per input, [references, 1 or batch, ...], which broadcasts to the input. Each has either
        one reference or the same number of references as the others.

    Raises:
        ArgumentError: count, type, shape or values of the baselines do not fit the inputs.
    """
    several = isinstance(baselines, tuple)
    given = list(baselines) if isinstance(baselines, tuple) else [baselines] * len(inputs)
    if len(given) != len(inputs) or (not several and len(inputs) > 1 and isinstance(baselines, Tensor)):
        raise ArgumentError(
            "baselines",
            expected=f"one baseline per input, {len(inputs)}",
            found=str(len(given)) if several else "1 tensor",
            mend="Pass a tuple with a baseline for every input; None means 0.",
        )
    references = tuple(_references(b, x, i) for i, (b, x) in enumerate(zip(given, inputs, strict=True)))
    counts = {r.shape[0] for r in references} - {1}
    if len(counts) > 1:
        raise ArgumentError(
            "baselines",
            expected="the same number of reference rows for every input, since they are drawn together",
            found=f"{sorted(counts)}",
            mend="Cut the reference sets to one length, or pass a single baseline for some inputs.",
        )
    return references


def _references(baseline: Baseline | None, x: Tensor, i: int) -> Tensor:
    what = f"baseline of input {i}"
    if baseline is None:
        baseline = 0
    if isinstance(baseline, (bool, int, float)) or (isinstance(baseline, Tensor) and baseline.dim() == 0):
        # Without a dtype torch would round the number to the default one, usually single precision. It is
        # made on the CPU, since some devices have no double precision.
        fine = x.dtype if x.is_floating_point() else torch.float64
        dtype = fine if isinstance(baseline, float) else None
        try:
            number = torch.as_tensor(baseline, dtype=dtype, device="cpu")
        except (OverflowError, ValueError, RuntimeError) as error:  # an int beyond 64 bits
            mend = "A float is converted to the type of the input."
            raise ArgumentError(
                what, expected="a number of at most 64 bits", found=str(error), mend=mend
            ) from error
        return _converted(number.reshape((1,) * (x.dim() + 1)), x, what)
    if isinstance(baseline, ReferenceSet):
        reference = _reference_rows(baseline.rows, x, what)
    elif isinstance(baseline, Tensor):
        one_each = baseline.dim() == x.dim() and baseline.shape[0] in (1, x.shape[0])
        reference = baseline.unsqueeze(0) if one_each else _reference_rows(baseline, x, what)
    elif callable(baseline):
        reference = _computed(baseline, x, what)
    else:
        raise _wrong_type(what, baseline, "a number, a tensor, a ReferenceSet or a function of the input")
    if unusual(reference):
        raise ArgumentError(
            what,
            expected="dense tensors with values",
            found=str(unusual(reference)),
            mend="Convert it, for example with .to_dense() or .float().",
        )
    _check_shape(reference, x, what)
    return _converted(reference, x, what)


def _computed(baseline: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
    shown = baseline(x.clone())  # a copy, since the function may change its argument in place
    if not isinstance(shown, Tensor):
        raise _wrong_type(what, shown, "a function that returns a tensor")
    return shown.unsqueeze(0) if shown.dim() == x.dim() else shown


def _wrong_type(what: str, found: object, expected: str) -> ArgumentError:
    return ArgumentError(
        what,
        expected=expected,
        found=type(found).__name__,
        mend="Use torch.as_tensor(...) for arrays and lists of numbers.",
    )


def _converted(reference: Tensor, x: Tensor, what: str) -> Tensor:
    """Convert a reference to dtype and device of the input, and check its values before and after."""
    if reference.is_complex() and not x.is_complex():
        raise ArgumentError(
            what, expected="real numbers", found=str(reference.dtype), mend="Take its .real or .abs()."
        )
    # a copy: later changes of the caller's do not reach it, and autograd takes it where the reference was
    # made under torch.inference_mode
    converted = reference.detach().to(x.device, x.dtype, copy=True)
    if not bool(reference.isfinite().all()) or not bool(converted.isfinite().all()):
        raise ArgumentError(
            what,
            expected=f"finite numbers in the input's {x.dtype}",
            found="NaN or inf",
            mend="Clean it with torch.nan_to_num.",
        )
    if not (x.is_floating_point() or x.is_complex()) and not torch.equal(
        converted.to(reference.dtype), reference.to(x.device)
    ):
        raise ArgumentError(
            what,
            expected=f"values that the input's {x.dtype} can hold",
            found=f"{reference.dtype} with others",
            mend="Give whole numbers within its range, or convert the input with .float().",
        )
    return converted


def _reference_rows(rows: Tensor, x: Tensor, what: str) -> Tensor:
    if not isinstance(rows, Tensor) or rows.dim() != x.dim() or rows.shape[0] == 0:
        shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise ArgumentError(
            what,
            expected=f"shape {('rows', *x.shape[1:])} as the input's {tuple(x.shape)}",
            found=str(shape),
            mend="Give it a leading dimension of 1, of the batch size, or of any number of reference rows.",
        )
    return rows.unsqueeze(1)


def _check_shape(reference: Tensor, x: Tensor, what: str) -> None:
    fits = (
        reference.dim() == x.dim() + 1
        and reference.shape[0] > 0
        and reference.shape[1] in (1, x.shape[0])
        and reference.shape[2:] == x.shape[1:]
    )
    if not fits:
        raise ArgumentError(
            what,
            expected=f"one example of shape {tuple(x.shape[1:])}, or 1, {x.shape[0]} or many of them",
            found=str(tuple(reference.shape[1:] if reference.shape[:1] == (1,) else reference.shape)),
            mend="Give it the shape of the input, with a leading dimension of 1 or of the batch size.",
        )


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
    """

    inputs: tuple[Tensor, ...] = field(metadata=per_example())
    references: tuple[Tensor, ...] = field(metadata=per_example(axis=1, shared=True))
    groups: FeatureGroups = field(metadata=per_example())
    fills: tuple[FillIn | None, ...] = ()
    amounts: tuple[Tensor | None, ...] = ()

    @classmethod
    def of(
        cls,
        inputs: tuple[Tensor, ...],
        baselines: Baseline | tuple[Baseline | None, ...] | None,
        groups: FeatureGroups,
    ) -> Blend:
        """The blend of inputs with baselines of any kind; see `as_references`.

        Raises:
            ArgumentError: the baselines do not fit the inputs.
        """
        references = as_references(baselines, inputs)
        each = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
        fills = tuple(b if isinstance(b, FillIn) else None for b in each)
        amounts = tuple(_amounts(b) for b in each)
        known = any(a is not None for a in amounts)
        return cls(inputs, references, groups, fills if any(fills) else (), amounts if known else ())

    @property
    def n_references(self) -> int:
        """Number of references of each example."""
        return max(reference.shape[0] for reference in self.references)

    @cached_property
    def reference_order(self) -> Tensor:
        """The order in which references are shown, long [references].

        A shuffled order that no seed changes, so that solves with several seeds are measured on the same
        references.
        """
        generator = torch.Generator().manual_seed(0)
        return torch.randperm(self.n_references, generator=generator, device="cpu")

    def mean_references(self, n: int, n_held_out: int) -> tuple[Tensor, ...]:
        """The mean over the references whose scores are reported, one [1 or batch, ...] per input.

        A single reference keeps its dtype.

        Args:
            n: how many there are, at most.
            n_held_out: the last references in order, which neither the solver nor a search is shown; where
                there are some, scores are reported of the last of them, else of the first of all.
        """
        rows = self.reference_order[-n:] if n_held_out else self.reference_order[:n]
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
        return mixed(x, b, z).expand(gates.shape[0], *x.shape).flatten(0, 1)


def mixed(x: Tensor, b: Tensor, z: Tensor) -> Tensor:
    """Blend values whose shapes broadcast: z x + (1 - z) b; of whole numbers and flags, x where z > 0.5."""
    if x.is_floating_point() or x.is_complex():
        # lerp returns exactly b at z = 0 and exactly x at z = 1; z * x + (1 - z) * b may round
        return torch.lerp(b, x, z.to(x.dtype))
    return torch.where(z > 0.5, x, b)  # a mixture of integers, such as ids, has no meaning


def _amounts(baseline: Baseline | None) -> Tensor | None:
    if not isinstance(baseline, ReferenceSet) or baseline.amounts is None:
        return None
    amounts, rows = baseline.amounts, baseline.rows
    if not isinstance(amounts, Tensor) or amounts.shape != rows.shape:
        raise ArgumentError(
            "amounts",
            expected=f"a tensor like the rows of the ReferenceSet, {tuple(rows.shape)}",
            found=str(tuple(amounts.shape)) if isinstance(amounts, Tensor) else type(amounts).__name__,
            mend="Give one amount for each entry of rows, and NaN where there is none.",
        )
    return amounts


def _mean_of(references: Tensor) -> Tensor:
    if len(references) == 1:
        return references[0]
    real = references.is_floating_point() or references.is_complex()
    return references.mean(0, dtype=None if real else torch.float64)
