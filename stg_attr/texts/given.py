"""Texts as users give them: strings, or pairs of strings, checked before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["Example", "Texts", "as_texts", "is_texts", "mask_of"]

#: Texts to explain: one, a list of them, or a list of pairs.
Texts = str | Sequence[str] | Sequence[tuple[str, ...]]

#: The texts of one example: one, or two of a pair.
Example = tuple[str, ...]

_MEND = "Pass a list of strings, such as ['a great film'], or of pairs of strings."


def is_texts(inputs: Any) -> bool:
    """Whether inputs are meant as texts: a string, or a list, or a column of strings."""
    if isinstance(inputs, str):
        return True
    if isinstance(inputs, list):
        return not inputs or any(map(_holds_text, inputs))
    if isinstance(inputs, Tensor | tuple) or len(getattr(inputs, "shape", ())) != 1:
        return False
    entries = list(inputs)  # a row of a table may hold strings, too, beside other cells
    return any(isinstance(e, str) for e in entries) and all(isinstance(e, str) or _is_gap(e) for e in entries)


def _is_gap(entry: Any) -> bool:
    """Whether an entry of a column of texts is missing: None, NaN, or pandas' NA."""
    return entry is None or isinstance(entry, float) or type(entry).__name__ == "NAType"


def _holds_text(entry: Any) -> bool:
    parts = entry if isinstance(entry, tuple | list) else [entry]
    return any(isinstance(part, str | bytes) for part in parts)


def as_texts(inputs: Any) -> list[Example]:
    """The texts of each example.

    Raises:
        ArgumentError: they are no strings, are empty, or some are pairs and others are not.
    """
    entries = [inputs] if isinstance(inputs, str) else list(inputs)
    examples = [(entry,) if isinstance(entry, str) else _parts(i, entry) for i, entry in enumerate(entries)]
    if not examples:
        raise ArgumentError("inputs", expected="at least one text", found="an empty list", mend=_MEND)
    sizes = sorted({len(example) for example in examples})
    if len(sizes) > 1 or len({isinstance(entry, str) for entry in entries}) > 1:
        raise ArgumentError(
            "inputs",
            expected="one text for each example, or a pair for each",
            found=f"examples of {' and of '.join(map(str, sizes))} texts",
            mend="Explain those of one kind in a call of their own.",
        )
    empty = [i for i, example in enumerate(examples) if not any(text.strip() for text in example)]
    if empty:
        raise ArgumentError(
            "inputs",
            expected="texts with at least one word",
            found=f"nothing but white space in examples {empty[:8]}",
            mend="Leave these examples out: an empty text has nothing to explain.",
        )
    return examples


def _parts(i: int, entry: Any) -> Example:
    if isinstance(entry, tuple | list) and entry and all(isinstance(part, str) for part in entry):
        return tuple(entry)
    parts = entry if isinstance(entry, tuple | list) else [entry]
    kind = next((type(part).__name__ for part in parts if not isinstance(part, str)), "an empty one")
    raise ArgumentError(
        "inputs",
        expected="a text for each example, or a pair of texts",
        found=f"{kind} in example {i}",
        mend=_MEND,
    )


def mask_of(feature_mask: Any, encoding: Any, default: Callable[[Any], Tensor], positions: int) -> Tensor:
    """The features of each example: integers [1 or batch, positions].

    Args:
        feature_mask: as the user gave it: such a tensor, or a function of the encoding such as
            `sentence_mask`, or None.
        encoding: of the texts.
        default: the function that None stands for.
        positions: in the encoding.

    Raises:
        ArgumentError: it is no such tensor.
    """
    mask = default if feature_mask is None else feature_mask
    mask = mask(encoding) if callable(mask) else mask
    batch = len(encoding.encodings)
    if (
        isinstance(mask, Tensor)
        and mask.dim() == 2
        and mask.shape[0] in (1, batch)
        and mask.shape[1] == positions
    ):
        return mask
    found = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
    raise ArgumentError(
        "feature_mask",
        expected=f"a function such as sentence_mask, or integers [{batch}, {positions}]",
        found=found,
        mend="Leave it out for one gate per word.",
    )
