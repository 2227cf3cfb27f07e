"""Explain on Ray: each actor of Ray Data has a worker, and Ray restarts actors that die."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_attr.errors import ArgumentError

from .fingerprint import digest
from .ray_actors import (
    SHARD_COLUMN,
    GroupActor,
    ShardActor,
    explainer_fingerprint,
    sum_of_digests,
    with_shard_numbers,
)
from .rows import Columns
from .run_error import RunError
from .worker import Done, Job, Make, RayActors

if TYPE_CHECKING:
    import ray.data

__all__ = ["Cluster"]

_MOST_BLOCKS = 4096  # blocks of the list of shards; more would only slow down Ray's scheduler
_ROUNDING = 1e-6  # 0.3 / 0.1 is a little less than 3


class Cluster:
    """The Ray cluster that this process is connected to, or a temporary one on this machine.

    Args:
        actors: the workers.
        reads_data: Ray reads and groups the data itself, in tasks that need a CPU beside the workers.

    Raises:
        ArgumentError: Ray is not installed, or the workers do not fit into the cluster.
    """

    def __init__(self, actors: RayActors, reads_data: bool) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage reports
        try:
            import ray
            import ray.data
        except ModuleNotFoundError as error:
            raise ArgumentError(
                "engine", expected="Ray", found=str(error), mend="Install it with: pip install stg_attr[ray]"
            ) from error
        self._ray = ray
        self._actors = actors
        self._reads_data = reads_data
        self._started_here = False

    def __enter__(self) -> Cluster:
        ray = self._ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
            self._started_here = True
        try:
            self._n_workers = self._worker_count()
        except ArgumentError:
            self._shut_down()
            raise
        self._context = ray.data.DataContext.get_current()
        self._had_progress_bars = self._context.enable_progress_bars
        self._context.enable_progress_bars = False  # explain_dataset shows its own
        self._logger = logging.getLogger("ray.data")
        self._log_level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.enable_progress_bars = self._had_progress_bars
        self._logger.setLevel(self._log_level)
        self._shut_down()

    def _shut_down(self) -> None:
        if self._started_here:
            self._ray.shutdown()

    def model_fingerprint(self, make: Make, version: str | None) -> dict[str, str]:
        """Fingerprint of the explainer, computed where the workers run: this machine may have no GPU.

        Raises:
            ArgumentError: the explainer cannot be loaded.
            RunError: Ray failed.
        """
        ray, actors = self._ray, self._actors
        options = {"num_cpus": actors.num_cpus, "num_gpus": actors.num_gpus}
        task = ray.remote(**options, max_retries=actors.max_attempts - 1)(explainer_fingerprint)
        found, error = self._ask_ray(lambda: ray.get(task.remote(make, version)))
        if error is not None:
            raise pickle.loads(error)
        fingerprint: dict[str, str] = found
        return fingerprint

    def identity(self, dataset: ray.data.Dataset, columns: Columns) -> str:
        """Fingerprint of a Ray data set: its columns, and the files that it is read from, or else its rows.

        Raises:
            ArgumentError: the id column does not hold whole numbers, or a column is missing.
            RunError: Ray failed.
        """
        import pyarrow as pa

        schema = self._ask_ray(lambda: dataset.schema())
        types = dict(zip(schema.names, schema.types, strict=True))
        columns.to_read(list(types))
        if columns.id is None or not pa.types.is_integer(types[str(columns.id)]):
            raise ArgumentError(
                "id_column",
                expected="a column of whole numbers, because the rows of a Ray data set have no positions",
                found=str(columns.id)
                if columns.id is None
                else f"{types[str(columns.id)]} in {columns.id!r}",
                mend="Name or add a column that numbers the rows from 0, or pass the path of Parquet files.",
            )
        kinds = {name: str(kind) for name, kind in types.items()}
        files = sorted(dataset.input_files())
        rows = None if files else self._sum_of_rows(dataset, columns.to_read(list(types)))
        return f"ray.data.Dataset {digest((kinds, files, rows))}"

    def _sum_of_rows(self, dataset: ray.data.Dataset, columns: list[str]) -> int:
        """A number that depends on every row, and not on their order, which Ray may change."""
        sums = dataset.map_batches(sum_of_digests, fn_args=(columns,), batch_format="pyarrow")
        parts = self._ask_ray(lambda: sums.take_all())
        return sum(int(part["sum"]) for part in parts) % 2**64

    def explain_shards(self, job: Job, numbers: Sequence[int]) -> Iterator[Done]:
        """Explain shards; each worker reads the rows of its shards itself.

        Raises:
            ArgumentError: a worker raised it.
            RunError: the workers died.
        """
        if not numbers:
            return
        self._wait_for_resources()
        job.output.reset_attempts()
        blocks = min(len(numbers), _MOST_BLOCKS)
        shards = self._ray.data.from_items(list(numbers), override_num_blocks=blocks)
        settings = (self._ray.put(job),), self._threads, self._actors.max_attempts
        done = shards.map_batches(
            ShardActor, fn_constructor_args=settings, batch_size=1, **self._actor_options()
        )
        yield from self._results(done)

    def explain_rows(
        self, job: Job, dataset: ray.data.Dataset, columns: Columns, finished: Iterable[int]
    ) -> Iterator[Done]:
        """Explain the rows of a Ray data set; Ray groups them by shard, which follows from their ids.

        Raises:
            ArgumentError: a worker raised it.
            RunError: the workers died.
        """
        self._wait_for_resources()
        job.output.reset_attempts()
        finished_shards = self._ray.put(np.array(sorted(finished), dtype=np.int64))
        numbered = dataset.map_batches(
            with_shard_numbers,
            fn_args=(str(columns.id), columns.to_read(dataset.columns()), job.shard_rows, (finished_shards,)),
            batch_format="pyarrow",
        )
        settings = (self._ray.put(job),), self._threads, self._actors.max_attempts
        done = numbered.groupby(SHARD_COLUMN).map_groups(
            GroupActor,
            fn_constructor_args=(*settings, columns),
            batch_format="numpy",
            **self._actor_options(),
        )
        yield from self._results(done)

    @property
    def _threads(self) -> int:
        return max(1, int(self._actors.num_cpus))

    def _worker_count(self) -> int:
        """Number of workers.

        Raises:
            ArgumentError: they do not fit, or leave no CPU for Ray's own tasks. Ray would then wait forever
                and say nothing.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most, wanted = self._most_workers(nodes), self._actors.count
        if wanted is None:
            cpus = sum(int(node.get("CPU", 0)) for node in nodes)
            wanted = max(1, most if self._actors.num_gpus else min(most, cpus))
        if wanted > most:
            raise ArgumentError(
                "engine",
                expected=f"at most {most} workers of {self._worker_size()}{self._own_tasks()}",
                found=str(wanted),
                mend="Use fewer or smaller workers, RayActors(count, num_cpus, num_gpus), or more nodes.",
            )
        return wanted

    def _worker_size(self) -> str:
        return f"{self._actors.num_cpus:g} CPUs and {self._actors.num_gpus:g} GPUs"

    def _own_tasks(self) -> str:
        return ", so that one CPU of one node is free for Ray's own tasks" if self._reads_data else ""

    def _most_workers(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """Largest number of workers that fits, on whichever nodes Ray starts them.

        If Ray reads the data, its own tasks need one free CPU on one node. `blocking` is the smallest number
        of workers that can leave less than one free CPU on every node; if so many fit, start one fewer.

        Args:
            nodes: their resources, "CPU" and "GPU".
        """
        cpus, gpus = self._actors.num_cpus, self._actors.num_gpus
        fitting, blocking, can_block = 0, 0, self._reads_data and cpus > 0
        for node in nodes:
            limits = [node.get("GPU", 0.0) / gpus] if gpus else []
            limits += [node.get("CPU", 0.0) / cpus] if cpus else []
            fits = int(min(limits, default=node.get("CPU", 0.0)) + _ROUNDING)
            fitting += fits
            if can_block and node.get("CPU", 0.0) >= 1:
                needed = int((node["CPU"] - 1) / cpus + _ROUNDING) + 1
                blocking, can_block = blocking + needed, needed <= fits
        return max(0, blocking - 1) if can_block else fitting

    def _wait_for_resources(self) -> None:
        """Wait until jobs that have ended release their CPUs and GPUs.

        Raises:
            ArgumentError: other jobs still use them after `max_wait` seconds.
        """
        for _ in range(self._actors.max_wait):
            available = self._ray.available_resources()
            cpus, gpus = available.get("CPU", 0.0) - self._reads_data, available.get("GPU", 0.0)
            workers = self._n_workers - _ROUNDING
            if cpus >= workers * self._actors.num_cpus and gpus >= workers * self._actors.num_gpus:
                return
            time.sleep(1)
        raise ArgumentError(
            "engine",
            expected=f"room for {self._n_workers} workers of {self._worker_size()}{self._own_tasks()}",
            found=f"{cpus + self._reads_data:g} CPUs and {gpus:g} GPUs that no other job uses",
            mend="Use fewer workers, RayActors(count, num_cpus, num_gpus), or wait for the other jobs.",
        )

    def _actor_options(self) -> dict[str, Any]:
        return {
            "compute": self._ray.data.ActorPoolStrategy(size=self._n_workers),
            "num_cpus": self._actors.num_cpus,
            "num_gpus": self._actors.num_gpus,
        }

    def _results(self, done: ray.data.Dataset) -> Iterator[Done]:
        rows = iter(done.iter_rows())
        while True:
            row = self._ask_ray(lambda: next(rows, None))
            if row is None:
                return
            if row["error"]:
                raise pickle.loads(row["error"])
            yield Done(int(row["shard"]), int(row["rows"]), int(row["failed"]))

    def _ask_ray(self, call: Callable[[], Any]) -> Any:
        """The result of a call of Ray.

        Raises:
            RunError: Ray failed.
        """
        try:
            return call()
        except self._ray.exceptions.RayError as error:
            raise RunError(
                f"Ray stopped the job: {type(error).__name__}: {str(error).strip().splitlines()[-1]}.",
                mend="See Ray's logs. Finished shards are kept; run the same command again.",
            ) from error
