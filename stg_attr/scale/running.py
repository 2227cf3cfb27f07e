"""Explain a whole data set: in this process, on the ranks of a job, or on Ray."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

import stg_attr
from stg_attr.errors import ArgumentError, check_count
from stg_attr.progress import progress

from .arguments import ExplainArguments, check_accepted, check_arguments
from .asked import asked_in_words
from .explaining import failures_raised
from .fingerprint import described
from .manifest import Manifest
from .rows import Columns, Name
from .shards import Output, ShardSizes, check_arrow
from .sources import DataSet, Source, as_source, is_ray
from .tables import as_cells, is_table
from .worker import Done, Job, Make, RayActors, Worker, load_explainer, model_fingerprint

if TYPE_CHECKING:
    import ray.data

    from .on_ray import Cluster

__all__ = ["Outcome", "explain_dataset"]


@dataclass(frozen=True)
class Outcome:
    """What a call of `explain_dataset` did.

    Attributes:
        output: the folder.
        explained: rows that this call explained, including rows that failed.
        found: rows that were already in the folder.
        failed: rows with status FAILED among both.
    """

    output: Path
    explained: int
    found: int
    failed: int


def explain_dataset(
    stg_or_factory: Make,
    dataset: DataSet,
    output: str | Path,
    *,
    columns: Sequence[Name] | None = None,
    id_column: Name | None = None,
    target_column: Name | None = None,
    batch_rows: int = 64,
    shard_rows: int | None = None,
    engine: Literal["ray", "ranks"] | RayActors | None = None,
    model_version: str | None = None,
    overwrite: bool = False,
    show_progress: bool = False,
    **arguments: Any,
) -> Outcome:
    """Explain every row of a data set, and write the explanations to Parquet files.

    Which rows are explained together depends on their positions only. So a row gets the same result to the
    last bit wherever and whenever it is explained: by one process or by many, in one run or in several. A
    second call with the same arguments explains only the shards that are missing.

    Args:
        stg_or_factory: the explainer, or a function without arguments that returns the explainer or its
            model. On several machines pass a function: each worker calls it once.
        dataset: a torch `Dataset` or `DataLoader`, a DataFrame, the path of a Parquet file or folder, or a
            `ray.data.Dataset`.
        output: a folder that every worker finds under this path. Its Parquet files are in `rows`.
        columns: the model's inputs: columns of a table, or indices or keys of the items of a torch data set.
            All columns of numbers together are one input; each column of arrays is one input. Of a DataFrame
            with a table as `baselines`, columns of any kind, and the model gets DataFrames. None for all
            columns of a table except the next two, or for the first element of a tuple.
        id_column: the id of each row in the output; None for its position. In a `ray.data.Dataset` it must
            hold different whole numbers, because the rows of such a data set have no positions.
        target_column: the output to explain in each row.
        batch_rows: rows that are explained together.
        shard_rows: rows of an output file, a multiple of `batch_rows`; a crash loses the work on one file.
            None for one batch, and for more in data sets of more than a quarter of a million rows.
        engine: None for this process; `RayActors(...)`, or `"ray"` for one worker per CPU; `"ranks"` for the
            shards of this process in a job of torchrun or a job array, which sets RANK and WORLD_SIZE.
        model_version: a text that names the model and changes with it. Needed only if the model cannot be
            compared with that of an earlier run: if it uses a session of a compiled library, for example. It
            is then compared in place of the model.
        overwrite: delete an output that is already in the folder.
        show_progress: show a progress bar.
        arguments: of the explainer's `explain`, for all rows: `baselines`, `target`, `n_steps`, `seed` and
            the others, but not those that belong to one batch. A tensor of several rows as `baselines` or
            `layer_baselines` always holds references, whatever the size of the batch. `feature_mask` has a
            first dimension of 1, or is a function of the inputs [batch, ...]. `seed` fits into 64 bits. With
            `n_restarts` the result of the first seed is written.

    Returns:
        How many rows were explained, were already there, and failed.

    Raises:
        ArgumentError: an argument cannot be used, the folder holds the output of a different run, the data
            cannot be read, the disk is full, or the workers die. Finished shards are kept.
    """
    check_arrow()
    given = Columns(None if columns is None else tuple(columns), id_column, target_column)
    actors = _actors(engine, dataset)
    check_arguments(arguments)
    _check_sizes(batch_rows, shard_rows)
    source: Source | None = None
    folder = Output(Path(output).resolve())
    if is_table(arguments.get("baselines")):
        stg_or_factory, cells, arguments = as_cells(stg_or_factory, dataset, given, arguments)
        source, given = cells, cells.columns
    run = _DatasetRun(
        stg_or_factory, given, folder, arguments, batch_rows, shard_rows, model_version, overwrite
    )
    if source is None and not is_ray(dataset):
        source = as_source(dataset, given)
    if actors is None:
        assert source is not None
        return run.in_this_process(source, _rank(engine, overwrite), show_progress)
    from .on_ray import Cluster

    with Cluster(actors, reads_data=is_ray(dataset)) as cluster:
        if source is None:
            return run.on_ray_data(cluster, dataset, show_progress)
        return run.on_ray(cluster, source, show_progress)


@dataclass(frozen=True)
class _DatasetRun:
    """The checked arguments of one call of `explain_dataset`, with one method for each engine."""

    make: Make
    columns: Columns
    output: Output
    arguments: ExplainArguments
    batch_rows: int
    shard_rows: int | None
    model_version: str | None
    overwrite: bool

    def in_this_process(self, source: Source, rank: tuple[int, int], show: bool) -> Outcome:
        """Explain the shards of this process.

        Args:
            source: the data.
            rank: (r, w): this process is rank r of w, and explains every w-th shard from r on.
            show: show a progress bar.
        """
        stg = load_explainer(self.make)
        check_accepted(stg, self.arguments)
        model = model_fingerprint(stg, self.model_version)
        job = self._open_output(model, source.identity(), source, stg)
        worker = Worker(job, stg)
        finished = job.output.finished()
        own = (number for number in _missing(job, finished) if number % rank[1] == rank[0])
        with failures_raised():
            outcome = _count(job, finished, _until_the_data_end(worker, own), show)
        if rank == (0, 1):  # other ranks may still be writing there
            job.output.remove_unfinished()
        return outcome

    def on_ray(self, cluster: Cluster, source: Source, show: bool) -> Outcome:
        """Explain the shards on Ray; each worker reads the rows of its shards itself."""
        if source.n_rows is None:
            raise ArgumentError(
                "dataset",
                expected="a data set of which a worker can read any row",
                found=f"{source.identity()}, which can only be read from its beginning",
                mend="Leave out the engine, or write the data set to Parquet first.",
            )
        model = cluster.model_fingerprint(self.make, self.model_version)
        job = self._open_output(model, source.identity(), source)
        finished = job.output.finished()
        done = cluster.explain_shards(job, list(_missing(job, finished)))
        outcome = _count(job, finished, done, show)
        job.output.remove_unfinished()
        return outcome

    def on_ray_data(self, cluster: Cluster, dataset: ray.data.Dataset, show: bool) -> Outcome:
        """Explain a Ray data set; Ray reads the rows and sends those of one shard to one worker."""
        identity = cluster.identity(dataset, self.columns)
        model = cluster.model_fingerprint(self.make, self.model_version)
        job = self._open_output(model, identity, None)
        finished = job.output.finished()
        done = cluster.explain_rows(job, dataset, self.columns, finished)
        outcome = _count(job, finished, done, show)
        job.output.remove_unfinished()
        return outcome

    def _open_output(
        self, model: dict[str, str], data: str, source: Source | None, explainer: object = None
    ) -> Job:
        """Write the manifest, or compare it with the one in the folder.

        Args:
            model: fingerprint of the explainer.
            data: fingerprint of the data set.
            source: the data; None for a Ray data set.
            explainer: what explains, if it is loaded here.
        """
        n_rows = None if source is None else source.n_rows
        size = ShardSizes().rows(n_rows, self.batch_rows) if self.shard_rows is None else self.shard_rows
        id_type = "int64" if source is None else source.id_type()
        fingerprint = {
            **model, "data": data, "stg_attr": stg_attr.__version__, "torch": torch.__version__,
            **_settings(self.arguments, self.columns),
        }  # fmt: skip
        words = asked_in_words(self.make if explainer is None else explainer, self.arguments)
        manifest = Manifest(fingerprint, n_rows, self.batch_rows, size, id_type, about=words)
        output = self.output.open(manifest, self.overwrite)
        about = (self.arguments, self.batch_rows, size, id_type, model, self.model_version)
        return Job(self.make, source, output, *about)


#: The rows of a finished shard, and how many of them failed, by the number of the shard.
_Finished = Mapping[int, tuple[int, int]]


def _missing(job: Job, finished: _Finished) -> Iterator[int]:
    """Numbers of the shards that are not finished; without end if the number of rows is not known."""
    n_rows = None if job.source is None else job.source.n_rows
    numbers = itertools.count() if n_rows is None else range(-(-n_rows // job.shard_rows))
    return (number for number in numbers if number not in finished)


def _count(job: Job, finished: _Finished, shards: Iterable[Done], show: bool) -> Outcome:
    """Wait for the shards and count their rows."""
    found, failed = (sum(counts[i] for counts in finished.values()) for i in range(2))
    n_rows, explained = None if job.source is None else job.source.n_rows, 0
    with progress(show, total=n_rows, initial=found, unit="row") as bar:
        for done in shards:
            explained, failed = explained + done.rows, failed + done.failed
            bar.set_postfix(failed=failed, refresh=False)
            bar.update(done.rows)
            if done.rows and not job.output.shard(done.shard).exists():
                raise _not_shared(job.output)
    return Outcome(job.output.folder, explained, found, failed)


def _until_the_data_end(worker: Worker, numbers: Iterable[int]) -> Iterator[Done]:
    for number in numbers:
        done = worker.run(number)
        if not done.rows:  # a data set of unknown length has ended
            return
        yield done


def _actors(engine: object, dataset: object) -> RayActors | None:
    """The workers on Ray; None if Ray is not used."""
    if engine == "ray" or (engine is None and is_ray(dataset)):
        return RayActors()
    if isinstance(engine, RayActors):
        return engine
    if engine not in (None, "ranks") or is_ray(dataset):
        raise ArgumentError(
            "engine",
            expected="None, 'ray', 'ranks' or RayActors(...); for a Ray data set 'ray' or RayActors(...)",
            found=repr(engine),
            mend="Leave it out to explain in this process.",
        )
    return None


def _rank(engine: object, overwrite: bool) -> tuple[int, int]:
    """The rank of this process, and the number of ranks."""
    if engine is None:
        return 0, 1
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)) or overwrite:
        raise ArgumentError(
            "engine",
            expected="RANK and WORLD_SIZE in the environment for 'ranks', and not overwrite=True",
            found=f"RANK={rank!r}, WORLD_SIZE={world!r}, overwrite={overwrite}",
            mend="Start it with torchrun, or set the variables in the job array. Delete an old output "
            "before the ranks start.",
        )
    return int(rank), int(world)


def _check_sizes(batch_rows: int, shard_rows: int | None) -> None:
    check_count("batch_rows", batch_rows, mend="Leave it out for the default.")
    if shard_rows is None:
        return
    check_count("shard_rows", shard_rows, mend="Leave it out for the default.")
    if shard_rows % batch_rows:
        raise ArgumentError(
            "shard_rows",
            expected=f"a multiple of batch_rows={batch_rows}",
            found=str(shard_rows),
            mend="Leave it out for the default.",
        )


def _settings(arguments: ExplainArguments, columns: Columns) -> dict[str, str]:
    names = {f"{name} column": value for name, value in vars(columns).items()}
    given = {name: value for name, value in {**names, **arguments}.items() if value is not None}
    return {name: described(value, name) for name, value in given.items()}


def _not_shared(output: Output) -> ArgumentError:
    return ArgumentError(
        "output",
        expected="a folder that every worker and this process find under the same path",
        found=f"a shard that a worker has written and that is not in {output.rows}",
        mend="Use a shared file system.",
    )
