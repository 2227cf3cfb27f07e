"""Scoring: one number per row from any model, and the count of rows that were asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import unusual

from .pieces import Kept, Room

__all__ = ["Scorer", "Target", "as_index", "goes_along", "resolve_target"]

#: What to explain, as captum takes it: a class, a position in an output of several dimensions, or one of
#: these per example; None for the predicted class.
Target: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None

_LARGEST = 2**63  # beyond it, no tensor holds an index


class Scorer:
    """Runs the model on blended rows and picks the explained output; `raised` is what it last raised.

    Args:
        forward: takes the inputs and the additional arguments, returns [rows, ...].
        arguments: additional arguments; tensors with `batch` rows go along with their examples.
        batch: number of examples.
        rows: those of the examples that are scored, long if not a slice; None for all.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        arguments: tuple[Any, ...],
        batch: int,
        rows: slice | Tensor | None = None,
    ) -> None:
        rows = slice(None) if rows is None else rows
        self._forward = forward
        self._go_along = [goes_along(argument, batch) for argument in arguments]
        self._arguments = [
            _differentiable(argument[rows] if go_along else argument)
            for argument, go_along in zip(arguments, self._go_along, strict=True)
        ]
        self._batch = len(range(batch)[rows]) if isinstance(rows, slice) else len(rows)
        self.target: Tensor | None = None
        self.raised: Exception | None = None
        self.one_row_per_call = False
        self._asked = torch.zeros(self._batch, dtype=torch.long, device="cpu")
        self._rows = Kept(self._rows_of, 2 * self._batch)

    @property
    def evaluations(self) -> Tensor:
        """Model rows evaluated so far for each example, long [batch] on the CPU."""
        return self._asked.clone()

    def output(self, inputs: Sequence[Tensor], examples: Tensor) -> Tensor:
        """The model's raw output on rows sample by sample, [samples * examples, ...].

        Args:
            inputs: blended inputs, each [samples * examples, ...].
            examples: the examples they belong to, long [examples] on the CPU.
        """
        n, rows = inputs[0].shape[0], self._rows(examples)
        repeats = n // len(examples)
        self._asked.index_add_(0, examples, rows.ones, alpha=repeats)
        arguments = (
            _repeated(argument, repeats) if go_along else argument
            for argument, go_along in zip(rows.arguments, self._go_along, strict=True)
        )
        try:
            output = self._forward(*inputs, *arguments)
        except Exception as error:
            self.raised = error
            raise
        return _checked_output(output, n, self.one_row_per_call)

    def _rows_of(self, examples: Tensor) -> _Rows:
        arguments = [
            argument[examples] if go_along else argument
            for argument, go_along in zip(self._arguments, self._go_along, strict=True)
        ]
        return _Rows(torch.ones_like(examples), arguments)

    def may_stop(self, failure: BaseException) -> bool:
        """Whether an exception is Ctrl-C or the model's own."""
        return isinstance(failure, KeyboardInterrupt) or failure is self.raised

    def observe(self, inputs: tuple[Tensor, ...], index: Tensor | None, room: Room) -> Tensor:
        """Run the model on the inputs themselves and settle what is explained: `target`, [batch, dims].

        Args:
            inputs: the inputs, each [batch, ...].
            index: the target from `as_index`.
            room: how many examples go into a call.

        Returns:
            The explained score of each example, [batch].
        """
        self.one_row_per_call = self._batch == 1
        everyone = torch.arange(self._batch, device="cpu")

        def outputs(_: slice, rows: slice) -> tuple[Tensor]:
            output = self.output([x[rows] for x in inputs], everyone[rows])
            self.one_row_per_call = output.dim() == 0
            return (output.reshape(1, -1) if output.dim() == 0 else output.unsqueeze(0),)

        (output,) = room.over(outputs, 1, self._batch)
        self.target = resolve_target(index, output[0])
        return self._picked(output[0], everyone)[0]

    def scores(self, inputs: Sequence[Tensor], examples: Tensor) -> Tensor:
        """The explained score of each row, [samples, examples]; arguments as for `output`."""
        return self._picked(self.output(inputs, examples), examples)

    def _picked(self, output: Tensor, examples: Tensor) -> Tensor:
        if self.target is None:
            return output.reshape(-1, len(examples))
        rows = self._rows(examples)
        if rows.place is None:
            rows.place = _places(self.target[examples.to(output.device)], output.shape[1:])
        output = output.reshape(-1, len(examples), output.shape[1:].numel())
        return output.gather(2, rows.place.expand(len(output), -1, -1)).squeeze(2)


@dataclass
class _Rows:
    """What belongs to some examples.

    Attributes:
        ones: long [examples] on the CPU.
        arguments: additional arguments of the model, one row an example where they go along.
        place: of their explained scores in a flat output, long [1, examples, 1]; None before it is needed.
    """

    ones: Tensor
    arguments: list[Any]
    place: Tensor | None = None


def _places(target: Tensor, sizes: torch.Size) -> Tensor:
    """Places in an output of such sizes, laid flat, of indices [rows, sizes]; long [1, rows, 1]."""
    place = target[:, 0]
    for i, size in enumerate(sizes[1:], 1):
        place = place * size + target[:, i]
    return place.reshape(1, -1, 1)


def _repeated(argument: Tensor, repeats: int) -> Tensor:
    return argument.repeat(repeats, *([1] * (argument.dim() - 1)))


def goes_along(argument: Any, batch: int) -> bool:
    """Whether an additional argument has a row for each example."""
    return isinstance(argument, Tensor) and argument.dim() > 0 and argument.shape[0] == batch


def _differentiable(argument: Any) -> Any:
    """A tensor made under `torch.inference_mode` cannot enter a graph; its copy can."""
    return argument.clone() if isinstance(argument, Tensor) and argument.is_inference() else argument


def _checked_output(output: Any, rows: int, scalar_allowed: bool) -> Tensor:
    mend = (
        "Return one row of outputs per input row; wrap the model in a function if it returns more. "
        "A single example needs a batch dimension: x.unsqueeze(0)."
    )
    values = _as_tensor(output)
    if values is None or unusual(values) or values.is_complex():
        raise ArgumentError(
            "forward_func",
            expected="a tensor of real numbers as output, or an array, list or number",
            found=_kind(output if values is None else values),
            mend=mend,
        )
    if values.dim() == 0 and rows == 1 and scalar_allowed:
        return values
    if values.dim() == 0:
        mend = "Explain one example at a time, with internal_batch_size=1, if it takes a single row."
    if values.dim() == 0 or values.shape[0] != rows or values.numel() == 0:
        raise ArgumentError(
            "forward_func",
            expected=f"an output with one row for each of {rows} input rows",
            found=f"shape {tuple(values.shape)}",
            mend=mend,
        )
    return values


def _as_tensor(output: Any) -> Tensor | None:
    """Numbers of any kind as a tensor; None for what is not numbers."""
    if isinstance(output, Tensor):
        return output
    if not isinstance(output, (bool, int, float, list)) and not hasattr(output, "__array__"):
        return None
    try:
        return torch.as_tensor(np.asarray(output), device="cpu")
    except (TypeError, ValueError, RuntimeError):  # objects, text, ragged lists
        return None


def _kind(output: Any) -> str:
    if isinstance(output, Tensor):
        return unusual(output) or str(output.dtype)
    return type(output).__name__


def as_index(target: Target, batch: int) -> Tensor | None:
    """A target as a tensor, checked as far as it can be without running the model.

    Args:
        target: as captum takes it.
        batch: number of examples.

    Returns:
        Indices, long [1 or batch, indices], or None where the target is None.

    Raises:
        ArgumentError: the target is of a wrong type or length.
    """
    if target is None:
        return None
    index = _tensor_as_index(target) if isinstance(target, Tensor) else _entries_as_index(target)
    if index.shape[0] not in (1, batch):
        raise ArgumentError(
            "target",
            expected=f"one target for all examples, or one for each of {batch}",
            found=f"{index.shape[0]} of them",
            mend="Pass an int or a tuple for all examples, or a tensor or list with one entry per example.",
        )
    return index


def resolve_target(index: Tensor | None, output: Tensor) -> Tensor | None:
    """The position of each example's score in its row of outputs.

    Args:
        index: the target from `as_index`; None for the predicted class of outputs [batch, classes].
        output: the model's output on the inputs, [batch, ...].

    Returns:
        Indices, long [batch, output dimensions - 1], or None where a row is one number.

    Raises:
        ArgumentError: a target is missing, or does not fit the output.
    """
    batch, depth = output.shape[0], output.dim() - 1
    if index is None:
        return _own_prediction(output)
    if index.shape[1] != depth:
        raise ArgumentError(
            "target",
            expected=f"{depth} indices per example for outputs of shape {tuple(output.shape)}",
            found=f"{index.shape[1]}",
            mend="Pass an index for every dimension of the output after the first; None where there is none.",
        )
    sizes = torch.tensor(output.shape[1:], device="cpu")
    wrong = (index < -sizes) | (index >= sizes)
    if bool(wrong.any()):
        raise ArgumentError(
            "target",
            expected=f"indices into outputs of shape {tuple(output.shape[1:])}",
            found=f"{index[wrong][0].item()}",
            mend="Classes count from 0.",
        )
    return index.remainder(sizes).expand(batch, depth).to(output.device)


def _own_prediction(output: Tensor) -> Tensor | None:
    if output.dim() == 1:
        return None
    if output.dim() == 2:
        return output.detach().argmax(1, keepdim=True)
    raise ArgumentError(
        "target",
        expected=f"a tuple of {output.dim() - 1} indices, since the model returns {tuple(output.shape)}",
        found="None",
        mend="Say which output is explained, or wrap the model in a function that returns one score per row.",
    )


def _tensor_as_index(target: Tensor) -> Tensor:
    odd = unusual(target)
    if odd:
        raise _wrong_type(odd)
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise _wrong_type(str(target.dtype))
    if target.dim() > 2:
        raise _wrong_type(
            f"a tensor of shape {tuple(target.shape)}", "Its shape is [batch] or [batch, indices]."
        )
    index = target.detach().cpu().long()
    return index.reshape(-1, 1) if index.dim() < 2 else index


def _entries_as_index(target: Any) -> Tensor:
    entries = [_as_tuple(entry) for entry in (target if isinstance(target, list) else [target])]
    if len({len(entry) for entry in entries}) > 1:
        raise _wrong_type(
            f"tuples of different lengths {sorted({len(entry) for entry in entries})}",
            "Pass one index for every dimension of the output after the first.",
        )
    width = len(entries[0]) if entries else 1
    return torch.tensor(entries, dtype=torch.long, device="cpu").reshape(len(entries), width)


def _as_tuple(entry: Any) -> tuple[int, ...]:
    flag = isinstance(entry, Tensor) and entry.dtype == torch.bool
    if isinstance(entry, bool) or flag:  # an int for Python, never a class
        raise _wrong_type("bool")
    if isinstance(entry, tuple):
        return tuple(index for part in entry for index in _as_tuple(part))
    try:
        index = operator.index(entry)
    except TypeError:
        raise _wrong_type(type(entry).__name__) from None
    if not -_LARGEST <= index < _LARGEST:
        raise _wrong_type(str(index), "Classes count from 0.")
    return (index,)


def _wrong_type(found: str, mend: str = "Convert it with int(...) or .long().") -> ArgumentError:
    return ArgumentError(
        "target",
        expected="an int, a tuple of ints, an integer tensor, or a list of one of these per example",
        found=found,
        mend=mend,
    )
