"""Targets: which output of the model is explained, for each example."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, warn
from stg_attr.gates import unusual

__all__ = ["Target", "as_index", "flat_place", "resolve_target"]

#: What to explain, as captum takes it: a class, a position in an output of several dimensions, or one of
#: these per example; None for the predicted class.
Target: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None

_LARGEST = 2**63  # long tensors hold integers from -2**63 to 2**63 - 1


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


def resolve_target(
    index: Tensor | None, output: Tensor, forward: Callable[..., Any] | None = None
) -> Tensor | None:
    """The position of each example's score in its row of outputs.

    Args:
        index: the target from `as_index`; None for the predicted class of outputs [batch, classes].
        output: the model's output on the inputs, [batch, ...].
        forward: the model, which may be a method of a regressor.

    Returns:
        Indices, long [batch, output dimensions - 1], or None where a row is one number.

    Raises:
        ArgumentError: a target is missing, or does not fit the output.
    """
    batch, depth = output.shape[0], output.dim() - 1
    _check_meaning(index, output, forward)
    if index is None:
        return _own_prediction(output)
    if index.shape[1] != depth:
        raise ArgumentError(
            "target",
            expected=f"{depth} indices per example for outputs of shape {tuple(output.shape)}",
            found=f"{index.shape[1]}",
            mend="Pass an index for every dimension of the output after the first."
            if depth
            else "Leave it out: each row has one score.",
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
    # remainder makes negative indices, which count from the end, positive
    return index.remainder(sizes).expand(batch, depth).to(output.device)


def _check_meaning(index: Tensor | None, output: Tensor, forward: Callable[..., Any] | None) -> None:
    """Warn of labels that would be explained as amounts; refuse a regressor of which no output is named."""
    whole = not (output.is_floating_point() or output.is_complex())
    kind, method = _estimator_method(forward)
    of_classifier, is_flag = kind == "classifier", output.dtype == torch.bool
    whole_labels = whole and (of_classifier or (not is_flag and bool((output.abs() > 1).any())))
    if whole_labels or (of_classifier and method == "predict"):  # labels may be floats, too
        found = "True and False" if is_flag else f"whole numbers up to {int(output.abs().max())}"
        warn(
            f"forward_func returns {found}. They are explained as "
            "amounts. If they are class labels, pass a function that returns a score for each class, such as "
            "predict_proba; if they are amounts, return them as floats."
        )
    if index is None and output.dim() == 2 and output.shape[1] > 1 and kind == "regressor":
        raise ArgumentError(
            "target",
            expected=f"the number of an output, since the regressor returns {output.shape[1]} of them",
            found="None",
            mend="Without a target the largest output is explained, which makes sense for classes only.",
        )


def _estimator_method(forward: Callable[..., Any] | None) -> tuple[str | None, str | None]:
    """What scikit-learn calls the owner of a method, such as "classifier", and the method's name.

    Both are None for other functions.
    """
    while isinstance(forward, partial):
        forward = forward.func
    method = None if forward is None else inspect.unwrap(forward, stop=_is_method)
    owner = getattr(method, "__self__", None)
    tags = getattr(owner, "__sklearn_tags__", None)
    kind: str | None = tags().estimator_type if callable(tags) else getattr(owner, "_estimator_type", None)
    return kind, getattr(method, "__name__", None) if kind else None


def _is_method(function: Callable[..., Any]) -> bool:
    return hasattr(function, "__self__")


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
    index = target.detach().cpu().long().clone()  # later changes of the caller's do not reach it
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
    if isinstance(entry, bool) or flag:  # Python takes True for 1, but as a class it is a mistake
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
    if found == "str":
        mend = "Pass the number of the class: list(model.classes_).index(name), or config.label2id[name]."
    return ArgumentError(
        "target",
        expected="an int, a tuple of ints, an integer tensor, or a list of one of these per example",
        found=found,
        mend=mend,
    )


def flat_place(target: Tensor, sizes: torch.Size) -> Tensor:
    """Positions in flattened rows of outputs, long [batch]: (i_0 n_1 + i_1) n_2 + i_2 and so on.

    Args:
        target: indices i, long [batch, dims].
        sizes: the shape n of a row of outputs, one number for each of `dims`.
    """
    place = target[:, 0]
    for i, size in enumerate(sizes[1:], 1):
        place = place * size + target[:, i]
    return place
