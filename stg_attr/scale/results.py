"""Results: the explanations of a data set read back, whole or summed up."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.attribution import Status
from stg_attr.errors import ArgumentError

from .explaining import FAILED
from .shards import Output, check_arrow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DatasetAttributions", "Summary", "load_attributions", "summarise"]

_SEVERITY = [Status.CONVERGED.name, Status.BASELINE_HIGHER.name, Status.NOTHING_TO_EXPLAIN.name]
_WORST = 20  # rows that a summary names


@dataclass(frozen=True, eq=False)
class DatasetAttributions:
    """The explained rows of a data set, in its order; failed ones are in `failures` alone.

    Attributes:
        ids: of the rows.
        attributions: active probability of each feature, [rows, features]; 0 where a row has no such feature.
        log_alpha: gate parameters, [rows, features]; -inf where a row has no such feature.
        selected: the features reported as needed, bool [rows, features].
        feature_ids: of the features, long [rows, features]; -1 for none.
        target: explained output of each row, long [rows, dims].
        evidence: measured scores `full`, `baseline`, `kept`, `removed`, and `sufficiency` and
            `comprehensiveness`, each [rows], double.
        status: of each row.
        evaluations: of the model for each row, long [rows].
        failures: id of each failed row, and why.
    """

    ids: tuple[int | str, ...]
    attributions: Tensor
    log_alpha: Tensor
    selected: Tensor
    feature_ids: Tensor
    target: Tensor
    evidence: Mapping[str, Tensor]
    status: tuple[Status, ...]
    evaluations: Tensor
    failures: Mapping[int | str, str]

    def __len__(self) -> int:
        return len(self.ids)


def load_attributions(path: str | Path) -> DatasetAttributions:
    """Read an output of `explain_dataset`, finished or not, into memory.

    Args:
        path: its folder.

    Raises:
        ArgumentError: there is none, or a shard is damaged.
    """
    tables = list(_tables(path))
    if not tables:
        raise _nothing(path)
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables(tables)
    bad = pc.equal(table["status"], FAILED)
    failed, table = table.filter(bad), table.filter(pc.invert(bad))
    evidence = ("full", "baseline", "kept", "removed", "sufficiency", "comprehensiveness")
    return DatasetAttributions(
        ids=tuple(table["id"].to_pylist()),
        attributions=torch.from_numpy(_padded(table, "attributions", 0.0)),
        log_alpha=torch.from_numpy(_padded(table, "log_alpha", -np.inf)),
        selected=torch.from_numpy(_padded(table, "selected", False)),
        feature_ids=torch.from_numpy(_padded(table, "feature_ids", -1)).long(),
        target=torch.from_numpy(_padded(table, "target", -1)),
        evidence={name: torch.from_numpy(table[name].to_numpy().copy()) for name in evidence},
        status=tuple(Status[name] for name in table["status"].to_pylist()),
        evaluations=torch.from_numpy(table["evaluations"].to_numpy().copy()),
        failures=dict(zip(failed["id"].to_pylist(), failed["message"].to_pylist(), strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Summary:
    """What an output says as a whole.

    Attributes:
        n_rows: rows, failed ones among them.
        statuses: how many rows have each status; `FAILED` for rows without an explanation.
        feature_ids: of the features, ascending, long [features].
        importance: mean active probability of each feature over the rows that have it, double [features].
        spread: its standard deviation over these rows, double [features].
        selected: share of these rows that select it, double [features].
        worst: ids of the least trustworthy explanations with a status and the share of the score that
            the selection loses: those with a doubtful status first, each by that share, largest first.
        failures: the commonest messages of failed rows, and how often.
        evaluations: of the model, in all.
    """

    n_rows: int
    statuses: Mapping[str, int]
    feature_ids: Tensor
    importance: Tensor
    spread: Tensor
    selected: Tensor
    worst: tuple[tuple[int | str, str, float], ...]
    failures: Mapping[str, int]
    evaluations: int

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count} {name.lower().replace('_', ' ')}" for name, count in self.statuses.items()
        )
        lines = [f"{self.n_rows} rows: {counts}; {self.evaluations} model evaluations"]
        for i in self.importance.argsort(descending=True, stable=True)[:10].tolist():
            lines.append(
                f"  feature {int(self.feature_ids[i])}: active {self.importance[i]:.3f} "
                f"± {self.spread[i]:.3f}, selected in {self.selected[i]:.1%} of the rows"
            )
        lines += [f"  failed {count} times: {message}" for message, count in self.failures.items()]
        return "\n".join(lines)


def summarise(path: str | Path) -> Summary:
    """Sum up an output of `explain_dataset`, finished or not, one shard at a time.

    Args:
        path: its folder.

    Raises:
        ArgumentError: there is none, or a shard is damaged.
    """
    totals = _Totals()
    for table in _tables(path):
        totals.add(table)
    if not totals.n_rows:
        raise _nothing(path)
    return totals.summary()


class _Totals:
    """Counts, moments and extremes, updated shard by shard."""

    def __init__(self) -> None:
        self.n_rows = self.evaluations = 0
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.worst: list[tuple[int, float, str, int | str]] = []
        self.moments = np.zeros((4, 0))  # rows, mean, sum of squared deviations and selections by feature id

    def add(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        self.n_rows += len(table)
        self.statuses.update(table["status"].to_pylist())
        self.evaluations += int(pc.sum(table["evaluations"]).as_py() or 0)
        bad = pc.equal(table["status"], FAILED)
        self._add_failures(table.filter(bad)["message"].to_pylist())
        explained = table.filter(pc.invert(bad))
        if len(explained):
            self._add_features(explained)
            self._add_worst(explained)

    def _add_failures(self, messages: list[str]) -> None:
        self.failures.update(messages)
        if len(self.failures) > 1000:  # every message another one: keep memory flat
            self.failures = Counter(dict(self.failures.most_common(100)))

    def _add_features(self, table: pa.Table) -> None:
        """Chan, Golub, LeVeque (1979): moments of two parts from those of each."""
        ids, values, selected = (_flat(table, name) for name in ("feature_ids", "attributions", "selected"))
        width = max(int(ids.max(initial=-1)) + 1, self.moments.shape[1])
        self.moments = np.pad(self.moments, ((0, 0), (0, width - self.moments.shape[1])))
        count = np.bincount(ids, minlength=width).astype(np.float64)
        mean = np.bincount(ids, values, width) / np.maximum(count, 1)
        square = np.bincount(ids, (values - mean[ids]) ** 2, width)
        n, m, s, k = self.moments
        total = np.maximum(n + count, 1)
        shift = mean - m
        self.moments = np.stack([
            n + count,
            m + shift * count / total,
            s + square + shift**2 * n * count / total,
            k + np.bincount(ids, selected, width),
        ])  # fmt: skip

    def _add_worst(self, table: pa.Table) -> None:
        full, baseline, kept = (table[name].to_numpy() for name in ("full", "baseline", "kept"))
        span = np.where(full == baseline, 1.0, full - baseline)
        lost = np.nan_to_num(1 - (kept - baseline) / span, nan=np.inf)
        for row_id, status, share in zip(
            table["id"].to_pylist(), table["status"].to_pylist(), lost, strict=True
        ):
            entry = (int(status not in _SEVERITY), float(share), status, row_id)
            if len(self.worst) < _WORST:
                heapq.heappush(self.worst, entry)
            elif entry[:2] > self.worst[0][:2]:
                heapq.heapreplace(self.worst, entry)

    def summary(self) -> Summary:
        there = np.flatnonzero(self.moments[0])
        count, mean, square, selected = self.moments[:, there]
        worst = sorted(self.worst, key=lambda entry: entry[:2], reverse=True)
        return Summary(
            n_rows=self.n_rows,
            statuses=dict(self.statuses.most_common()),
            feature_ids=torch.from_numpy(there),
            importance=torch.from_numpy(mean),
            spread=torch.from_numpy(np.sqrt(square / count)),
            selected=torch.from_numpy(selected / count),
            worst=tuple((row_id, status, share) for _, share, status, row_id in worst),
            failures=dict(self.failures.most_common(10)),
            evaluations=self.evaluations,
        )


def _tables(path: str | Path) -> Iterator[pa.Table]:
    check_arrow()
    output = Output(Path(path))
    output.manifest()
    return (output.read(number) for number in output.finished())


def _flat(table: pa.Table, name: str) -> Any:
    return table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)


def _padded(table: pa.Table, name: str, filler: float) -> Any:
    """Lists of a column as rows of one array, [rows, longest]."""
    import pyarrow.compute as pc

    values = _flat(table, name)
    lengths = pc.list_value_length(table[name]).to_numpy()
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(there.shape, filler, dtype=values.dtype)
    padded[there] = values
    return padded


def _nothing(path: str | Path) -> ArgumentError:
    return ArgumentError(
        "path",
        expected="at least one finished shard",
        found=f"none in {path}",
        mend="Run explain_dataset first.",
    )
