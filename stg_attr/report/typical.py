"""Typical rows: how much the set of a row has in common with the sets of the other rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .explained import Explained
from .settings import ReportSettings
from .statistics import Array

__all__ = ["typical", "typicality", "uncertain"]

_TOGETHER = 4096  # rows that are compared at once, so that the memory does not grow


def typicality(explained: Explained, settings: ReportSettings) -> Array:
    """Mean overlap of the set of each row with those of others, [rows]; NaN for rows that are not counted.

        mean_j  |S_i and S_j| / |S_i or S_j|

    with j over `settings.compared` rows at equal distances, and 1 where both sets are empty.
    """
    rows = np.flatnonzero(explained.basis)
    found = np.full(len(explained), np.nan)
    if not len(rows):
        return found
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), settings.compared)).round().astype(int)]
    others = explained.selected[chosen].astype(np.float32)
    for first in range(0, len(rows), _TOGETHER):
        some = rows[first : first + _TOGETHER]
        own = explained.selected[some].astype(np.float32)
        both = own @ others.T
        either = own.sum(1, keepdims=True) + others.sum(1) - both
        found[some] = np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean(1)
    return found


def typical(explained: Explained, values: Array, settings: ReportSettings) -> dict[str, Any]:
    """The most and the least typical rows, with their sets.

    Args:
        explained: the rows.
        values: their typicality, [rows].
        settings: how many are shown.
    """
    rows = np.flatnonzero(np.isfinite(values))
    order = rows[np.argsort(-values[rows], kind="stable")]
    n = min(settings.listed, len(order))
    return {
        "compared_with": min(len(rows), settings.compared),
        "most": [_row(explained, int(i), float(values[i])) for i in order[:n]],
        "least": [_row(explained, int(i), float(values[i])) for i in order[::-1][:n]],
        "sets": _frequent_sets(explained, settings),
    }


def _row(explained: Explained, i: int, value: float) -> dict[str, Any]:
    return {"id": explained.ids[i], "overlap": value, "features": explained.names_of(i)}


def _frequent_sets(explained: Explained, settings: ReportSettings) -> list[dict[str, Any]]:
    """The sets that most rows share."""
    rows = np.flatnonzero(explained.basis)
    if not len(rows):
        return []
    _, first, count = np.unique(explained.selected[rows], axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -count))[: settings.listed]
    return [
        {
            "features": explained.names_of(int(rows[first[i]])),
            "rows": int(count[i]),
            "share": count[i] / len(rows),
        }
        for i in order
    ]


def uncertain(explained: Explained, settings: ReportSettings) -> dict[str, Any]:
    """Rows whose claim was not certified, and rows that failed: how many, and the first of them."""
    lost = ~explained.failed & (explained.certified == 0)
    rows = np.flatnonzero(lost | explained.failed)
    shown = [
        {
            "id": explained.ids[i],
            "status": str(explained.status[i]),
            "message": explained.message[i],
            "kept": float(explained.mean[i]) if np.isfinite(explained.mean[i]) else None,
            "features": explained.names_of(int(i)),
        }
        for i in _worst_first(explained, rows)[: settings.listed]
    ]
    return {"not_certified": int(lost.sum()), "failed": int(explained.failed.sum()), "rows": shown}


def _worst_first(explained: Explained, rows: Array) -> Array:
    """Failed rows first, then those of which the least is known to be kept."""
    kept = np.where(np.isfinite(explained.mean[rows]), explained.mean[rows], np.inf)
    return rows[np.lexsort((rows, kept, ~explained.failed[rows]))]
