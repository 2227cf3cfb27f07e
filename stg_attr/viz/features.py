"""Features of the rows of a table: their probabilities, values and names, one per gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import group_name, texts_of_features, value_texts

from .source import (
    SELECTED_FROM,
    Array,
    Source,
    as_array,
    checked_position,
    checked_probabilities,
    replace_invisible,
)

__all__ = [
    "Features",
    "Names",
    "Values",
    "best",
    "feature_names",
    "feature_values",
    "rows_of",
    "shortened",
    "with_contributions",
]

Names = Iterable[str]  # a pandas DataFrame iterates over the names of its columns
Values = Iterable[float] | Iterable[str] | Tensor

_LONGEST = 40  # characters of a name


@dataclass(frozen=True)
class Features:
    """The features of one row, one entry per gate.

    Attributes:
        probabilities: active probability, [gates].
        rank: log-alpha, which orders features whose probabilities round to the same number, [gates].
        selected: bool [gates].
        ids: as in the `feature_mask`, [gates].
        members: the elements of each feature, as indices into `elements`.
        elements: the inputs of the row as one vector; NaN if they are not given.
        contributions: what each adds to the score, [gates]; None where they were not measured.
        names: those of the explanation, [gates]; None without.
        texts: the values of the features of a table, [gates]; None where values are numbers.
    """

    probabilities: Array
    rank: Array
    selected: NDArray[np.bool_]
    ids: list[int]
    members: list[list[int]]
    elements: Array
    contributions: Array | None = None
    names: list[str] | None = None
    texts: list[str] | None = None

    @property
    def values(self) -> Array:
        """The value of each feature that has one element, NaN for groups of elements, [gates]."""
        return np.array([self.elements[m[0]] if len(m) == 1 else np.nan for m in self.members])

    def best(self, top: int) -> list[int]:
        """Indices of the `top` most active features, the most active first."""
        return best(self.probabilities, self.rank, top)

    def largest(self, top: int) -> list[int]:
        """Indices of the `top` largest contributions, largest first; selected features come before others."""
        assert self.contributions is not None
        size = np.abs(self.contributions)
        return sorted(best(self.selected.astype(float), size, top), key=lambda i: (-size[i], i))


def best(first: Array, second: Array, top: int) -> list[int]:
    """Indices of the `top` largest numbers; ties go to the larger `second`, then to the lower index."""
    check_count("top", top, mend="It is a number of features.")
    order = sorted(range(len(first)), key=lambda i: (-first[i], -second[i], i))
    return order[:top]


def rows_of(
    source: Source, examples: Iterable[int] | None = None, inputs: Tensor | NDArray[np.generic] | None = None
) -> list[Features]:
    """The rows of an explanation, or of attributions [batch, features] or [features].

    Args:
        source: an explanation or attributions.
        examples: places in the batch; all by default.
        inputs: the rows that plain attributions explain, in their shape.

    Raises:
        ArgumentError: shapes do not match, an example does not exist, or values are no probabilities.
    """
    if isinstance(source, Explanation):
        chosen = range(len(source)) if examples is None else examples
        places = [checked_position("example", i, len(source)) for i in chosen]
        shared = all(len(mask) == 1 for mask in source.feature_mask)
        common = _members(source, 0) if shared and places else []
        return [_row_of_explanation(source, i, common if shared else _members(source, i)) for i in places]
    table = checked_probabilities(np.atleast_2d(as_array(source)))
    if table.ndim != 2:
        raise ArgumentError(
            "attributions",
            expected="[batch, features] or [features]",
            found=str(table.shape),
            mend="Flatten the features, or pass an Explanation, which knows them.",
        )
    shown = np.full(table.shape, np.nan) if inputs is None else np.atleast_2d(as_array(inputs))
    if shown.shape != table.shape:
        raise ArgumentError(
            "inputs",
            expected=f"the shape of the attributions, {table.shape}",
            found=str(shown.shape),
            mend="Pass the rows that these attributions explain.",
        )
    chosen = range(len(table)) if examples is None else examples
    return [
        _row_of_attributions(table[i], shown[i])
        for i in (checked_position("example", i, len(table)) for i in chosen)
    ]


def _row_of_attributions(row: Array, shown: Array) -> Features:
    ids = list(range(len(row)))
    return Features(row, row, row >= SELECTED_FROM, ids, [[i] for i in ids], shown)


def _row_of_explanation(explanation: Explanation, example: int, members: list[list[int]]) -> Features:
    ids: list[int] = explanation.feature_ids[example].tolist()
    there = [column for column, number in enumerate(ids) if number >= 0]
    return Features(
        checked_probabilities(as_array(explanation.active_probabilities[example])[there]),
        as_array(explanation.log_alpha[example])[there],
        explanation.selected[example].cpu().numpy()[there],
        [ids[column] for column in there],
        [members[column] for column in there],
        _elements(explanation, example),
        _contributions(explanation, example, there),
        _names(explanation, example, there),
        _texts(explanation, example, there),
    )


def _names(explanation: Explanation, example: int, there: list[int]) -> list[str] | None:
    names: Sequence[str] | None = explanation.feature_names
    if names is None and explanation.tokens is not None:
        names = texts_of_features(explanation, example)
    return None if names is None else [names[column] for column in there]


def _texts(explanation: Explanation, example: int, there: list[int]) -> list[str] | None:
    if explanation.tokens is not None or explanation.population is not None:
        return [""] * len(there)  # a word has no value apart from its name, and many rows have many
    if explanation.columns is None:
        return None
    values = value_texts(explanation, example)
    return [values[column] for column in there]


def _contributions(explanation: Explanation, example: int, there: list[int]) -> Array | None:
    """None also where a failure of the model left some of them out."""
    if explanation.contributions is None:
        return None
    values = as_array(explanation.contributions[example])[there]
    return values if np.isfinite(values).all() else None


def _parts(explanation: Explanation) -> tuple[Tensor, ...]:
    attributions = explanation.attributions
    return (attributions,) if isinstance(attributions, Tensor) else attributions


def _elements(explanation: Explanation, example: int) -> Array:
    """The inputs of one example as one vector; NaN if gates act on a layer instead of the inputs."""
    shapes = [part.shape for part in _parts(explanation)]
    if [x.shape for x in explanation.inputs] != shapes:
        return np.full(sum(part[example].numel() for part in _parts(explanation)), np.nan)
    return np.concatenate([as_array(x[example]).ravel() for x in explanation.inputs])


def _members(explanation: Explanation, example: int) -> list[list[int]]:
    """The elements of each gate, as indices into the inputs as one vector."""
    rows = [mask[example if len(mask) > 1 else 0] for mask in explanation.feature_mask]
    whole = [row.expand(x.shape[1:]).flatten() for row, x in zip(rows, _parts(explanation), strict=True)]
    columns = torch.cat(whole).cpu().numpy()
    order = columns.argsort(kind="stable")
    ends = np.searchsorted(columns[order], np.arange(-1, explanation.feature_ids.shape[1]), side="right")
    return [part.tolist() for part in np.split(order, ends)[1:-1]]


def feature_names(names: Names | None, row: Features) -> list[str]:
    """One name per gate, from names of the gates or of the elements.

    Without names, those of the explanation, else the ids.

    Raises:
        ArgumentError: the number of names is neither that of the gates nor that of the elements.
    """
    if names is None:
        return [f"feature {number}" for number in row.ids] if row.names is None else shortened(row.names)
    given = [str(name) for name in names]
    if len(given) == len(row.ids):
        return shortened(given)
    if len(given) == len(row.elements):
        return shortened([group_name([given[i] for i in places]) for places in row.members])
    raise _wrong_count("names", len(given), row)


def with_contributions(rows: list[Features]) -> list[Features]:
    """Check that contributions were measured for all rows, and return these.

    Raises:
        ArgumentError: they were not.
    """
    if all(row.contributions is not None for row in rows):
        return rows
    raise ArgumentError(
        "source",
        expected="an explanation with contributions",
        found="one without, or plain attributions",
        mend="Call explain, with max_evals large enough to measure them; or draw viz.bars.",
    )


def feature_values(values: Values | None, row: Features) -> list[str]:
    """One value per gate as text; empty if a feature has several elements."""
    if values is None:
        return [_text(value) for value in (row.values if row.texts is None else row.texts)]
    given: list[float | str] = list(values.tolist() if isinstance(values, Tensor) else values)
    if len(given) == len(row.ids):
        return [_text(value) for value in given]
    if len(given) == len(row.elements):
        return [_text(given[places[0]]) if len(places) == 1 else "" for places in row.members]
    raise _wrong_count("values", len(given), row)


def _wrong_count(what: str, count: int, row: Features) -> ArgumentError:
    n_gates, n_elements = len(row.ids), len(row.elements)
    return ArgumentError(
        what,
        expected=f"{n_gates}, one per feature"
        + (f", or {n_elements}, one per element" if n_elements != n_gates else ""),
        found=str(count),
        mend="Pass them in the order of the columns; a DataFrame hands over its column names.",
    )


def shortened(names: Sequence[str]) -> list[str]:
    """Names of at most 40 characters, so that there is room for the picture.

    A long name loses its middle. Names that would then look alike keep the part where they differ; where
    that is not enough, they are shown as they are.

    Example:
        >>> shortened(["mean_of_the_amounts_of_the_customer_in_month_01"])
        ['mean_of_the_amounts_…ustomer_in_month_01']
    """
    labels = {name: _cut(name, 20, 20, 19) for name in names}
    for alike in _groups(labels):
        start = _first_difference(alike) - 6  # with some letters before it
        labels |= {name: _cut(name, 12, start, 12) for name in alike}
    for alike in _groups(labels):
        labels |= {name: name for name in alike}
    return [replace_invisible(labels[name]) for name in names]


def _cut(name: str, head: int, middle: int, tail: int) -> str:
    """The first letters of a long name, those from `middle` on that there is room for, and the last ones."""
    if len(name) <= _LONGEST:
        return name
    shown = name[middle : min(middle + _LONGEST - head - tail - 2, len(name) - tail)]
    return f"{name[:head]}…{shown}…{name[-tail:]}" if middle > head else f"{name[:head]}…{name[-tail:]}"


def _groups(labels: Mapping[str, str]) -> list[list[str]]:
    """The names that have one label, where there are several."""
    groups: dict[str, list[str]] = {}
    for name, label in labels.items():
        groups.setdefault(label, []).append(name)
    return [alike for alike in groups.values() if len(alike) > 1]


def _first_difference(names: Sequence[str]) -> int:
    """The place of the first letter that is not the same in all names."""
    places = enumerate(zip(*names, strict=False))
    return next((i for i, letters in places if len(set(letters)) > 1), min(map(len, names)))


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return shortened([value])[0]
    return "" if np.isnan(value) else f"{value:.4g}"
