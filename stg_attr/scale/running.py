"""Running: attribution over a whole data set, in this process, on a part of a cluster job, or on Ray."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from tqdm.auto import tqdm

import stg_attr
from stg_attr.attribution.effort import Effort
from stg_attr.errors import ArgumentError

from .explaining import ExplainArguments
from .fingerprint import described
from .rows import Columns, Name
from .shards import Manifest, Output, check_arrow
from .sources import DataSet, Source, as_source, is_ray
from .worker import Done, Job, Make, RayActors, Worker, check_arguments, loaded, model_fingerprint

if TYPE_CHECKING:
    import ray.data
    from typing_extensions import Unpack

    from .on_ray import Cluster

__all__ = ["Outcome", "explain_dataset"]

_MOST_SHARDS = 4096  # of a data set, unless a shard would then have too many batches
_MOST_BATCHES = 256  # of a shard, which one crash can lose
_UNKNOWN_BATCHES = 16  # the same for a data set whose length is not known


@dataclass(frozen=True)
class Outcome:
    """What a call of `explain_dataset` did.

    Attributes:
        output: the folder.
        explained: rows that this call explained, failed ones among them.
        found: rows that were there before.
        failed: rows of both whose status is FAILED.
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
    overwrite: bool = False,
    show_progress: bool = False,
    **arguments: Unpack[ExplainArguments],
) -> Outcome:
    """Explain every row of a data set, and write the explanations to Parquet files.

    Rows are explained in batches that depend on their positions alone, so a row gets the same bits
    wherever and whenever it is explained: by one process or many, at once or resumed. Called again with the
    same arguments, only the shards that are missing are made.

    Args:
        stg_or_factory: how to explain, or a function without arguments that returns it, or the model. On
            several machines pass a function: it is called once by each worker.
        dataset: a torch `Dataset` or `DataLoader`, a DataFrame, the path of a Parquet file or folder, or a
            `ray.data.Dataset`.
        output: a folder, the same one for every worker. Its Parquet files are in `rows`.
        columns: the model's inputs: columns of a table, or places or keys in the rows of a torch data set.
            Columns of numbers make up one input, columns of arrays an input each. None for all columns of a
            table but the next two, or the first place of a tuple.
        id_column: names a row in the output; its position by default. In a `ray.data.Dataset` it must hold
            different whole numbers, since its rows have no positions.
        target_column: the output to explain in each row.
        batch_rows: rows that are explained together.
        shard_rows: rows of an output file, which is what a crash can lose; a multiple of `batch_rows`. By
            default one batch, and more for more than a quarter of a million rows.
        engine: None for this process; `RayActors(...)`, or `"ray"` for one for each CPU; `"ranks"` for this
            process's part among those of torchrun or a job array, from the variables RANK and WORLD_SIZE.
        overwrite: throw away what the folder holds of another model, data set or setting.
        show_progress: show a progress bar.
        arguments: of the explainer's `explain`, for all rows: baselines, target, feature_mask (also a
            function of the inputs), n_steps, n_samples, perturbations_per_eval, seed, n_restarts,
            layer_baselines, attribute_to_layer_input.

    Returns:
        How many rows were explained, were there already, and failed.

    Raises:
        ArgumentError: an argument cannot be used, the folder holds another run, the data cannot be read, the
            disk is full, or workers keep dying. Finished shards stay.
    """
    check_arrow()
    given = Columns(None if columns is None else tuple(columns), id_column, target_column)
    actors = _actors(engine, dataset)
    _check(arguments, batch_rows, shard_rows)
    run = _Run(
        stg_or_factory, given, Output(Path(output).resolve()), arguments, batch_rows, shard_rows, overwrite
    )
    if actors is None:
        source = as_source(dataset, given)
        return run.here(source, _part(engine, overwrite), show_progress)
    from .on_ray import Cluster

    with Cluster(actors, reads=is_ray(dataset)) as cluster:
        if is_ray(dataset):
            return run.on_rows(cluster, dataset, show_progress)
        return run.on_shards(cluster, as_source(dataset, given), show_progress)


@dataclass(frozen=True)
class _Run:
    """The arguments of a call, checked; one method for each engine."""

    make: Make
    columns: Columns
    output: Output
    arguments: ExplainArguments
    batch_rows: int
    shard_rows: int | None
    overwrite: bool

    def here(self, source: Source, part: tuple[int, int], show: bool) -> Outcome:
        """In this process: every `part[1]`-th shard from `part[0]` on."""
        stg = loaded(self.make)
        check_arguments(stg, self.arguments)
        job = self._begun(model_fingerprint(stg), source.identity(), source)
        worker = Worker(job, stg)
        numbers = self._missing(job, source.n_rows)
        mine = (number for number in numbers if number % part[1] == part[0])
        outcome = self._followed(_until_the_end(worker, mine), source.n_rows, show)
        if part == (0, 1):
            self.output.tidy()
        return outcome

    def on_shards(self, cluster: Cluster, source: Source, show: bool) -> Outcome:
        """On Ray, where each worker reads the rows of its shards itself."""
        if source.n_rows is None:
            raise ArgumentError(
                "dataset",
                expected="rows that a worker can read from any place",
                found=f"{source.identity()}, which starts at its beginning",
                mend="Use no engine, or write it to Parquet first.",
            )
        job = self._begun(cluster.model_fingerprint(self.make), source.identity(), source)
        missing = list(self._missing(job, source.n_rows))
        outcome = self._followed(cluster.explain_shards(job, missing), source.n_rows, show)
        self.output.tidy()
        return outcome

    def on_rows(self, cluster: Cluster, dataset: ray.data.Dataset, show: bool) -> Outcome:
        """On Ray, where the rows of a Ray data set are brought together by their ids."""
        identity = cluster.identity(dataset, self.columns)
        job = self._begun(cluster.model_fingerprint(self.make), identity, None)
        done = cluster.explain_rows(job, dataset, self.columns, self.output.finished())
        outcome = self._followed(done, None, show)
        self.output.tidy()
        return outcome

    def _begun(self, model: dict[str, str], data: str, source: Source | None) -> Job:
        n_rows = None if source is None else source.n_rows
        size = (
            self.batch_rows * _batches(n_rows, self.batch_rows)
            if self.shard_rows is None
            else self.shard_rows
        )
        id_type = "int64" if source is None else _id_type(source)
        fingerprint = {
            **model, "data": data, "stg_attr": stg_attr.__version__, "torch": torch.__version__,
            **_settings(self.arguments, self.columns),
        }  # fmt: skip
        self.output.open(Manifest(fingerprint, n_rows, self.batch_rows, size, id_type), self.overwrite)
        return Job(self.make, source, self.output, self.arguments, self.batch_rows, size, id_type, model)

    def _missing(self, job: Job, n_rows: int | None) -> Iterator[int]:
        finished = set(self.output.finished())
        numbers = itertools.count() if n_rows is None else range(-(-n_rows // job.shard_rows))
        return (number for number in numbers if number not in finished)

    def _followed(self, finishing: Iterable[Done], n_rows: int | None, show: bool) -> Outcome:
        """Wait for the shards, and count."""
        before = [self.output.counts(number) for number in self.output.finished()]
        found, failed, explained = sum(rows for rows, _ in before), sum(bad for _, bad in before), 0
        with tqdm(total=n_rows, initial=found, unit="row", disable=not show) as bar:
            for done in finishing:
                explained, failed = explained + done.rows, failed + done.failed
                bar.set_postfix(failed=failed, refresh=False)
                bar.update(done.rows)
                if done.rows and not self.output.shard(done.shard).exists():
                    raise _not_shared(self.output)
        return Outcome(self.output.folder, explained, found, failed)


def _until_the_end(worker: Worker, numbers: Iterable[int]) -> Iterator[Done]:
    for number in numbers:
        done = worker.run(number)
        if not done.rows:  # a data set of unknown length is over
            return
        yield done


def _batches(n_rows: int | None, batch_rows: int) -> int:
    """Batches of a shard, so that there are neither too few shards for many workers nor too many files."""
    if n_rows is None:
        return _UNKNOWN_BATCHES
    return min(max(1, -(-n_rows // (batch_rows * _MOST_SHARDS))), _MOST_BATCHES)


def _id_type(source: Source) -> str:
    first = next(source.rows(0, 1, torch.get_default_dtype()))
    return "int64" if isinstance(first.id, int) else "string"


def _actors(engine: object, dataset: object) -> RayActors | None:
    if engine == "ray" or (engine is None and is_ray(dataset)):
        return RayActors()
    if isinstance(engine, RayActors):
        return engine
    if engine not in (None, "ranks") or is_ray(dataset):
        raise ArgumentError(
            "engine",
            expected="None, 'ray', 'ranks' or RayActors(...), and one of Ray's for a Ray data set",
            found=repr(engine),
            mend="Leave it out to explain in this process.",
        )
    return None


def _part(engine: object, overwrite: bool) -> tuple[int, int]:
    """The part of this process, and of how many."""
    if engine is None:
        return 0, 1
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)) or overwrite:
        raise ArgumentError(
            "engine",
            expected="RANK and WORLD_SIZE in the environment with 'ranks', and no overwrite",
            found=f"RANK={rank!r}, WORLD_SIZE={world!r}, overwrite={overwrite}",
            mend="Start it with torchrun or set them from the job array; delete an old output before.",
        )
    return int(rank), int(world)


def _check(arguments: ExplainArguments, batch_rows: int, shard_rows: int | None) -> None:
    unknown = set(arguments) - set(ExplainArguments.__annotations__)
    if unknown:
        raise ArgumentError(
            "arguments",
            expected=f"some of {sorted(ExplainArguments.__annotations__)}",
            found=str(sorted(unknown)),
            mend="Leave them out.",
        )
    seed = arguments.get("seed", 0)
    per_call = arguments.get("perturbations_per_eval")
    restarts = arguments.get("n_restarts", 1)
    Effort(arguments.get("n_steps", 12), arguments.get("n_samples"), per_call, None, seed, restarts)
    sizes = (batch_rows, batch_rows if shard_rows is None else shard_rows)
    whole = all(isinstance(size, int) and size > 0 for size in sizes) and sizes[1] % sizes[0] == 0
    if not whole or not -(2**63) <= seed < 2**63:
        raise ArgumentError(
            "shard_rows",
            expected="batch_rows of at least 1, a multiple of it as shard_rows, and a seed of 64 bits",
            found=f"batch_rows={batch_rows}, shard_rows={shard_rows}, seed={seed}",
            mend="Leave them out for the defaults.",
        )


def _settings(arguments: ExplainArguments, columns: Columns) -> dict[str, str]:
    names = {f"{name} column": value for name, value in vars(columns).items()}
    return {name: described(value) for name, value in {**names, **arguments}.items() if value is not None}


def _not_shared(output: Output) -> ArgumentError:
    return ArgumentError(
        "output",
        expected="a folder that every worker and this process see under the same path",
        found=f"shards that a worker has written and that are not in {output.rows}",
        mend="Use a shared file system.",
    )
