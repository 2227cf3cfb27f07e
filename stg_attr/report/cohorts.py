"""Cohorts: parts of the rows, what each of them needs, and where they differ from the other rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .explained import Explained
from .settings import ReportSettings
from .statistics import Array, exact_interval, mean_interval, score_difference, score_interval
from .words import number

__all__ = ["cells_as_text", "cohort_of_each", "compared", "in_order", "share_of"]

_OTHERS = "all other values"
_MISSING = "missing"
_DIGITS = 4  # of a number that names a cohort
_NO_GROUP = ""  # rows of which nothing is known


def cells_as_text(values: Array) -> list[str]:
    """Cells of any kind as text; "missing" for those that hold nothing."""
    hidden = (
        np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else np.zeros(len(values), bool)
    )
    plain = np.ma.getdata(values).tolist()
    return [_MISSING if gone else _text(cell) for gone, cell in zip(hidden, plain, strict=True)]


def _text(cell: Any) -> str:
    if cell is None or cell != cell:
        return _MISSING
    return number(cell, _DIGITS) if isinstance(cell, float) else str(cell)


def class_of(label: Any) -> str:
    """A label as text: the number of its class, also of a flag or a float; empty if it is missing."""
    if label is None or label != label:  # NaN
        return ""
    if isinstance(label, bool) or (isinstance(label, float) and label.is_integer()):
        return str(int(label))
    return str(label)


def cohort_of_each(values: Array, settings: ReportSettings) -> list[str]:
    """The cohort of each row, by its cell: the cell itself, or a range of numbers.

    A column of numbers with more than `settings.values` different ones is cut at its quantiles. Of other
    columns the most frequent values are kept, and the rest is one cohort.

    Args:
        values: one cell for each row, [rows].
        settings: how many cohorts there may be.
    """
    texts = cells_as_text(values)
    different = sorted(set(texts))
    is_number = np.ma.getdata(values).dtype.kind in "iuf"
    # numbers that differ may have the same first digits, so they are not counted by their texts
    known = np.ma.compressed(np.ma.asarray(values)) if is_number else np.zeros(0)
    n = len(np.unique(known[known == known])) + (_MISSING in different) if is_number else len(different)
    if n <= settings.values:
        cells = zip(texts, np.ma.getdata(values).tolist(), strict=True)
        return texts if n <= len(different) else [t if t == _MISSING else str(cell) for t, cell in cells]
    if is_number:
        return _ranges(values, settings.parts)
    count = dict.fromkeys(different, 0)
    for text in texts:
        count[text] += 1
    kept = set(sorted(different, key=lambda text: (-count[text], text))[: settings.values - 1])
    return [text if text in kept else _OTHERS for text in texts]


def _ranges(values: Array, parts: int) -> list[str]:
    """Ranges of numbers with about the same number of rows in each."""
    numbers = np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
    known = numbers[np.isfinite(numbers)]
    cuts = np.unique(np.quantile(known, np.arange(1, parts) / parts)) if len(known) else np.zeros(0)
    ends = [number(float(cut), _DIGITS) for cut in cuts]
    if not ends:
        return ["all" if np.isfinite(x) else _MISSING for x in numbers]
    names = [f"below {ends[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(ends))]
    names.append(f"{ends[-1]} or more")
    place = np.searchsorted(cuts, numbers, side="right")
    return [names[i] if np.isfinite(x) else _MISSING for i, x in zip(place, numbers, strict=True)]


def share_of(count: int, n: int, confidence: float) -> dict[str, Any]:
    """A share of rows with its exact interval."""
    low, high = exact_interval(count, n, confidence)
    return {"rows": count, "of": n, "share": count / n if n else None, "low": low, "high": high}


def compared(
    name: str, groups: Sequence[str], explained: Explained, settings: ReportSettings
) -> dict[str, Any]:
    """What each cohort of a column needs, and where it differs from all other rows.

    Certified shares are of explained rows. Sizes and needs are of the rows in `explained.basis`.

    Args:
        name: of the column.
        groups: the cohort of each row, [rows]; rows with an empty text belong to none.
        explained: the rows.
        settings: the confidence, and which cohorts are compared.
    """
    of = np.array(groups)
    names = in_order(groups)
    masks = {group: (of == group) & ~explained.failed for group in names}
    described = [_cohort(group, mask, explained, settings) for group, mask in masks.items()]
    found = list(_differences(masks, explained, settings))
    n = len(found) and found[0]["comparisons"]
    apart = sorted((d for d in found if d["low"] > 0 or d["high"] < 0), key=lambda d: -abs(d["difference"]))
    return {"column": name, "cohorts": described, "comparisons": n, "differences": apart}


def in_order(groups: Sequence[str]) -> list[str]:
    """Cohorts in order: numbers and ranges by their first number, then texts, then the rest."""

    def key(text: str) -> tuple[int, float, str]:
        first = text.removeprefix("below ").split(" ")[0]
        try:
            return (0, float(first.replace(",", "")) - 1e-9 * text.startswith("below "), text)
        except ValueError:
            return (2 if text in (_OTHERS, _MISSING) else 1, 0.0, text)

    return sorted(set(groups) - {_NO_GROUP}, key=key)


def _cohort(group: str, mask: Array, explained: Explained, settings: ReportSettings) -> dict[str, Any]:
    basis = mask & explained.basis
    mean, low, high = mean_interval(explained.sizes[basis].astype(np.float64), settings.confidence)
    count = explained.selected[basis].sum(0)
    down, up = score_interval(count, int(basis.sum()), settings.confidence)
    needs = [
        {"feature": feature, "rows": int(k), "share": _ratio(int(k), int(basis.sum())), "low": a, "high": b}
        for feature, k, a, b in zip(explained.names, count.tolist(), down.tolist(), up.tolist(), strict=True)
    ]
    certified = share_of(int(basis.sum()), int(mask.sum()), settings.confidence)
    return {
        "cohort": group,
        "rows": int(mask.sum()),
        "certified": certified if explained.has_claim else None,
        "size": {"mean": _known(mean), "low": _known(low), "high": _known(high)},
        "needs": needs,
    }


def _differences(
    masks: Mapping[str, Array], explained: Explained, settings: ReportSettings
) -> Iterator[dict[str, Any]]:
    """Each feature in each large cohort against all other rows.

    The intervals hold together: each has the confidence 1 - (1 - c) / m, with m comparisons (Bonferroni).
    """
    everyone = np.any(list(masks.values()), 0) if masks else np.zeros(len(explained), bool)
    pairs = {}
    for group, mask in masks.items():
        inside, outside = mask & explained.basis, everyone & ~mask & explained.basis
        if min(int(inside.sum()), int(outside.sum())) >= settings.least:
            pairs[group] = (inside, outside)
    if len(pairs) == 2 and len(masks) == 2:  # the second says the same as the first
        pairs.pop(list(pairs)[1])
    m = max(1, len(pairs) * len(explained.names))
    confidence = 1 - (1 - settings.confidence) / m
    for group, (inside, outside) in pairs.items():
        n, rest = int(inside.sum()), int(outside.sum())
        k, other = explained.selected[inside].sum(0), explained.selected[outside].sum(0)
        low, high = score_difference(k, n, other, rest, confidence)
        for i, feature in enumerate(explained.names):
            share, others = float(k[i] / n), float(other[i] / rest)
            yield {
                "cohort": group, "feature": feature, "share": share, "others": others,
                "difference": share - others, "low": float(low[i]), "high": float(high[i]), "comparisons": m,
            }  # fmt: skip


def _ratio(count: int, n: int) -> float | None:
    return count / n if n else None


def _known(x: float) -> float | None:
    return x if x == x else None
