"""The code that runs in the actors and tasks of Ray."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .explaining import failures_raised
from .fingerprint import digest
from .rows import Columns, Row, table_rows
from .run_error import RunError
from .worker import Done, Job, Make, Worker, load_explainer, model_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "GAPS_COLUMN",
    "SHARD_COLUMN",
    "GroupActor",
    "ShardActor",
    "explainer_fingerprint",
    "sum_of_digests",
    "with_shard_numbers",
]

SHARD_COLUMN = "stg_attr_shard"  # number of the shard of each row, while Ray groups the rows
GAPS_COLUMN = "stg_attr_gaps"  # in which columns of whole numbers a row has no value, as JSON; "" for none

#: Reference to an object in Ray's store, in a tuple: Ray would replace a bare reference by the object.
Reference = tuple[Any]


def explainer_fingerprint(make: Make, version: str | None) -> tuple[dict[str, str] | None, bytes | None]:
    """The fingerprint, or the pickled error: Ray would wrap an error that a task raises."""
    try:
        return model_fingerprint(load_explainer(make), version), None
    except ArgumentError as error:
        return None, pickle.dumps(error)


class Actor:
    """A worker in a Ray actor.

    It returns its errors as data. Ray would restart an actor that raises, which would then raise again.

    Args:
        job: reference to the job.
        threads: that the worker computes with.
        max_attempts: attempts to explain a shard whose workers die.
    """

    def __init__(self, job: Reference, threads: int, max_attempts: int) -> None:
        import ray

        torch.set_num_threads(threads)
        self._job: Job = ray.get(job[0])
        self._max_attempts = max_attempts
        self._worker: Worker | None = None

    def _run(self, number: int, rows: Iterator[Row] | None = None) -> dict[str, Any]:
        try:
            if self._worker is None:
                self._worker = Worker(self._job)
            if self._job.output.count_attempt(number) > self._max_attempts:
                raise _workers_died(number, self._max_attempts)
            with failures_raised():
                done, error = self._worker.run(number, rows), b""
        except ArgumentError as raised:
            done, error = Done(number, 0, 0), pickle.dumps(raised)
        record = {**vars(done), "error": error}
        return {
            name: np.array([value], dtype=object if name == "error" else None)
            for name, value in record.items()
        }


class ShardActor(Actor):
    """Explains one shard, whose rows it reads itself."""

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        return self._run(int(batch["item"][0]))


class GroupActor(Actor):
    """Explains the rows of one shard, which Ray has grouped."""

    def __init__(self, job: Reference, threads: int, max_attempts: int, columns: Columns) -> None:
        super().__init__(job, threads, max_attempts)
        self._columns = columns

    def __call__(self, group: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        ids = group[str(self._columns.id)]
        order = ids.argsort(kind="stable")
        own = (SHARD_COLUMN, GAPS_COLUMN)
        table = {name: values[order] for name, values in group.items() if name not in own}
        table |= _with_gaps(table, group[GAPS_COLUMN][order].tolist())
        return self._run(int(group[SHARD_COLUMN][0]), self._rows(table, ids[order]))

    def _rows(self, table: Mapping[str, NDArray[Any]], ids: NDArray[Any]) -> Iterator[Row]:
        if ids[0] < 0 or (ids[1:] == ids[:-1]).any():
            raise ArgumentError(
                "id_column",
                expected="different whole numbers, not below 0",
                found=_wrong_id(ids),
                mend="Number the rows from 0, each number once.",
            )
        if self._worker is not None:
            yield from table_rows(table, self._columns, ids.tolist(), self._worker.dtype)


def _wrong_id(ids: NDArray[Any]) -> str:
    if ids[0] < 0:
        return "a row without one, or -1" if ids[0] == -1 else f"{ids[0]}"
    return f"{ids[:-1][ids[1:] == ids[:-1]][0]} twice"


def _with_gaps(table: Mapping[str, NDArray[Any]], gaps: list[str]) -> dict[str, NDArray[Any]]:
    """The columns of whole numbers in which values are missing, as masked arrays."""
    missing: dict[str, NDArray[Any]] = {}
    for row, names in enumerate(gaps):
        for name in json.loads(names or "[]"):
            missing.setdefault(name, np.zeros(len(gaps), dtype=bool))[row] = True
    return {name: np.ma.array(table[name], mask=mask) for name, mask in missing.items()}


def _workers_died(number: int, times: int) -> RunError:
    return RunError(
        f"Ray workers died {times} times while explaining shard {number}, so the job stopped.",
        mend="A row may crash its process, or the machine may have too little memory: see Ray's logs. "
        "Finished shards are kept; run the same command again.",
    )


def sum_of_digests(table: pa.Table, columns: list[str]) -> pa.Table:
    """One number for some rows, as text: the sum of their digests."""
    import pyarrow as pa

    return pa.table({"sum": [str(sum(int(digest(row), 16) for row in table.select(columns).to_pylist()))]})


def with_shard_numbers(
    table: pa.Table, id_column: str, columns: list[str], shard_rows: int, finished: Reference
) -> pa.Table:
    """The rows of shards that are not finished, with the number of their shard, and their gaps."""
    import pyarrow as pa
    import ray

    ids = table[id_column].cast(pa.int64()).fill_null(-1)  # a later check refuses -1
    table = table.select(columns).set_column(columns.index(id_column), id_column, ids)
    shards = ids.to_numpy() // shard_rows
    table, gaps = _without_gaps(table)
    table = table.append_column(SHARD_COLUMN, [shards]).append_column(GAPS_COLUMN, gaps)
    return table.filter(~np.isin(shards, ray.get(finished[0])))


def _without_gaps(table: pa.Table) -> tuple[pa.Table, pa.Array]:
    """Fill gaps in whole numbers and truth values, which Ray would turn into floats; and where they were."""
    import pyarrow as pa

    gaps: list[list[str]] = [[] for _ in range(len(table))]
    for place, field in enumerate(table.schema):
        column = table[place]
        if column.null_count and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)):
            for row in np.flatnonzero(column.is_null().to_numpy()):
                gaps[row].append(field.name)
            filled = column.fill_null(pa.scalar(0).cast(field.type))
            table = table.set_column(place, field.name, filled)
    return table, pa.array([json.dumps(names) if names else "" for names in gaps], pa.string())
