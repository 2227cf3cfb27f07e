"""The sections of a report that need only the explained rows and the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stg_attr.explanation import Status
from stg_attr.scale.explaining import FAILED

from .cohorts import cells_as_text, cohort_of_each, in_order, share_of
from .explained import Explained
from .given import Given
from .settings import ReportSettings
from .statistics import Array, exact_interval, mean_interval

__all__ = ["certified", "contributions", "population", "sets", "statuses"]

_FAILED = "Failed: the row could not be explained; its message says why."
_MOST = 0.9  # the share of the rows of which the summary names the size of the sets
_SHOWN_VALUES = 3  # of a column of texts
_SHOWN_CLASSES = 3


def certified(explained: Explained, settings: ReportSettings) -> dict[str, Any]:
    """The share of the explained rows whose claim is certified, and the evaluations it took."""
    n = int((~explained.failed).sum())
    share = share_of(int((explained.certified == 1).sum()), n, settings.confidence)
    return {
        "has_claim": explained.has_claim,
        "explained": n,
        "failed": int(explained.failed.sum()),
        "certified": share if explained.has_claim else None,
        "evaluations": int(explained.evaluations.sum()),
    }


def sets(explained: Explained, settings: ReportSettings) -> dict[str, Any]:
    """Sizes of the sets, and how many rows need each feature."""
    sizes, n = explained.sizes[explained.basis], int(explained.basis.sum())
    found, count = np.unique(sizes, return_counts=True)
    needed = explained.selected[explained.basis].sum(0)
    order = np.argsort(-needed, kind="stable")
    features = []
    for i in order.tolist():
        low, high = exact_interval(int(needed[i]), n, settings.confidence)
        share = float(needed[i] / n) if n else None
        features.append(
            {"feature": explained.names[i], "rows": int(needed[i]), "share": share, "low": low, "high": high}
        )
    return {
        "of": "certified" if explained.has_claim else "explained",
        "rows": n,
        "features_in_all": len(explained.names),
        "sizes": [{"size": int(s), "rows": int(k)} for s, k in zip(found, count, strict=True)],
        "median": float(np.median(sizes)) if n else None,
        "most": _most(found, count),
        "needs": features,
    }


def _most(sizes: Array, count: Array) -> dict[str, Any] | None:
    """The smallest size that 90 % of the rows do not exceed, and the share that does not."""
    if not len(sizes):
        return None
    share = count.cumsum() / count.sum()
    i = int(np.argmax(share >= _MOST))
    return {"size": int(sizes[i]), "share": float(share[i])}


def statuses(explained: Explained) -> list[dict[str, Any]]:
    """How many rows have each status, and what it means; the most frequent one first."""
    names, count = np.unique(explained.status, return_counts=True)
    order = np.lexsort((names, -count))
    return [
        {
            "status": str(names[i]),
            "rows": int(count[i]),
            "share": float(count[i] / len(explained)),
            "doubtful": bool(names[i] == FAILED or Status[str(names[i])].doubtful),
            "meaning": _FAILED if names[i] == FAILED else str(Status[str(names[i])].value),
        }
        for i in order
    ]


def population(given: Given, references: Mapping[str, Array], n: int) -> dict[str, Any]:
    """What the columns of the rows hold, beside the same of the reference rows.

    Args:
        given: the data.
        references: columns of the reference rows; empty where they are not known.
        n: number of explained rows.
    """
    columns = [
        {
            "column": name,
            "rows": _described(given.column(name)),
            "references": _described(references[name]) if name in references else None,
        }
        for name in given.inputs
        if name in given.columns
    ]
    n_references = len(next(iter(references.values()))) if references else None
    return {"rows": n, "references": n_references, "ids": given.id_column, "columns": columns}


def _described(values: Array) -> dict[str, Any]:
    if np.ma.getdata(values).dtype.kind in "iuf":
        numbers = np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return {"kind": "numbers", "missing": len(values)}
        if len(np.unique(known)) <= _SHOWN_VALUES:  # flags and the like
            return _most_frequent(values)
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]).tolist()
        missing = len(values) - len(known)
        return {"kind": "numbers", "missing": missing, "low": low, "median": middle, "high": high}
    return _most_frequent(values)


def _most_frequent(values: Array) -> dict[str, Any]:
    texts, count = np.unique(np.array(cells_as_text(values)), return_counts=True)
    order = np.lexsort((texts, -count))[:_SHOWN_VALUES]
    shown = [{"value": str(texts[i]), "share": float(count[i] / len(values))} for i in order]
    return {"kind": "values", "different": len(texts), "most": shown}


def contributions(
    explained: Explained, given: Given, signed: Array, index: Array, settings: ReportSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each feature adds to the score, by its value.

    Args:
        explained: the rows.
        given: the data, whose columns hold the values of features of the same name.
        signed: contributions, [rows, features].
        index: the rows that they are of, long [rows].
        settings: into how many parts values are cut, and how many features are shown.

    Returns:
        The section, and the columns of its rows: one for each row and feature.
    """
    known = np.isfinite(signed).all(1)
    signed, index = signed[known], index[known]
    sizes = np.abs(signed).mean(0) if len(signed) else np.zeros(len(explained.names))
    found, columns = [], _long(explained, index)
    targets = np.array([explained.target[i] for i in index])
    for i in np.argsort(-sizes, kind="stable").tolist():
        name = explained.names[i]
        cells = given.column(name)[index] if name in given.columns and len(given) else None
        mean, low, high = mean_interval(signed[:, i], settings.confidence)
        found.append(
            {
                "feature": name, "size": float(sizes[i]), "mean": mean, "low": low, "high": high,
                "raises": float((signed[:, i] > 0).mean()) if len(signed) else None,
                "by_value": None if cells is None else _by_class(cells, signed[:, i], targets, settings),
            }
        )  # fmt: skip
    by_name = [given.column(n)[index] if n in given.columns and len(given) else None for n in explained.names]
    texts = [[""] * len(index) if cells is None else cells_as_text(cells) for cells in by_name]
    values = [text for row in zip(*texts, strict=True) for text in row]
    columns |= {"value": values, "contribution": signed.reshape(-1)}
    return {"measured": bool(len(signed)), "rows": len(signed), "features": found}, columns


def _long(explained: Explained, index: Array) -> dict[str, Any]:
    ids = [explained.ids[i] for i in index for _ in explained.names]
    return {"id": ids, "feature": list(explained.names) * len(index)}


def _by_class(cells: Array, signed: Array, targets: Array, settings: ReportSettings) -> list[dict[str, Any]]:
    """The same for the rows of each explained class: what raises one score may lower another."""
    names, count = np.unique(targets, return_counts=True)
    frequent = names[np.lexsort((names, -count))][:_SHOWN_CLASSES]
    return [
        {
            "target": str(name), "rows": int((targets == name).sum()),
            "values": _by_value(cells[targets == name], signed[targets == name], settings),
        }
        for name in sorted(frequent.tolist())
    ]  # fmt: skip


def _by_value(cells: Array, signed: Array, settings: ReportSettings) -> list[dict[str, Any]]:
    """The mean contribution of rows with a value, or with values in a range."""
    few = ReportSettings(values=settings.bins, parts=settings.bins)
    groups = np.array(cohort_of_each(cells, few))
    found = []
    for group in in_order(groups.tolist()):
        mean, low, high = mean_interval(signed[groups == group], settings.confidence)
        n = int((groups == group).sum())
        known = n > 1
        found.append(
            {
                "value": group, "rows": n, "mean": mean,
                "low": low if known else None, "high": high if known else None,
            }
        )  # fmt: skip
    return found
