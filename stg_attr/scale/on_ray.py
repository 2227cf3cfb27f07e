"""On Ray: the same worker in the actors of Ray Data, which restarts what dies."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .fingerprint import digest
from .rows import Columns, table_rows
from .worker import Done, Job, Make, RayActors, Worker, loaded, model_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

__all__ = ["Cluster"]

_SHARD = "stg_attr_shard"  # column that holds the shard of a row while Ray brings rows together
_MOST_TRIES = 4  # of a shard whose worker dies; Ray alone would restart it for ever
_PATIENCE = 60  # seconds in which other jobs must give back what the workers need
_MOST_BLOCKS = 4096  # of the list of shards, so that Ray's bookkeeping stays small


class Cluster:
    """The Ray cluster that this process is connected to, or one started on this machine for the while.

    Args:
        actors: the workers.
        reads: Ray reads and shuffles the data itself.

    Raises:
        ArgumentError: Ray is not installed, or the workers do not fit into the cluster.
    """

    def __init__(self, actors: RayActors, reads: bool) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports about the user's cluster
        try:
            import ray
            import ray.data
        except ModuleNotFoundError as error:
            raise ArgumentError(
                "engine", expected="Ray", found=str(error), mend="Install it with: pip install stg_attr[ray]"
            ) from error
        self._ray = ray
        self._actors = actors
        self._reads = reads
        self._started = False

    def __enter__(self) -> Cluster:
        ray = self._ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
            self._started = True
        try:
            self._n_workers = self._size()
        except ArgumentError:
            self._leave()
            raise
        self._context = ray.data.DataContext.get_current()
        self._bars = self._context.enable_progress_bars
        self._context.enable_progress_bars = False  # there is one for rows
        self._logger = logging.getLogger("ray.data")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.enable_progress_bars = self._bars
        self._logger.setLevel(self._level)
        self._leave()

    def _leave(self) -> None:
        if self._started:
            self._ray.shutdown()

    def model_fingerprint(self, make: Make) -> dict[str, str]:
        """Of the explainer, taken where the workers run: this machine may have no GPU, or no room for it.

        Raises:
            ArgumentError: it cannot be made.
        """
        ray, actors = self._ray, self._actors
        task = ray.remote(num_cpus=actors.num_cpus, num_gpus=actors.num_gpus, max_retries=_MOST_TRIES - 1)(
            _fingerprint
        )
        found, error = self._guarded(lambda: ray.get(task.remote(make)))
        if error is not None:
            raise pickle.loads(error)
        fingerprint: dict[str, str] = found
        return fingerprint

    def identity(self, dataset: ray.data.Dataset, columns: Columns) -> str:
        """Fingerprint of a Ray data set: its columns and the files it is read from, if any.

        Raises:
            ArgumentError: there is no column of whole numbers that names its rows, or another one is missing.
        """
        import pyarrow as pa

        schema = self._guarded(lambda: dataset.schema())
        types = dict(zip(schema.names, schema.types, strict=True))
        columns.wanted(list(types))
        if columns.id is None or not pa.types.is_integer(types[str(columns.id)]):
            raise ArgumentError(
                "id_column",
                expected="a column of whole numbers, since the rows of a Ray data set have no positions",
                found=str(columns.id)
                if columns.id is None
                else f"{types[str(columns.id)]} in {columns.id!r}",
                mend="Name or add one that numbers the rows from 0, or pass the path of the Parquet files.",
            )
        described = {name: str(kind) for name, kind in types.items()}
        return f"ray.data.Dataset {digest((described, sorted(dataset.input_files())))}"

    def explain_shards(self, job: Job, numbers: Sequence[int]) -> Iterator[Done]:
        """Explain shards whose rows the workers read themselves.

        Raises:
            ArgumentError: from a worker, or workers keep dying.
        """
        if not numbers:
            return
        self._await_room()
        job.output.forget_tries()
        blocks = min(len(numbers), _MOST_BLOCKS)
        shards = self._ray.data.from_items(list(numbers), override_num_blocks=blocks)
        held = self._ray.put(job)
        done = shards.map_batches(
            _ShardActor, fn_constructor_args=((held,), self._threads), batch_size=1, **self._options()
        )
        yield from self._finished(done)

    def explain_rows(
        self, job: Job, dataset: ray.data.Dataset, columns: Columns, finished: Iterable[int]
    ) -> Iterator[Done]:
        """Explain the rows of a Ray data set, brought together by their ids.

        Raises:
            ArgumentError: from a worker, or workers keep dying.
        """
        self._await_room()
        job.output.forget_tries()
        kept = self._ray.put(np.array(sorted(finished), dtype=np.int64))
        numbered = dataset.map_batches(
            _numbered,
            fn_args=(str(columns.id), columns.wanted(dataset.columns()), job.shard_rows, (kept,)),
            batch_format="pyarrow",
        )
        held = self._ray.put(job)
        done = numbered.groupby(_SHARD).map_groups(
            _GroupActor,
            fn_constructor_args=((held,), self._threads, columns),
            batch_format="numpy",
            **self._options(),
        )
        yield from self._finished(done)

    @property
    def _threads(self) -> int:
        return max(1, int(self._actors.num_cpus))

    def _size(self) -> int:
        """Number of workers.

        Raises:
            ArgumentError: there is no room for them, or they would leave none for Ray, which would then wait
                for ever without a word.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room, wanted = self._room(nodes), self._actors.count
        if wanted is None:
            cpus = sum(int(node.get("CPU", 0)) for node in nodes)
            wanted = max(1, room if self._actors.num_gpus else min(room, cpus))
        if wanted > room:
            raise ArgumentError(
                "engine",
                expected=f"at most {room} workers of {self._described()}{self._reason()}",
                found=str(wanted),
                mend="Take fewer or smaller ones, RayActors(count, num_cpus, num_gpus), or a larger cluster.",
            )
        return wanted

    def _described(self) -> str:
        return f"{self._actors.num_cpus:g} CPUs and {self._actors.num_gpus:g} GPUs"

    def _reason(self) -> str:
        return ", so that one node keeps a CPU for Ray's own tasks" if self._reads else ""

    def _room(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many workers fit into the nodes, wherever Ray puts them.

        Ray's own tasks take a whole CPU of one node. Where workers can fill every node so far that none has
        one left, one worker less is the most.
        """
        cpus, gpus = self._actors.num_cpus, self._actors.num_gpus
        fitting, blocking, blockable = 0, 0, self._reads and cpus > 0
        for node in nodes:
            limits = [node.get("GPU", 0.0) / gpus] if gpus else []
            limits += [node.get("CPU", 0.0) / cpus] if cpus else []
            fits = int(min(limits, default=node.get("CPU", 0.0)) + 1e-6)
            fitting += fits
            if blockable and node.get("CPU", 0.0) >= 1:
                needed = int((node["CPU"] - 1) / cpus + 1e-6) + 1
                blocking, blockable = blocking + needed, needed <= fits
        return max(0, blocking - 1) if blockable else fitting

    def _await_room(self) -> None:
        """Let what ended give its CPUs and GPUs back.

        Raises:
            ArgumentError: something else keeps them.
        """
        for _ in range(_PATIENCE):
            there = self._ray.available_resources()
            cpus, gpus = there.get("CPU", 0.0) - self._reads, there.get("GPU", 0.0)
            size = self._n_workers - 1e-6
            if cpus >= size * self._actors.num_cpus and gpus >= size * self._actors.num_gpus:
                return
            time.sleep(1)
        raise ArgumentError(
            "engine",
            expected=f"room for {self._n_workers} workers of {self._described()}{self._reason()}",
            found=f"{cpus + self._reads:g} CPUs and {gpus:g} GPUs that nobody else keeps",
            mend="Take fewer, RayActors(count, num_cpus, num_gpus), or wait for the others.",
        )

    def _options(self) -> dict[str, Any]:
        return {
            "compute": self._ray.data.ActorPoolStrategy(size=self._n_workers),
            "num_cpus": self._actors.num_cpus,
            "num_gpus": self._actors.num_gpus,
        }

    def _finished(self, done: ray.data.Dataset) -> Iterator[Done]:
        rows = iter(done.iter_rows())
        while True:
            row = self._guarded(lambda: next(rows, None))
            if row is None:
                return
            if row["error"]:
                raise pickle.loads(row["error"])
            yield Done(int(row["shard"]), int(row["rows"]), int(row["failed"]))

    def _guarded(self, ask: Any) -> Any:
        """What Ray answers; its failures in words."""
        try:
            return ask()
        except self._ray.exceptions.RayError as error:
            raise ArgumentError(
                "the Ray job",
                expected="workers that live",
                found=f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}",
                mend="See Ray's logs. Finished shards are kept; run the same command again.",
            ) from error


def _fingerprint(make: Make) -> tuple[dict[str, str] | None, bytes | None]:
    try:
        return model_fingerprint(loaded(make)), None
    except ArgumentError as error:
        return None, pickle.dumps(error)


class _Actor:
    """A worker in an actor. Its errors travel as data, or Ray would try again what cannot succeed."""

    def __init__(self, held: tuple[Any], threads: int) -> None:
        import ray

        torch.set_num_threads(threads)
        self._job: Job = ray.get(held[0])
        self._worker: Worker | None = None

    def _run(self, number: int, rows: Any = None) -> dict[str, Any]:
        try:
            if self._worker is None:
                self._worker = Worker(self._job)
            if self._job.output.note_try(number) > _MOST_TRIES:
                raise _deadly(number)
            done, error = self._worker.run(number, rows), b""
        except ArgumentError as refusal:
            done, error = Done(number, 0, 0), pickle.dumps(refusal)
        record = {**vars(done), "error": error}
        return {
            name: np.array([value], dtype=object if name == "error" else None)
            for name, value in record.items()
        }


class _ShardActor(_Actor):
    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        return self._run(int(batch["item"][0]))


class _GroupActor(_Actor):
    def __init__(self, held: tuple[Any], threads: int, columns: Columns) -> None:
        super().__init__(held, threads)
        self._columns = columns

    def __call__(self, group: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        ids = group[str(self._columns.id)]
        order = ids.argsort(kind="stable")
        table = {name: values[order] for name, values in group.items() if name != _SHARD}
        return self._run(int(group[_SHARD][0]), self._rows(table, ids[order]))

    def _rows(self, table: Mapping[str, NDArray[Any]], ids: NDArray[Any]) -> Iterator[Any]:
        if ids[0] < 0 or (ids[1:] == ids[:-1]).any():
            raise ArgumentError(
                "id_column",
                expected="different whole numbers from 0 on",
                found=f"{ids[0]}" if ids[0] < 0 else f"{ids[:-1][ids[1:] == ids[:-1]][0]} twice",
                mend="Number the rows anew.",
            )
        if self._worker is not None:
            yield from table_rows(table, self._columns, ids.tolist(), self._worker.dtype)


def _deadly(number: int) -> ArgumentError:
    return ArgumentError(
        "the Ray job",
        expected="workers that live",
        found=f"{_MOST_TRIES} that died while they explained shard {number}",
        mend="A row may crash its process, or the machine lack memory: see Ray's logs. Finished shards are "
        "kept; run the same command again.",
    )


def _numbered(
    table: pa.Table, id_column: str, columns: list[str], shard_rows: int, kept: tuple[Any]
) -> pa.Table:
    """The rows of shards that are not finished, with the number of their shard."""
    import ray

    shards = table[id_column].to_numpy() // shard_rows
    missing = ~np.isin(shards, ray.get(kept[0]))
    return table.select(columns).append_column(_SHARD, [shards]).filter(missing)
