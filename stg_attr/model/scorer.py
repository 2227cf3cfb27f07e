"""Scorer: one number per row from any model, and the count of rows that the model was run on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import unusual
from stg_attr.objective import Anchors

from .chunks import is_out_of_memory
from .examples import Arguments, Examples
from .first_call import WithoutGradients
from .memory import Memory
from .randomness import watched
from .signals import raised_by_handler

__all__ = [
    "Scorer",
    "check_difference",
    "check_finite",
    "check_single",
    "class_kept",
    "not_by_row",
    "only_together",
    "picked",
    "score_dtype",
]


class Scorer:
    """Runs the model on blended rows and picks the explained output.

    Args:
        forward: takes the inputs and the additional arguments, returns [rows, ...].
        arguments: additional arguments; tensors with `batch` rows are cut and repeated with the examples.
        batch: number of examples.
        rows: the examples that are scored, a slice or long [rows]; None for all.
        memory: of rows that were run before, whose outputs need no slopes; None to run all.

    Attributes:
        forward: the model.
        arguments: the additional arguments of the scored examples.
        one_row_per_call: the model returns a single number, so that a call can have only one row.
        raised: the exception that the model raised last.
        checked: model rows evaluated `aside` for each example, long [batch] on the CPU.
        remembered: model rows in `evaluations` that were not run, long [batch] on the CPU.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        arguments: tuple[Any, ...],
        batch: int,
        rows: slice | Tensor | None = None,
        memory: Memory | None = None,
    ) -> None:
        rows = slice(None) if rows is None else rows
        self.arguments = Arguments.of(arguments, batch).rows(rows)
        self.one_row_per_call = False
        self.raised: Exception | None = None
        self._has_answered = False
        self._row: torch.Size | None = None  # shape of a row of outputs, once a call has had several rows
        self.forward, self._memory = forward, memory
        self._without_gradients = WithoutGradients(forward)
        n = len(range(batch)[rows]) if isinstance(rows, slice) else len(rows)
        self._asked = torch.zeros(n, dtype=torch.long, device="cpu")
        self.checked, self.remembered = torch.zeros_like(self._asked), torch.zeros_like(self._asked)

    @property
    def evaluations(self) -> Tensor:
        """Model rows asked for so far for each example, without those `aside`, long [batch] on the CPU."""
        return self._asked.clone()

    @property
    def n_run(self) -> Tensor:
        """Rows that the model was run on for each example, long [batch] on the CPU."""
        return self._asked + self.checked - self.remembered

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Count rows in `checked`, and not in `evaluations`.

        They do not change what may be spent on an example, so that it has the same answer in every batch.
        """
        counted, self._asked = self._asked, self.checked
        try:
            with self.anew():
                yield
        finally:
            self._asked = counted

    @contextlib.contextmanager
    def anew(self) -> Iterator[None]:
        """Run the model on rows that it was run on before, too."""
        memory, self._memory = self._memory, None
        try:
            yield
        finally:
            self._memory = memory

    def output(self, inputs: Sequence[Tensor], examples: Examples) -> Tensor:
        """Call the model and count its rows; its output, [samples * examples, ...].

        Args:
            inputs: blended inputs, each [samples * examples, ...]; examples of the first sample come first.
            examples: the examples they belong to.
        """
        repeats = inputs[0].shape[0] // len(examples.index)
        # index_add_ counts an example that is listed several times as often as it is listed; += would not
        self._asked.index_add_(0, examples.index, examples.ones, alpha=repeats)
        arguments, recalled = examples.arguments.repeated(repeats), None
        if self._memory is not None and not self.one_row_per_call and self._memory.may_answer():
            recalled = self._memory.recall(inputs, arguments, examples.arguments.order)
            self.remembered.index_add_(0, examples.index, recalled.known.reshape(repeats, -1).sum(0))
            inputs, arguments = recalled.inputs, recalled.arguments
            if not len(inputs[0]):
                return recalled.whole()
        n = inputs[0].shape[0]
        try:
            with watched():
                call = self.forward if torch.is_grad_enabled() else self._without_gradients
                output = call(*inputs, *arguments)
        except Exception as error:
            if raised_by_handler(error):
                raise
            if self._answers_one_only(inputs, examples, error):
                raise only_alone(error, n) from error
            self.raised = error  # an error of the model, which `may_stop` tells from all others
            raise
        row = self._row if self._memory is None else self._row or self._memory.row
        found = _checked_output(output, n, self.one_row_per_call, row)
        self._row = found.shape[1:] if n > 1 else self._row
        self._has_answered = True
        return found if recalled is None else recalled.whole(found)

    def _answers_one_only(self, inputs: Sequence[Tensor], examples: Examples, error: Exception) -> bool:
        """Whether the model, which failed in its first call with several rows, answers for one of them."""
        first = len(self._asked) == 1 and len(inputs[0]) > 1 and self._has_answered and self._row is None
        if not first or not _is_about_shapes(error):
            return False
        try:
            self.forward(*(x[:1].clone() for x in inputs), *examples.arguments.repeated(1))
        except Exception:
            return False
        return True

    def may_stop(self, failure: BaseException) -> bool:
        """Whether an exception is Ctrl-C or came from the model: what was learned before it is then kept."""
        return isinstance(failure, KeyboardInterrupt) or failure is self.raised


def _is_about_shapes(error: Exception) -> bool:
    """Whether an error may say that tensors do not fit each other."""
    kinds = (ValueError, RuntimeError, IndexError, AssertionError)
    return isinstance(error, kinds) and not is_out_of_memory(error)


def picked(output: Tensor, examples: Examples) -> Tensor:
    """The explained score of each row of outputs [samples * examples, ...]; [samples, examples].

    The scores are a copy, since a model may write all of its answers into one buffer.
    """
    if examples.place is None:
        return output.reshape(-1, len(examples.index)).clone()
    # one flat index per example fits outputs with any number of dimensions
    output = output.reshape(-1, len(examples.index), output.shape[1:].numel())
    return output.gather(2, examples.place.reshape(1, -1, 1).expand(len(output), -1, -1)).squeeze(2)


def class_kept(output: Tensor, examples: Examples) -> Tensor:
    """Whether the explained class has the highest output in rows [samples * examples, classes]; 1 or 0."""
    assert examples.place is not None  # which is checked before a solve begins
    highest = output.argmax(1).reshape(-1, len(examples.index))
    return (highest == examples.place.to(highest.device)).to(torch.get_default_dtype())


def score_dtype(output: torch.dtype, gates: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision in which scores are compared.

    Outputs in double precision, and whole numbers that single precision may round, are compared in double
    precision, whatever that of the inputs is. Devices without double precision keep that of the gates.
    """
    whole = not output.is_floating_point and output.itemsize >= 4
    wide = output == torch.float64 or whole
    return torch.float64 if wide and device.type != "mps" else gates


def _checked_output(output: Any, rows: int, scalar_allowed: bool, row: torch.Size | None) -> Tensor:
    mend = (
        "Return one row of outputs per input row; wrap the model in a function if it returns more. "
        "A single example needs a batch dimension: x.unsqueeze(0)."
    )
    # a list of one matrix for each of several outputs, as models of scikit-learn return it
    several = isinstance(output, list) and 0 < len(output) != rows and getattr(output[0], "ndim", 0) > 1
    values = None if several else _as_tensor(output)
    if values is None or unusual(values) or values.is_complex():
        raise ArgumentError(
            "forward_func",
            expected="a tensor of real numbers as output, or an array, list or number",
            found=_kind(output if values is None else values),
            mend=f"{_how_to_choose(output)}{mend}",
        )
    if values.dim() == 0 and rows == 1:
        return values if scalar_allowed else values.reshape(1)
    if rows == 1 and values.shape == row:  # one row of a model that squeezes its output
        return values.unsqueeze(0)
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
        array = np.asarray(output)
        # torch warns of an array that cannot be written to, such as a column of pandas
        return torch.as_tensor(array if array.flags.writeable else array.copy(), device="cpu")
    except (TypeError, ValueError, RuntimeError):  # objects, text, ragged lists
        return None


def _how_to_choose(output: Any) -> str:
    """How to take a tensor out of an output with several parts; nothing where it has none."""
    if isinstance(output, Mapping):
        part = next((f"[{name!r}]" for name, value in output.items() if _is_part(value)), None)
    elif isinstance(output, (tuple, list)):
        part = next((f"[{i}]" for i, value in enumerate(output) if _is_part(value)), None)
    else:
        named = vars(output).items() if hasattr(output, "__dict__") else ()
        part = next((f".{name}" for name, value in named if _is_part(value)), None)
    if part is not None:
        return f"Pass a function of one part of it, such as lambda x: model(x){part}. "
    entries = output.ravel().tolist() if isinstance(output, np.ndarray) else output
    named_classes = isinstance(entries, list) and any(isinstance(entry, str) for entry in entries)
    return "Labels are no scores: pass predict_proba, say, and not predict. " if named_classes else ""


def _is_part(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _kind(output: Any) -> str:
    if isinstance(output, Tensor):
        return unusual(output) or str(output.dtype)
    if isinstance(output, (list, tuple)) and output:
        return f"{type(output).__name__} of {type(output[0]).__name__}"
    kind = type(output).__name__
    return f"{kind} of {output.dtype}" if isinstance(output, np.ndarray) else kind


def check_single(samples_per_call: int | None) -> None:
    """Check that one sample goes into a call of a model that returns one number.

    Raises:
        ArgumentError: the user wants more.
    """
    if samples_per_call not in (None, 1):
        raise ArgumentError(
            "perturbations_per_eval",
            expected="1, since forward_func returns one number per call",
            found=str(samples_per_call),
            mend="Leave it out, or return one score for every row.",
        )


def check_finite(scores: Tensor, where: str) -> None:
    """Check scores [references, batch].

    Raises:
        ArgumentError: some are NaN or inf.
    """
    if not bool(scores.isfinite().all()):
        rows: Sequence[int] = (~scores.isfinite()).any(0).nonzero().flatten().tolist()
        raise ArgumentError(
            "forward_func",
            expected=f"finite scores on {where}",
            found=f"NaN or inf for examples {rows[:8]}",
            mend="Check the model on these rows; a baseline of zeros may be outside its domain.",
        )


def check_difference(anchors: Anchors) -> None:
    """Check that the difference of the scores of inputs and references is a number.

    Raises:
        ArgumentError: it is larger than any number of their type.
    """
    if not bool(anchors.spread.isfinite().all()):
        row = int((~anchors.spread.isfinite()).long().argmax())
        full, baseline = float(anchors.full[row]), float(anchors.baseline[row])
        raise ArgumentError(
            "forward_func",
            expected=f"scores of input and baseline whose difference {anchors.full.dtype} can hold",
            found=f"{full:.4g} and {baseline:.4g} for example {row}",
            mend="Divide the score by a constant, or return it in double precision.",
        )


def not_by_row(found: str) -> ArgumentError:
    """The error for a function that cannot be asked about some of its rows."""
    return ArgumentError(
        "forward_func",
        expected="a function that scores any examples of the batch, in any number and order",
        found=found,
        mend="It may close over its batch: name the output by target, and pass what belongs to each row "
        "(labels, lengths, a state) as tensors in additional_forward_args; or explain one example at a time "
        "with perturbations_per_eval=1. Rows that belong together, such as the nodes of a graph, are one "
        "example.",
    )


def only_alone(error: Exception, rows: int) -> ArgumentError:
    """The error for a function that answers for one row, and fails for several."""
    return ArgumentError(
        "forward_func",
        expected="a function that scores any number of rows, since one call scores many masked inputs",
        found=f"{type(error).__name__} for {rows} rows, though a single one works: {error}",
        mend="It may close over its example: name the output by target, and pass what belongs to the example "
        "(a label, a length) as a tensor in additional_forward_args; or pass perturbations_per_eval=1.",
    )


def only_together(error: Exception, rows: int, batch: int) -> ArgumentError:
    """The error for a function that fails for some rows of a batch, and not for all of them together."""
    return not_by_row(f"{type(error).__name__} for {rows} rows, though all {batch} together work: {error}")
