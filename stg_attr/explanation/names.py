"""Names of features: checked when they are given, and used wherever an explanation speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import AsText, Holds
from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups

from .tokens import texts_of_features

__all__ = ["NAMES", "as_feature_names", "group_name", "labels", "value_texts"]

_MEMBERS = 3  # how many of its elements the name of a group lists
_LONGEST = 40  # letters of the text of a feature


def as_feature_names(names: Iterable[str] | None, groups: FeatureGroups) -> tuple[str, ...] | None:
    """One name per gate.

    Args:
        names: of the gates, in the order of their ids, or of the elements of one example, whose names then
            make that of their group; None for none.
        groups: the gates.

    Raises:
        ArgumentError: they are no texts, or not as many as gates or elements.
    """
    if names is None:
        return None
    given = [] if isinstance(names, str | bytes) or not isinstance(names, Iterable) else list(names)
    sizes, shared = sum(part[0].numel() for part in groups.index), len(groups.feature_ids) == 1
    mend = "Give them in the order of the columns, for example list(frame.columns)."
    if not given or not all(isinstance(name, str) for name in given):
        kinds = sorted({type(name).__name__ for name in given}) or [type(names).__name__]
        raise ArgumentError(
            "feature_names", expected="a sequence of texts", found=", ".join(kinds), mend=mend
        )
    if len(given) == groups.n_gates:
        return tuple(given)
    if shared and len(given) == sizes:
        columns = torch.cat([part[0].flatten() for part in groups.index]).tolist()
        members: list[list[str]] = [[] for _ in range(groups.n_gates)]
        for name, column in zip(given, columns, strict=True):
            if column >= 0:
                members[column].append(name)
        return tuple(map(group_name, members))
    elements = f", or {sizes}, one per element" if shared and sizes != groups.n_gates else ""
    expected = f"{groups.n_gates}, one per feature{elements}"
    raise ArgumentError("feature_names", expected=expected, found=str(len(given)), mend=mend)


def group_name(members: list[str]) -> str:
    """The name of a feature of several elements: those of the first ones."""
    shown = ", ".join(members[:_MEMBERS])
    return shown if len(members) <= _MEMBERS else f"{shown} + {len(members) - _MEMBERS} more"


def labels(explanation: Any, example: int, columns: list[int]) -> list[str]:
    """Name, and value where there is one, of some gates of an example, such as "age = 70".

    Args:
        explanation: an `Explanation` with names or tokens.
        example: its place in the batch.
        columns: the gates.
    """
    if explanation.tokens is not None and explanation.feature_names is None:
        texts = texts_of_features(explanation, example)
        return [f'"{_shortened(texts[c])}"' for c in columns]
    values = value_texts(explanation, example)
    names = explanation.feature_names
    return [f"{names[c]} = {values[c]}" if c in values else names[c] for c in columns]


def _shortened(text: str) -> str:
    """A text, such as a sentence, by its beginning where it is long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3].rstrip() + "..."


def value_texts(explanation: Any, example: int, *, baselines: bool = False) -> dict[int, str]:
    """The value of each gate that has one element, or of each column of its group in a table, as text.

    Nothing where gates do not act on the inputs, and where the example stands for many rows, whose mean is
    no row that the model has seen.

    Args:
        explanation: an `Explanation`.
        example: its place in the batch.
        baselines: of the baseline instead of the input; nothing where a column has no mean.
    """
    if explanation.population is not None:
        return {}
    given = explanation.attributions
    parts: tuple[Tensor, ...] = (given,) if isinstance(given, Tensor) else given
    if [x.shape for x in explanation.inputs] != [part.shape for part in parts]:
        return {}
    place = _one_example(explanation.feature_mask, explanation.inputs, example).tolist()
    shown = explanation.baselines if baselines else explanation.inputs
    values = _one_example(shown, explanation.inputs, example).double().tolist()
    if explanation.columns is None:
        count = Counter(place)
        return {gate: f"{x:.4g}" for gate, x in zip(place, values, strict=True) if count[gate] == 1}
    texts: dict[int, list[str]] = {}
    for gate, column, x in zip(place, explanation.columns, values, strict=True):
        texts.setdefault(gate, []).append("" if baselines and isnan(x) else column.text(x))
    return {gate: group_name(members) for gate, members in texts.items()}


def _one_example(tensors: Sequence[Tensor], inputs: Sequence[Tensor], example: int) -> Tensor:
    """One row of tensors, each of which broadcasts to an input, as one vector."""
    rows = [t[example if len(t) > 1 else 0] for t in tensors]
    return torch.cat([row.expand(x.shape[1:]).flatten() for row, x in zip(rows, inputs, strict=True)])


def _read(text: Any) -> tuple[str, ...] | None:
    if text is not None and not (isinstance(text, list) and all(isinstance(name, str) for name in text)):
        raise TypeError("feature_names holds what is no text")
    return None if text is None else tuple(text)


#: The metadata of a field of one name per gate.
NAMES = {
    "as_text": AsText(lambda names: None if names is None else list(names), _read),
    "holds": Holds(("gates",), str),
}
