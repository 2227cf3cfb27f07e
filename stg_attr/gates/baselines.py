"""Baselines: what closed gates show, every kind of it in one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

from .tensors import unusual

__all__ = ["Baseline", "ReferenceSet", "amounts_of", "as_references"]


@dataclass(frozen=True)
class ReferenceSet:
    """Many baselines for every example. Each sample of the gates uses one of them.

    A plain tensor whose first dimension is neither 1 nor the batch size is read as a reference set, too. With
    this class the meaning does not depend on the batch size.

    Args:
        rows: reference rows, [references, ...], each of the shape of one example.
        amounts: for ids that stand for amounts, as the cells of a table do: these amounts, of the shape of
            `rows`, NaN where an id stands for none. They make contributions more exact, and decide which
            references are shown first; see `representative_order`.

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
    stacked = shown.unsqueeze(0) if shown.dim() == x.dim() else shown
    if stacked.dim() != x.dim() + 1 or stacked.shape[1] not in (1, len(x)):
        raise ArgumentError(
            what,
            expected=f"a function that returns shape {(1, *x.shape[1:])} or {tuple(x.shape)}",
            found=str(tuple(shown.shape)),
            mend="Give it the shape of the input, with a leading dimension of 1 or of the batch size. Stack "
            "several of these in a new first dimension.",
        )
    return stacked


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


def amounts_of(baseline: Baseline | None) -> Tensor | None:
    """The amounts of a reference set, like its rows; None where a baseline has none.

    Raises:
        ArgumentError: they are not like the rows.
    """
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
