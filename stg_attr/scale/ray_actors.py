"""The code that runs in the actors and tasks of Ray."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .explaining import failures_raised
from .rows import Columns, Row, table_rows
from .run_error import RunError
from .worker import Done, Job, Make, Worker, load_explainer, model_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SHARD_COLUMN", "GroupActor", "ShardActor", "explainer_fingerprint", "with_shard_numbers"]

SHARD_COLUMN = "stg_attr_shard"  # number of the shard of each row, while Ray groups the rows

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
        table = {name: values[order] for name, values in group.items() if name != SHARD_COLUMN}
        return self._run(int(group[SHARD_COLUMN][0]), self._rows(table, ids[order]))

    def _rows(self, table: Mapping[str, NDArray[Any]], ids: NDArray[Any]) -> Iterator[Row]:
        if ids[0] < 0 or (ids[1:] == ids[:-1]).any():
            raise ArgumentError(
                "id_column",
                expected="different whole numbers, not below 0",
                found=f"{ids[0]}" if ids[0] < 0 else f"{ids[:-1][ids[1:] == ids[:-1]][0]} twice",
                mend="Number the rows from 0, each number once.",
            )
        if self._worker is not None:
            yield from table_rows(table, self._columns, ids.tolist(), self._worker.dtype)


def _workers_died(number: int, times: int) -> RunError:
    return RunError(
        f"Ray workers died {times} times while explaining shard {number}, so the job stopped.",
        mend="A row may crash its process, or the machine may have too little memory: see Ray's logs. "
        "Finished shards are kept; run the same command again.",
    )


def with_shard_numbers(
    table: pa.Table, id_column: str, columns: list[str], shard_rows: int, finished: Reference
) -> pa.Table:
    """The rows of shards that are not finished, with a column that holds the number of their shard."""
    import ray

    shards = table[id_column].to_numpy() // shard_rows
    missing = ~np.isin(shards, ray.get(finished[0]))
    return table.select(columns).append_column(SHARD_COLUMN, [shards]).filter(missing)
