"""Tokens: the texts of the positions that an explanation has gates for, and of the features made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import AsText, per_example

__all__ = ["TOKENS", "texts_of_features"]


def texts_of_features(explanation: Any, example: int) -> list[str]:
    """The text of each feature of an example that has tokens, [gates]: those of its positions, joined.

    Args:
        explanation: an `Explanation` with tokens.
        example: its place in the batch.
    """
    found = [""] * explanation.feature_ids.shape[1]
    for token, gate in zip(
        explanation.tokens[example], gates_of_positions(explanation, example), strict=True
    ):
        if gate >= 0:
            found[gate] += token
    return [" ".join(text.split()) for text in found]


def gates_of_positions(explanation: Any, example: int) -> list[int]:
    """The gate of each position of an example, those of the inputs one after the other; -1 for none."""
    given = explanation.attributions
    parts: Sequence[Tensor] = (given,) if isinstance(given, Tensor) else given
    rows = [mask[example if len(mask) > 1 else 0] for mask in explanation.feature_mask]
    # the elements of a position share a gate, so that one of them stands for all
    flat = [
        row.reshape(len(row), -1)[:, 0].expand(part.shape[1]) for row, part in zip(rows, parts, strict=True)
    ]
    gates: list[int] = torch.cat(flat).tolist()
    return gates


def _read(lists: Any) -> tuple[tuple[str, ...], ...] | None:
    if lists is None:
        return None
    if not all(isinstance(token, str) for tokens in lists for token in tokens):
        raise TypeError("tokens hold what is no text")
    return tuple(tuple(tokens) for tokens in lists)


def _write(tokens: tuple[tuple[str, ...], ...] | None) -> Any:
    return None if tokens is None else [list(own) for own in tokens]


#: The metadata of a field of one tuple of texts for each example.
TOKENS = per_example(as_text=AsText(_write, _read))
