"""diff: which features entered or left between two reports, and for how many rows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stg_attr.errors import check_share

from .document import FORMAT, Report, as_parquet, described_files, read_report, without_nan
from .statistics import score_difference
from .words import count, percent

__all__ = ["diff"]

_SETS = "rows/sets.parquet"
_CHANGES = "rows/changes.parquet"


def diff(old: Report | str | Path, new: Report | str | Path, *, confidence: float = 0.95) -> Report:
    """Compare two reports: of two models, or of two months.

    Shares of rows are compared with intervals that hold together (Bonferroni). If both reports are of the
    same rows, known by a column of ids or by the same data, it also says for how many rows each feature
    entered or left the set.

    Args:
        old: a report, or the folder that `Report.save` has written.
        new: the other one.
        confidence: of the intervals, in (0, 1).

    Returns:
        The difference, with the same methods as a report. Its date is that of the new report.

    Raises:
        ArgumentError: a folder holds no report, or the confidence is outside its range.
    """
    check_share("confidence", confidence, one=False, mend="0.95 is usual.")
    before, after = read_report(old), read_report(new)
    rows = [_rows(one) for one in (before, after)]
    pairs, why = _same_rows(before.content, after.content, rows)
    features = _features(before.content, after.content, confidence)
    changes, files, counts = _changes(rows, pairs), {}, {}
    if changes:
        files, counts = {_CHANGES: as_parquet(changes)}, {_CHANGES: len(changes["id"])}
    for one in features:
        entered, left = (
            sum(
                f == one["feature"] and c == what
                for f, c in zip(changes["feature"], changes["change"], strict=True)
            )
            if changes
            else None
            for what in ("entered", "left")
        )
        one |= {"entered": entered if pairs else None, "left": left if pairs else None}
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": "difference",
        "title": f"What changed from {_name(before)} to {_name(after)}",
        "date": after.content["date"],
        "summary": [],
        "sides": [_side(one.content) for one in (before, after)],
        "unlike": _unlike(before.content, after.content),
        "rows": {"same": len(pairs), "why": why, "changed": _n_changed(rows, pairs)},
        "features": features,
        "shared": _shared(before.content, after.content),
        "settings": {"confidence": confidence},
        "files": described_files(files, counts),
    }
    content["summary"] = _summary(content)
    return Report(without_nan(content), files)


def _name(one: Report) -> str:
    return str(one.content["model"]["name"] or "an unnamed model")


def _rows(one: Report) -> dict[str, Any]:
    """Id, set, and whether it counts, of each row of a report."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(one.files[_SETS]), columns=["id", "features", "counted"])
    found: dict[str, Any] = table.to_pydict()
    return found


def _same_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[int, int]], str]:
    """Places of the rows that count in both reports, and why there are none."""
    ids = [one["population"]["ids"] for one in (before, after)]
    data = [one["model"]["data"] for one in (before, after)]
    by_data = data[0] is not None and data[0] == data[1]
    if ids[0] != ids[1] and (by_data or None not in ids):
        return [], (
            "The rows of the two reports are known by different ids. Give both runs the same id_column to "
            "compare row by row."
        )
    if not by_data and None in ids:
        return [], (
            "The rows are known by their positions, and the data differ: a position may stand for another "
            "row. Give both runs an id_column to compare row by row."
        )
    there = {i: place for place, i in enumerate(rows[1]["id"]) if rows[1]["counted"][place] and i is not None}
    pairs = [
        (place, there[i]) for place, i in enumerate(rows[0]["id"]) if rows[0]["counted"][place] and i in there
    ]
    return pairs, "" if pairs else "The two reports have no counted row in common."


def _features(before: Mapping[str, Any], after: Mapping[str, Any], confidence: float) -> list[dict[str, Any]]:
    """Shares of the rows that need each feature, and how far apart they are."""
    needs = [{one["feature"]: one["rows"] for one in side["sets"]["needs"]} for side in (before, after)]
    n, other = (side["sets"]["rows"] for side in (after, before))
    names = list(dict.fromkeys([*needs[1], *needs[0]]))
    k, k_other = (np.array([side.get(name, 0) for name in names]) for side in (needs[1], needs[0]))
    level = 1 - (1 - confidence) / max(1, len(names))
    low, high = score_difference(k, n, k_other, other, level)

    def in_both(name: str) -> bool:
        return all(name in side for side in needs)

    found = [
        {
            "feature": name,
            "is_in": [name in side for side in needs],
            "before": _ratio(int(k_other[i]), other if name in needs[0] else 0),
            "after": _ratio(int(k[i]), n if name in needs[1] else 0),
            "low": float(low[i]),
            "high": float(high[i]),
            "apart": bool(in_both(name) and n and other and (low[i] > 0 or high[i] < 0)),
        }
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda one: -abs((one["after"] or 0) - (one["before"] or 0)))


def _ratio(rows: int, n: int) -> float | None:
    return rows / n if n else None


def _changes(rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[int, int]]) -> dict[str, list[Any]]:
    """One line for each row and feature that entered or left its set."""
    found: dict[str, list[Any]] = {"id": [], "feature": [], "change": []}
    for place, other in pairs:
        was, now = (set(side["features"][i]) for side, i in zip(rows, (place, other), strict=True))
        for what, names in (("entered", now - was), ("left", was - now)):
            for name in sorted(names):
                found["id"].append(rows[0]["id"][place])
                found["feature"].append(name)
                found["change"].append(what)
    return found if pairs else {}


def _n_changed(rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[int, int]]) -> int:
    return sum(set(rows[0]["features"][i]) != set(rows[1]["features"][j]) for i, j in pairs)


def _side(content: Mapping[str, Any]) -> dict[str, Any]:
    model, share = content["model"], content["certified"]["certified"]
    return {
        "title": content["title"], "date": content["date"], "rows": content["population"]["rows"],
        "name": model["name"], "version": model["version"], "hash": model["hash"], "data": model["data"],
        "certified": share, "median": content["sets"]["median"], "counted": content["sets"]["rows"],
        "statuses": {one["status"]: one["rows"] for one in content["statuses"]},
    }  # fmt: skip


def _unlike(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What must be equal for a fair comparison, and is not."""
    asked = [one["question"]["about"] for one in (before, after)]
    names = sorted(set(asked[0]) | set(asked[1]))
    found = [
        f"{name} was {asked[0].get(name, 'not recorded')!r} and is {asked[1].get(name, 'not recorded')!r}"
        for name in names
        if asked[0].get(name) != asked[1].get(name)
    ]
    versions = [one["model"]["explained_with"].get("stg_attr") for one in (before, after)]
    if versions[0] != versions[1]:
        found.append(f"stg_attr was {versions[0]} and is {versions[1]}")
    return found


def _shared(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Features that entered or left the set of the whole population."""
    if not (before["shared"]["measured"] and after["shared"]["measured"]):
        return {"measured": False, "why": "Not both reports measured the features of the whole population."}
    was, now = (
        {one["feature"] for one in side["shared"]["features"] if one["needed"]} for side in (before, after)
    )
    return {
        "measured": True,
        "entered": sorted(now - was), "left": sorted(was - now), "stayed": sorted(now & was),
    }  # fmt: skip


def _summary(content: Mapping[str, Any]) -> list[str]:
    rows, features = content["rows"], content["features"]
    said = []
    if rows["same"]:
        share = percent(rows["changed"] / rows["same"])
        said.append(
            f"Of {count(rows['same'])} rows in both reports, {count(rows['changed'])} ({share}) have "
            "another set."
        )
    else:
        said.append(f"Rows were not compared one by one. {rows['why']}")
    apart = [one for one in features if one["apart"]]
    for what, sign in (("more", 1), ("fewer", -1)):
        named = [one for one in apart if sign * ((one["after"] or 0) - (one["before"] or 0)) > 0]
        if named:
            listed = "; ".join(
                f"{one['feature']} ({percent(one['before'])}, now {percent(one['after'])})"
                for one in named[:6]
            )
            said.append(f"Needed by {what} rows than before: {listed}.")
    if not apart:
        said.append("No feature is needed by more or fewer rows than chance could explain.")
    for place, what in ((0, "New among the features"), (1, "No longer among the features")):
        named = [one["feature"] for one in features if not one["is_in"][place]]
        said += [f"{what}: {', '.join(named[:6])}."] if named else []
    if content["unlike"]:
        said.append("The two reports did not ask the same question, so that a difference may come from that.")
    return said
