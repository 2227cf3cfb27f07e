"""Names of features: checked when they are given, and used wherever an explanation speaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from stg_attr.batch import AsText, Holds
from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups

__all__ = ["NAMES", "as_feature_names", "group_name", "labels"]

_MEMBERS = 3  # how many of its elements the name of a group lists


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
        explanation: an `Explanation` with names.
        example: its place in the batch.
        columns: the gates.
    """
    values = _values(explanation, example)
    names = explanation.feature_names
    return [f"{names[c]} = {values[c]:.4g}" if c in values else names[c] for c in columns]


def _values(explanation: Any, example: int) -> dict[int, float]:
    """The value of each gate that has one element, where gates act on the inputs."""
    given = explanation.attributions
    parts: tuple[Tensor, ...] = (given,) if isinstance(given, Tensor) else given
    if [x.shape for x in explanation.inputs] != [part.shape for part in parts]:
        return {}
    columns = [
        mask[example if len(mask) > 1 else 0].expand(x.shape[1:]).flatten()
        for mask, x in zip(explanation.feature_mask, explanation.inputs, strict=True)
    ]
    place = torch.cat(columns)
    shown = torch.cat([x[example].flatten().double() for x in explanation.inputs]).tolist()
    count = place[place >= 0].bincount()
    pairs = zip(place.tolist(), shown, strict=True)
    return {column: value for column, value in pairs if column >= 0 and int(count[column]) == 1}


def _read(text: Any) -> tuple[str, ...] | None:
    if text is not None and not (isinstance(text, list) and all(isinstance(name, str) for name in text)):
        raise TypeError("feature_names holds what is no text")
    return None if text is None else tuple(text)


#: The metadata of a field of one name per gate.
NAMES = {
    "as_text": AsText(lambda names: None if names is None else list(names), _read),
    "holds": Holds(("gates",), str),
}
