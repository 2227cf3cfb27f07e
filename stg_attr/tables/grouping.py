"""Grouping of columns by their names, so that several columns are one feature."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["Groups", "grouped", "mask_and_names", "one_hot_groups"]

#: The columns of each feature, by its name; those of None are never hidden.
Groups = Mapping[str | None, Hashable | Sequence[Hashable]]

_MEND = 'For example feature_mask={"address": ["street", "town"]}; other columns are features of their own.'


def mask_and_names(
    feature_mask: Any, names: Sequence[str], keys: Sequence[Hashable]
) -> tuple[Any, Sequence[str]]:
    """The features of a table as a mask, and the names of columns or features.

    Args:
        feature_mask: `Groups`, integers, or None.
        names: of the columns.
        keys: see `grouped`.

    Raises:
        ArgumentError: it is none of these; see `grouped`.
    """
    if isinstance(feature_mask, Mapping):
        return grouped(feature_mask, tuple(names), keys)
    if isinstance(feature_mask, np.ndarray):
        return torch.as_tensor(feature_mask, device="cpu"), names
    if isinstance(feature_mask, str) or (
        isinstance(feature_mask, list | tuple) and _holds_names(feature_mask)
    ):
        raise ArgumentError(
            "feature_mask",
            expected="a mapping from the name of each feature to its columns, or integers [1, columns]",
            found=f"a {type(feature_mask).__name__} of names",
            mend=_MEND,
        )
    return feature_mask, names


def _holds_names(parts: Iterable[Any]) -> bool:
    return any(isinstance(p, str) or (isinstance(p, list | tuple) and _holds_names(p)) for p in parts)


def grouped(
    groups: Groups, columns: Sequence[str], keys: Sequence[Hashable] = ()
) -> tuple[Tensor, tuple[str, ...]]:
    """A feature mask and a name for each feature.

    Args:
        groups: the columns of each feature that has several, or another name, and those never hidden.
        columns: the names of all columns, in order.
        keys: by which their table knows them, where these are no texts: numbers, or tuples of levels.

    Returns:
        Ids from 0 in the order of the columns, -1 where never hidden, [1, columns], and a name for each id.

    Raises:
        ArgumentError: a column does not exist, or is of two features.
    """
    feature_of: dict[str, str | None] = {}
    known: dict[Hashable, str] = {
        **dict(zip(keys, columns, strict=False)),
        **{name: name for name in columns},
    }
    for name, members in groups.items():
        for member in _listed(members, known):
            column = known.get(member)
            if column is None or column in feature_of:
                raise ArgumentError(
                    "feature_mask",
                    expected=f"each column at most once, out of {', '.join(columns)}",
                    found=repr(member) if column is None else f"{member!r} twice",
                    mend=_MEND,
                )
            feature_of[column] = name
    features = [feature_of.get(column, column) for column in columns]
    names = tuple(dict.fromkeys(name for name in features if name is not None))
    if not names or any(column in groups and column not in feature_of for column in columns):
        raise ArgumentError(
            "feature_mask",
            expected="at least one feature, and no name of another column for one",
            found=f"{len(names)} features" if not names else "a feature that is named like another column",
            mend=_MEND,
        )
    ids = [-1 if name is None else names.index(name) for name in features]
    return torch.tensor([ids], device="cpu"), names


def _listed(members: Any, known: Mapping[Hashable, str]) -> Iterable[Hashable]:
    """The columns of a feature: a list of them, or one, which may be a tuple of levels."""
    single = isinstance(members, str | int) or (isinstance(members, tuple) and members in known)
    return [members] if single else members


def one_hot_groups(transformer: Any) -> dict[str | None, list[str]]:
    """The columns that a fitted transformer of scikit-learn makes of each column that it encodes one-hot.

    Pass it as the `feature_mask` of a model that is given what the transformer returns. A pipeline is better
    explained as a whole, on the columns that it is given: then it is not needed.

    Args:
        transformer: a fitted `ColumnTransformer` or `OneHotEncoder`, or a pipeline that ends with one.

    Returns:
        For each encoded column the names of those made of it, as `get_feature_names_out` says them.

    Raises:
        ArgumentError: it is not fitted, or none of these.

    Example:
        >>> import numpy as np
        >>> from sklearn.preprocessing import OneHotEncoder
        >>> encoder = OneHotEncoder().fit(np.array([["A", "x"], ["B", "x"]]))
        >>> one_hot_groups(encoder)
        {'x0': ['x0_A', 'x0_B'], 'x1': ['x1_x']}
    """
    step = _last(transformer)
    if hasattr(step, "output_indices_"):
        names = _names_out(step)
        parts = [(part, names[step.output_indices_[name]]) for name, part, _ in step.transformers_]
    elif _is_one_hot(step):
        parts = [(transformer, _names_out(transformer))]
    else:
        raise ArgumentError(
            "transformer",
            expected="a fitted ColumnTransformer or OneHotEncoder",
            found=type(step).__name__,
            mend="Fit it first; of a pipeline pass the steps before the model, pipeline[:-1].",
        )
    groups: dict[str | None, list[str]] = {}
    for part, made in parts:
        encoder = _last(part)
        if _is_one_hot(encoder):
            ends = iter(made)
            for name, n in zip(_names_in(part, encoder), _counts(encoder), strict=True):
                groups[name] = [str(next(ends)) for _ in range(n)]
    return groups


def _last(transformer: Any) -> Any:
    """The last step of a pipeline; what is no pipeline is its own."""
    steps = getattr(transformer, "steps", None)
    return _last(steps[-1][1]) if steps else transformer


def _names_out(transformer: Any) -> list[str]:
    try:
        return list(transformer.get_feature_names_out())
    except AttributeError as error:  # of a step in it
        raise ArgumentError(
            "transformer",
            expected="one whose steps all name the columns that they make",
            found=str(error),
            mend="Give FunctionTransformer the argument feature_names_out='one-to-one'.",
        ) from error


def _is_one_hot(transformer: Any) -> bool:
    return hasattr(transformer, "categories_") and hasattr(transformer, "drop_idx_")


def _names_in(part: Any, encoder: Any) -> Iterable[str]:
    count = len(encoder.categories_)
    for fitted in (encoder, part):
        names = getattr(fitted, "feature_names_in_", None)
        if names is not None and len(names) == count:
            return [str(name) for name in names]
    return [f"x{i}" for i in range(count)]


def _counts(encoder: Any) -> list[int]:
    """How many columns the encoder makes of each."""
    counts = [len(categories) for categories in encoder.categories_]
    rare = getattr(encoder, "infrequent_categories_", None) or [None] * len(counts)
    dropped = [None] * len(counts) if encoder.drop_idx_ is None else encoder.drop_idx_
    return [
        n - (0 if few is None else len(few) - 1) - (left_out is not None)
        for n, few, left_out in zip(counts, rare, dropped, strict=True)
    ]
