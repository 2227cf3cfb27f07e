"""The page of a report: one HTML file without scripts, which needs no network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stg_attr.explanation import replace_invisible

from .words import count, number, percent

__all__ = ["rendered"]

_LONGEST_LABEL = 24  # letters beside a row of a chart; the rest is in its title
_MOST_BARS = 24
_BLANK_LINES = re.compile(r"\n\s*\n+")
_CHARTS = (0.0, 1.0)  # the range of shares


def rendered(content: Mapping[str, Any]) -> str:
    """The page of a report, or of the difference of two.

    Every text of the content is escaped, and letters that nobody sees are replaced. The page forbids scripts
    and everything from elsewhere by its content security policy.
    """
    template = _TEMPLATES.get_template(f"{content['kind']}.html")
    page = template.render(_visible(content)).replace(" %", "\u00a0%")  # no line ends between the two
    return _BLANK_LINES.sub("\n", page).strip() + "\n"


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return replace_invisible(value)
    if isinstance(value, Mapping):
        return {replace_invisible(str(name)): _visible(part) for name, part in value.items()}
    return [_visible(part) for part in value] if isinstance(value, list | tuple) else value


def interval(one: Mapping[str, Any], as_percent: bool = True) -> str:
    """The two ends of an interval."""
    if one["low"] is None:
        return ""
    if as_percent:
        return f"{percent(one['low'])} to {percent(one['high'])}"
    return f"{number(one['low'])} to {number(one['high'])}"


def short(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1].rstrip() + "…"


def bars(sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sizes of sets as bars next to each other: several sizes in one bar where there are many."""
    if not sizes:
        return []
    first, last = sizes[0]["size"], sizes[-1]["size"]
    step = math.ceil((last - first + 1) / _MOST_BARS)
    found = []
    for low in range(first, last + 1, step):
        rows = sum(one["rows"] for one in sizes if low <= one["size"] < low + step)
        found.append({"label": str(low) if step == 1 else f"{low}-{low + step - 1}", "rows": rows})
    return found


def scale(items: Sequence[Mapping[str, Any]], about_zero: bool = False) -> tuple[float, float]:
    """The range of a chart: that of shares, or of the values and intervals with 0 in it."""
    if not about_zero:
        return _CHARTS
    known = [x for one in items for x in (one["value"], one["low"], one["high"]) if x is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (low, high) if high > low else (low - 1, high + 1)


def as_items(
    rows: Sequence[Mapping[str, Any]], label: str, value: str, as_percent: bool = True
) -> list[dict[str, Any]]:
    """Rows of a table as rows of a chart.

    Args:
        rows: with `low` and `high`.
        label: key of the names.
        value: key of the values.
        as_percent: whether values are shares.
    """
    write = percent if as_percent else number
    return [
        {
            "label": one[label],
            "value": one[value],
            "low": one["low"],
            "high": one["high"],
            "text": write(one[value]),
        }
        for one in rows
    ]


_TEMPLATES = Environment(
    loader=PackageLoader("stg_attr", "report/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "percent": percent,
    "count": count,
    "number": number,
    "short": short,
    "interval": interval,
}
_TEMPLATES.globals |= {"bars": bars, "scale": scale, "as_items": as_items}
