"""References of a table: what hidden cells show, as rows with the columns and types of the inputs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from stg_attr.errors import ArgumentError, is_number
from stg_attr.gates import FillIn, ReferenceSet

from .libraries import rows_of_table
from .rows import Rows

__all__ = ["reference_rows"]

_MEND = "Pass rows of the same table, such as baselines=frame.sample(100), which hidden cells are taken from."


def reference_rows(baselines: Any, inputs: Rows) -> Rows:
    """The rows whose cells are shown in place of hidden ones.

    Args:
        baselines: a table of the same library, a `ReferenceSet` of one, a mapping (or a Series of pandas)
            with a cell for each column, a number, if all columns hold numbers, or a function of the inputs
            that returns a table with a row for each of them, or a list of such tables.
        inputs: the rows to explain.

    Raises:
        ArgumentError: it is none of these, or its columns or types are not those of the inputs.
    """
    given: Any = baselines.rows if isinstance(baselines, ReferenceSet) else baselines
    if isinstance(given, FillIn):
        raise ArgumentError(
            "baselines",
            expected="rows of the table, since cells are chosen and never computed",
            found="FillIn",
            mend="Pass references.nearest(frame), which fills in cells of the rows that are most alike.",
        )
    if callable(given):
        return _computed(given, inputs)
    if isinstance(given, bool | str) or given is None:
        raise ArgumentError(
            "baselines", expected="rows of the table that is explained", found=repr(given), mend=_MEND
        )
    if is_number(given):
        return inputs.one({key: _checked_number(given, inputs, i) for i, key in enumerate(inputs.keys)})
    one_row = dict(given.items()) if isinstance(given, Mapping) or _is_series(given) else None
    if one_row is not None:
        _check_keys(list(one_row), inputs)
        return inputs.one(one_row)
    return _checked(given, inputs)


def _checked(given: Any, inputs: Rows) -> Rows:
    """The rows of a table, in the order and with the types of the inputs."""
    found = rows_of_table(given, "baselines")
    if found is None or type(found) is not type(inputs):
        raise ArgumentError(
            "baselines",
            expected=f"{inputs.described}, as the inputs are",
            found=type(given).__name__ if found is None else found.described,
            mend=_MEND,
        )
    if not len(found):
        raise ArgumentError("baselines", expected="at least one row", found="none", mend=_MEND)
    _check_keys(list(found.keys), inputs)
    found = found.in_order(inputs.keys)
    _check_types(found, inputs)
    return found


def _computed(function: Callable[[Any], Any], inputs: Rows) -> Rows:
    """The rows that a function of the inputs returns: of one table after the other."""
    table = copy.deepcopy(inputs.table)  # since the function may change its argument in place
    try:
        returned = function(table)
    except Exception as failure:
        raise ArgumentError(
            "baselines",
            expected=f"a function of {inputs.described}, which it is given as it is",
            found=f"{type(failure).__name__}: {failure}",
            mend="It gets the table that you explain, no tensor. Convert it inside the function.",
        ) from failure
    tables = returned if isinstance(returned, list | tuple) and returned else [returned]
    rows = [_checked(table, inputs) for table in tables]
    wrong = [len(part) for part in rows if len(part) != len(inputs)]
    if wrong:
        raise ArgumentError(
            "baselines",
            expected=f"a function that returns {len(inputs)} rows, one for each of the inputs",
            found=f"{wrong[0]} rows",
            mend="Pass rows for all inputs as a table, not as a function.",
        )
    return functools.reduce(lambda one, other: one.joined(other), rows)


def _is_series(given: Any) -> bool:
    return type(given).__module__.split(".")[0] == "pandas" and type(given).__name__ == "Series"


def _checked_number(number: float, inputs: Rows, column: int) -> float:
    if not inputs.is_numeric(column):
        raise ArgumentError(
            "baselines",
            expected=f"a cell for column {inputs.names[column]!r} of type {inputs.dtype(column)}",
            found=repr(number),
            mend=_MEND,
        )
    return number


def _check_keys(keys: list[Any], inputs: Rows) -> None:
    missing = [str(key) for key in inputs.keys if key not in keys]
    other = [str(key) for key in keys if key not in inputs.keys]
    if missing or other:
        found = [f"{', '.join(missing)} missing"] * bool(missing) + [f"{', '.join(other)} too"] * bool(other)
        raise ArgumentError(
            "baselines",
            expected=f"the {len(inputs.keys)} columns of the inputs, in any order",
            found="; ".join(found),
            mend="Choose them with frame[inputs.columns], say.",
        )


def _check_types(found: Rows, inputs: Rows) -> None:
    for i, name in enumerate(inputs.names):
        mine, theirs = inputs.dtype(i), found.dtype(i)
        if mine == theirs:
            continue
        raise ArgumentError(
            f"baselines, column {name!r}",
            expected=f"the type of the inputs, {mine}",
            found=_other_categories(inputs.categories(i), found.categories(i)) or str(theirs),
            mend="Take inputs and baselines from one table, or convert them with astype(inputs.dtypes).",
        )


def _other_categories(known: list[Any] | None, shown: list[Any] | None) -> str | None:
    """How the categories of references differ from those of the inputs; None where one has none."""
    if known is None or shown is None:
        return None
    added, lacking = [c for c in shown if c not in known], [c for c in known if c not in shown]
    if added or lacking:
        return (
            f"categories {added}, which the inputs do not have"
            if added
            else f"none of the categories {lacking}, which the inputs have"
        )
    return "the same categories in another order" if shown != known else None
