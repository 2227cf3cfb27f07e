"""Columns: how the cells of a table, which an explanation holds as numbers, are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from stg_attr.batch import AsText, Holds

__all__ = ["COLUMNS", "Column", "Kind"]

_EPOCH = datetime(1970, 1, 1)
_MISSING = "missing"


class Kind(Enum):
    """What the numbers of a column stand for."""

    NUMBER = "the cell itself"
    WHOLE = "the cell itself, a whole number"
    FLAG = "1 for True, 0 for False"
    DATE = "seconds since the beginning of 1970, by the clock of the cell"
    TEXT = "the place of the cell among the texts of the column, which are in order"


@dataclass(frozen=True)
class Column:
    """A column of a table. A missing cell is NaN in a column of any kind.

    Attributes:
        name: of the column.
        kind: what its numbers stand for.
        texts: the cells of a column of the kind TEXT.

    Example:
        >>> Column("contract", Kind.TEXT, ("monthly", "yearly")).text(1.0)
        'yearly'
        >>> Column("since", Kind.DATE).text(86400.0)
        '1970-01-02'
    """

    name: str
    kind: Kind
    texts: tuple[str, ...] = ()

    def text(self, value: float) -> str:
        """A cell as text, or the mean of several cells where that is a number."""
        if math.isnan(value):
            return _MISSING
        if self.kind is Kind.TEXT:
            text = self.texts[int(value)]
            return text if text.strip() else repr(text)
        if self.kind is Kind.DATE:
            return _date(value)
        if self.kind is Kind.FLAG and value in (0, 1):
            return str(bool(value))
        return f"{value:.0f}" if self.kind is Kind.WHOLE and value == round(value) else f"{value:.4g}"


def _date(seconds: float) -> str:
    time = _EPOCH + timedelta(seconds=round(seconds))
    return time.strftime("%Y-%m-%d" if time.time() == _EPOCH.time() else "%Y-%m-%d %H:%M:%S")


def _read(columns: Any) -> tuple[Column, ...] | None:
    if columns is None:
        return None
    return tuple(Column(str(name), Kind[kind], tuple(map(str, texts))) for name, kind, texts in columns)


def _write(columns: tuple[Column, ...] | None) -> Any:
    return None if columns is None else [(c.name, c.kind.name, c.texts) for c in columns]


#: The metadata of a field of one column for each element.
COLUMNS = {"as_text": AsText(_write, _read), "holds": Holds(("columns",), Column)}
