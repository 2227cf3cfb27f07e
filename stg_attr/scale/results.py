"""Read the explanations of a data set, or a summary of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.attribution import Status
from stg_attr.errors import ArgumentError, check_count
from stg_attr.objective import retained_share

from .explaining import EVIDENCE, FAILED
from .shards import Output, check_arrow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DatasetAttributions", "Summary", "finished_tables", "load_attributions", "no_shard", "summarise"]

#: Statuses of explanations that can be trusted.
_RELIABLE = (
    Status.CONVERGED.name,
    Status.PROPOSED.name,
    Status.BASELINE_HIGHER.name,
    Status.NOTHING_TO_EXPLAIN.name,
)

_SHOWN_FEATURES = 10  # features in the text of a summary
_SHOWN_MESSAGES = 10  # error messages in a summary
_COUNTED_MESSAGES = 1000  # different error messages that are counted, and
_KEPT_MESSAGES = 100  # how many of them are kept if there are more, so that the memory does not grow


@dataclass(frozen=True, eq=False)
class DatasetAttributions:
    """The explained rows of a data set, in the order of the data set; failed rows are only in `failures`.

    Rows can have different numbers of features. Shorter rows are filled at the end.

    Attributes:
        ids: of the rows.
        attributions: active probability of each feature, [rows, features]; filled with 0.
        log_alpha: gate parameters, [rows, features]; filled with -inf.
        selected: the features reported as needed, bool [rows, features]; filled with False.
        feature_ids: of the features, long [rows, features]; filled with -1.
        feature_names: of the features of the first row; None where there are no names.
        target: explained output of each row, long [rows, dims]; filled with -1.
        evidence: measured scores `full`, `baseline`, `kept`, `removed`, and `sufficiency` and
            `comprehensiveness`, each double [rows].
        status: of each row.
        evaluations: model evaluations for each row, long [rows].
        failures: error message of each failed row, by its id; None if it has none. The messages of rows with
            the same id are joined.
    """

    ids: tuple[int | str, ...]
    attributions: Tensor
    log_alpha: Tensor
    selected: Tensor
    feature_ids: Tensor
    feature_names: tuple[str, ...] | None
    target: Tensor
    evidence: Mapping[str, Tensor]
    status: tuple[Status, ...]
    evaluations: Tensor
    failures: Mapping[int | str | None, str]

    def __len__(self) -> int:
        return len(self.ids)


def load_attributions(path: str | Path) -> DatasetAttributions:
    """Read an output of `explain_dataset` into memory. The run need not be finished.

    Args:
        path: the folder of the output.

    Raises:
        ArgumentError: the folder holds no output or no finished shard, or a shard is damaged.
    """
    tables = list(finished_tables(path))
    if not tables:
        raise no_shard(path)
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables(tables)
    has_failed = pc.equal(table["status"], FAILED)
    failed, table = table.filter(has_failed), table.filter(pc.invert(has_failed))
    return DatasetAttributions(
        ids=tuple(table["id"].to_pylist()),
        attributions=torch.from_numpy(_padded(table, "attributions", 0.0)),
        log_alpha=torch.from_numpy(_padded(table, "log_alpha", -np.inf)),
        selected=torch.from_numpy(_padded(table, "selected", False)),
        feature_ids=torch.from_numpy(_padded(table, "feature_ids", -1)).long(),
        feature_names=_first_names(table),
        target=torch.from_numpy(_padded(table, "target", -1)),
        evidence={name: torch.from_numpy(table[name].to_numpy().copy()) for name in EVIDENCE},
        status=tuple(Status[name] for name in table["status"].to_pylist()),
        evaluations=torch.from_numpy(table["evaluations"].to_numpy().copy()),
        failures=_by_id(failed["id"].to_pylist(), failed["message"].to_pylist()),
    )


def _first_names(table: pa.Table) -> tuple[str, ...] | None:
    """The names of the features of the first row; files of earlier releases have none."""
    found = table["feature_names"][:1].to_pylist() if "feature_names" in table.column_names else [None]
    return tuple(found[0]) if found and found[0] is not None else None


@dataclass(frozen=True, eq=False)
class Summary:
    """Global statistics of an output.

    Attributes:
        n_rows: all rows, including failed rows.
        statuses: number of rows with each status; `FAILED` for rows without an explanation.
        feature_ids: of the features, ascending, long [features].
        importance: mean active probability of each feature over the rows that have it, double [features].
        spread: standard deviation of the active probability over these rows, double [features].
        selected: fraction of these rows in which the feature is selected, double [features].
        worst: the least reliable explanations, as (id, status, lost): `lost` is the fraction of the score
            that the selected features do not retain. Rows with an unreliable status come first, then the
            rows that lose most.
        failures: number of rows with each error message, for the most frequent messages.
        evaluations: model evaluations for all rows together.
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
        for i in self.importance.argsort(descending=True, stable=True)[:_SHOWN_FEATURES].tolist():
            lines.append(
                f"  feature {int(self.feature_ids[i])}: active {self.importance[i]:.3f} "
                f"± {self.spread[i]:.3f}, selected in {self.selected[i]:.1%} of the rows"
            )
        lines += [f"  failed {count} times: {message}" for message, count in self.failures.items()]
        return "\n".join(lines)


def summarise(path: str | Path, *, n_worst: int = 20) -> Summary:
    """Compute global statistics of an output of `explain_dataset`. The run need not be finished.

    Only one shard at a time is in memory.

    Args:
        path: the folder of the output.
        n_worst: number of the least reliable explanations to name.

    Raises:
        ArgumentError: the folder holds no output or no finished shard, or a shard is damaged.
    """
    check_count("n_worst", n_worst, least=0, mend="Leave it out for the default.")
    totals = _Totals(n_worst)
    for table in finished_tables(path):
        totals.add(table)
    if not totals.n_rows:
        raise no_shard(path)
    return totals.summary()


class _Totals:
    """Statistics of the shards so far.

    Args:
        n_worst: number of the least reliable explanations to keep.

    Attributes:
        ids: of the features, ascending, [ids].
        moments: by feature, the number of rows with the feature, the mean of its active probability, the
            sum of squared deviations from this mean, and the number of rows that select it, [4, ids].
        worst: a heap of (is unreliable, lost fraction, status, id), the most reliable one first.
    """

    def __init__(self, n_worst: int) -> None:
        self.n_worst = n_worst
        self.n_rows = self.evaluations = 0
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.worst: list[tuple[int, float, str, int | str]] = []
        self.ids = np.zeros(0, dtype=np.int64)
        self.moments = np.zeros((4, 0))

    def add(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        self.n_rows += len(table)
        self.statuses.update(table["status"].to_pylist())
        self.evaluations += int(pc.sum(table["evaluations"]).as_py() or 0)
        has_failed = pc.equal(table["status"], FAILED)
        self._add_failures(table.filter(has_failed)["message"].to_pylist())
        with_explanation = table.filter(pc.invert(has_failed))
        if len(with_explanation):
            self._add_features(with_explanation)
            self._add_worst(with_explanation)

    def _add_failures(self, messages: list[str]) -> None:
        self.failures.update(messages)
        if len(self.failures) > _COUNTED_MESSAGES:
            self.failures = Counter(dict(self.failures.most_common(_KEPT_MESSAGES)))

    def _add_features(self, table: pa.Table) -> None:
        """Merge the moments of one more shard.

        With n_a, m_a, s_a the count, mean and sum of squared deviations of the shards so far, and n_b, m_b,
        s_b those of this one:

            m = m_a + (m_b - m_a) n_b / n,   s = s_a + s_b + (m_b - m_a)^2 n_a n_b / n,   n = n_a + n_b

        T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.
        """
        ids, values, selected = (
            _all_entries(table, name) for name in ("feature_ids", "attributions", "selected")
        )
        all_ids = np.union1d(self.ids, ids)  # any numbers, also large ones
        moments, width = np.zeros((4, len(all_ids))), len(all_ids)
        moments[:, np.searchsorted(all_ids, self.ids)] = self.moments
        self.ids, place = all_ids, np.searchsorted(all_ids, ids)
        count = np.bincount(place, minlength=width).astype(np.float64)
        mean = np.bincount(place, values, width) / np.maximum(count, 1)
        square = np.bincount(place, (values - mean[place]) ** 2, width)
        count_before, mean_before, square_before, selected_before = moments
        total = np.maximum(count_before + count, 1)
        shift = mean - mean_before
        self.moments = np.stack([
            count_before + count,
            mean_before + shift * count / total,
            square_before + square + shift**2 * count_before * count / total,
            selected_before + np.bincount(place, selected, width),
        ])  # fmt: skip

    def _add_worst(self, table: pa.Table) -> None:
        kept, full, baseline = (
            torch.from_numpy(table[name].to_numpy().copy()) for name in ("kept", "full", "baseline")
        )
        lost = (1 - retained_share(kept, full, baseline)).nan_to_num(nan=torch.inf, posinf=torch.inf)
        for row_id, status, lost_here in zip(
            table["id"].to_pylist(), table["status"].to_pylist(), lost.tolist(), strict=True
        ):
            entry = (int(status not in _RELIABLE), lost_here, status, row_id)
            if len(self.worst) < self.n_worst:
                heapq.heappush(self.worst, entry)
            elif self.worst and entry[:2] > self.worst[0][:2]:
                heapq.heapreplace(self.worst, entry)

    def summary(self) -> Summary:
        count, mean, square, selected = self.moments
        worst = sorted(self.worst, key=lambda entry: entry[:2], reverse=True)
        return Summary(
            n_rows=self.n_rows,
            statuses=dict(self.statuses.most_common()),
            feature_ids=torch.from_numpy(self.ids),
            importance=torch.from_numpy(mean),
            spread=torch.from_numpy(np.sqrt(square / count)),
            selected=torch.from_numpy(selected / count),
            worst=tuple((row_id, status, lost) for _, lost, status, row_id in worst),
            failures=dict(self.failures.most_common(_SHOWN_MESSAGES)),
            evaluations=self.evaluations,
        )


def finished_tables(path: str | Path) -> Iterator[pa.Table]:
    """The rows of each finished shard, one shard after the other."""
    check_arrow()
    output = Output(Path(path)).to_read()
    return (output.read(number) for number in output.numbers())


def _all_entries(table: pa.Table, name: str) -> Any:
    """The lists of a column, one after another."""
    return table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)


def _padded(table: pa.Table, name: str, filler: float) -> Any:
    """The lists of a column as rows of one array, [rows, longest list]."""
    import pyarrow.compute as pc

    entries = _all_entries(table, name)
    lengths = pc.list_value_length(table[name]).to_numpy()
    has_entry = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(has_entry.shape, filler, dtype=entries.dtype)
    padded[has_entry] = entries
    return padded


def _by_id(ids: Sequence[Any], messages: Sequence[str]) -> dict[int | str | None, str]:
    found: dict[int | str | None, str] = {}
    for row_id, message in zip(ids, messages, strict=True):
        found[row_id] = f"{found[row_id]}; {message}" if row_id in found else message
    return found


def no_shard(path: str | Path) -> ArgumentError:
    """The error for a folder without a finished shard."""
    return ArgumentError(
        "path",
        expected="at least one finished shard",
        found=f"none in {path}",
        mend="Run explain_dataset first.",
    )
