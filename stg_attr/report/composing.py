"""report: one document about many explained rows, for readers who have to defend the model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stg_attr.explanation import Explanation
from stg_attr.gates import ReferenceSet
from stg_attr.scale.arguments import check_arguments
from stg_attr.scale.shards import check_arrow
from stg_attr.scale.worker import Make

from .cohorts import class_of, cohort_of_each, compared
from .document import FORMAT, Report, as_parquet, described_files, without_nan
from .explained import Explained
from .given import Given, column_rows, columns_of
from .measured import Live
from .run import Run
from .sections import certified, contributions, population, sets, statuses
from .settings import ReportSettings
from .shared import shared
from .statistics import Array
from .typical import typical, typicality, uncertain
from .words import is_exact, limits, question, summary

__all__ = ["report"]

_NO_EXPLAINER = "The explainer was not given to the report."
_NO_FRESH = "No fresh reference rows were given to the report."


def report(
    results: str | Path | Explanation,
    data: Any = None,
    *,
    explainer: Make | None = None,
    fresh: Any = None,
    columns: Sequence[str] | None = None,
    id_column: str | None = None,
    labels: Any = None,
    cohorts: Sequence[str] | Mapping[str, Any] = (),
    model_name: str | None = None,
    model_version: str | None = None,
    date: str | None = None,
    settings: ReportSettings | None = None,
    **arguments: Any,
) -> Report:
    """Put what is known of many explained rows into one document.

    Without the explainer it says what the results hold. With it, coverage, stability, contributions and the
    features of the whole population are measured, on samples. What was not measured is said.

    Args:
        results: the folder of `explain_dataset`, or an explanation of many rows.
        data: the rows that were explained: a DataFrame, a tensor [rows, ...], or the path of a Parquet file.
        explainer: what explained them, or a function that returns it or its model, as in `explain_dataset`.
        fresh: reference rows that neither the run nor its training has seen, in the form of `baselines`: on
            these coverage is measured.
        columns: those of the data that the model gets, as in `explain_dataset`.
        id_column: the column that holds the ids of the results; None where they are positions.
        labels: the right class of each row, or the column that holds it.
        cohorts: columns whose values divide the rows; or a name and values [rows] for each division.
        model_name: of the model, for the reader.
        model_version: of the model; as in `explain_dataset`, if that got one.
        date: of the report; today by default. Nothing else differs between two equal calls.
        settings: the numbers behind the defaults.
        arguments: of the explainer's `explain`, as in the run: `baselines`, `feature_mask` and so on.

    Returns:
        The report: `save` writes it.

    Raises:
        ArgumentError: an argument cannot be used, the results cannot be read, or the explainer or an argument
            is not that of the run.
    """
    check_arrow()
    check_arguments(arguments)
    settings = ReportSettings() if settings is None else settings
    explained = Explained.of(results)
    own = _own_data(results, data)
    given = Given.of(own, explained.ids, explained.names, columns, id_column)
    live = None if explainer is None else Live.of(explainer, explained, given, arguments, settings)
    run = Run.of(results, live, arguments, model_version)
    parts = _Parts(explained, given, settings)
    known = _labels(labels, given, len(explained))
    content = {
        "format": FORMAT,
        "kind": "report",
        "title": f"Report on {model_name or run.model_name}",
        "date": date or datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "summary": [],
        "model": run.described(model_name, model_version, explained),
        "population": population(given, _references(arguments, given, explained), len(explained)),
        "question": {
            "parts": question(run.about),
            "about": dict(run.about),
            "exact": is_exact(run.about),
        },
        "certified": certified(explained, settings),
        "sets": sets(explained, settings),
        "statuses": statuses(explained),
        **parts.measured(live, fresh, known, run),
        "cohorts": parts.cohorts(cohorts, known, run),
        **parts.rows_by_name(),
    }
    return parts.finished(content)


def _own_data(results: Any, data: Any) -> Any:
    """The data; those of an explanation of a table of numbers if none are given."""
    if data is None and isinstance(results, Explanation) and results.columns is None:
        only = results.inputs[0]
        return only if len(results.inputs) == 1 else None
    return data


def _labels(labels: Any, given: Given, n: int) -> Array | None:
    if labels is None:
        return None
    if isinstance(labels, str):
        return given.column(labels)
    return column_rows(labels, n, "labels")


def _references(arguments: Mapping[str, Any], given: Given, explained: Explained) -> dict[str, Array]:
    """The columns of the reference rows, where these are rows; those of a tensor are the model's inputs."""
    names = given.inputs or explained.names
    baselines = arguments.get("baselines")
    rows = baselines.rows if isinstance(baselines, ReferenceSet) else baselines
    if isinstance(rows, Tensor) and rows.dim() == 2 and len(rows) > 1:
        return columns_of(rows, names)
    return columns_of(rows, names) if hasattr(rows, "columns") else {}


@dataclass(eq=False)
class _Parts:
    """Makes the sections one after the other, and keeps the rows behind each of them."""

    explained: Explained
    given: Given
    settings: ReportSettings
    files: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def keep(self, name: str, columns: Mapping[str, Any]) -> str | None:
        """Keep the rows behind a figure; the path of their file, None without rows."""
        if not columns:
            return None
        path = f"rows/{name}.parquet"
        self.files[path], self.counts[path] = as_parquet(columns), len(next(iter(columns.values())))
        return path

    def measured(self, live: Live | None, fresh: Any, labels: Array | None, run: Run) -> dict[str, Any]:
        """The sections that need the explainer; without it, why they are not there."""
        explained, known = self.explained, np.isfinite(self.explained.contributions).all(1)
        signed, index = explained.contributions, np.arange(len(explained))
        found: dict[str, Any] = dict.fromkeys(("coverage", "stability", "shared"), _not(_NO_EXPLAINER))
        if live is not None:
            found["coverage"] = self._coverage(live, fresh)
            section, columns, first, index_again = live.stability()
            found["stability"] = section | {"file": self.keep("stability", columns)}
            section, columns = shared(live, labels)
            found["shared"] = section | {"file": self.keep("shared", columns)}
            again = None if known.all() else live.signed(first, index_again)
            if again is not None and again.contributions is not None:
                signed, index = again.contributions.cpu().float().numpy(), index_again
        section, columns = contributions(explained, self.given, signed, index, self.settings)
        if not section["measured"]:
            why = "The results hold no contributions, and the explainer was not given."
            return found | {"contributions": _not(why)}
        return found | {"contributions": section | {"file": self.keep("contributions", columns)}}

    def _coverage(self, live: Live, fresh: Any) -> dict[str, Any]:
        if fresh is None:
            return _not(_NO_FRESH)
        section, columns = live.coverage(fresh)
        return section | {"file": self.keep("coverage", columns)}

    def cohorts(
        self, cohorts: Sequence[str] | Mapping[str, Any], labels: Array | None, run: Run
    ) -> dict[str, Any]:
        """What cohorts need and where they differ: classes, errors against hits, and those of the user."""
        explained, n = self.explained, len(self.explained)
        groups: dict[str, list[str]] = {}
        if len(set(explained.target)) > 1:
            groups["explained class"] = list(explained.target)
        why = self._no_hits(labels, run)
        if labels is not None and not why:
            known = zip(labels.tolist(), explained.target, explained.failed.tolist(), strict=True)
            groups["prediction"] = [
                "" if failed or not (right := class_of(label)) else "hit" if right == target else "error"
                for label, target, failed in known
            ]
        named = (
            cohorts if isinstance(cohorts, Mapping) else {name: self.given.column(name) for name in cohorts}
        )
        for name, values in named.items():
            cells = values if isinstance(values, np.ma.MaskedArray) else column_rows(values, n, "cohorts")
            groups[str(name)] = cohort_of_each(cells, self.settings)
        found = [compared(name, of, explained, self.settings) for name, of in groups.items()]
        columns = {"id": list(explained.ids), **groups} if groups else {}
        return {
            "columns": found,
            "errors": why,
            "least": self.settings.least,
            "file": self.keep("cohorts", columns),
        }

    def _no_hits(self, labels: Array | None, run: Run) -> str:
        """Why errors are not compared with hits; empty if they are."""
        if labels is None:
            return "No labels were given to the report."
        if not all(self.explained.target[i] for i in np.flatnonzero(~self.explained.failed)):
            return "The model returns one number for a row; give a cohort that says which rows it got right."
        if not run.explains_predictions:
            return "A given output was explained, not the predicted class."
        if any(name and not name.isdecimal() for name in map(class_of, labels.tolist())):
            return "The labels are no numbers of classes, counted from 0, as the explained outputs are."
        return ""

    def rows_by_name(self) -> dict[str, Any]:
        """Typical rows, and those without a certificate; and the rows behind sets and statuses."""
        explained = self.explained
        values = typicality(explained, self.settings)
        features = [explained.names_of(i) for i in range(len(explained))]
        claimed = [None if x < 0 else bool(x) for x in explained.certified.tolist()]
        sets_file = self.keep(
            "sets",
            {
                "id": list(explained.ids), "counted": explained.basis, "certified": claimed,
                "kept_on_fresh": explained.mean, "size": explained.sizes, "features": features,
                "target": list(explained.target), "score": explained.full, "baseline": explained.baseline,
                "overlap": values,
            },
        )  # fmt: skip
        messages = {
            "id": list(explained.ids),
            "status": explained.status.tolist(),
            "message": list(explained.message),
        }
        return {
            "typical": typical(explained, values, self.settings),
            "uncertain": uncertain(explained, self.settings),
            "sets_file": sets_file,
            "statuses_file": self.keep("statuses", messages),
        }

    def finished(self, content: dict[str, Any]) -> Report:
        """The report, with its sentences and its list of files."""
        content["limits"] = limits(content)
        content["summary"] = summary(content)
        content["settings"] = vars(self.settings)
        content["files"] = described_files(self.files, self.counts)
        return Report(without_nan(content), self.files)


def _not(why: str) -> dict[str, Any]:
    return {"measured": False, "why": why, "file": None}
