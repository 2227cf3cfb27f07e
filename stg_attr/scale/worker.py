"""A worker: one model, which explains one shard after the other; the same in every engine."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.model import disturbing_layers, module_of

from .explaining import FAILED, ExplainArguments, explain_rows
from .fingerprint import described, digest
from .rows import Row
from .shards import Output
from .sources import Source

__all__ = [
    "Done",
    "Explainer",
    "Job",
    "Make",
    "RayActors",
    "Worker",
    "check_arguments",
    "loaded",
    "model_fingerprint",
]

#: How rows are explained.
Explainer: TypeAlias = StochasticGates | LayerStochasticGates

#: The explainer itself, or a function that makes it or its model.
Make: TypeAlias = "Explainer | Callable[[], Explainer | Callable[..., torch.Tensor]]"


@dataclass(frozen=True)
class RayActors:
    """Workers on a Ray cluster, each with a model of its own.

    Args:
        count: how many; one for each GPU asked for, or for each CPU of the cluster, by default.
        num_cpus: Ray's CPUs for each. Less than 1 leaves room for Ray's own tasks, which read and shuffle
            the data; it does not slow a worker down, which runs on one thread below 2.
        num_gpus: GPUs for each.
    """

    count: int | None = None
    num_cpus: float = 0.5
    num_gpus: float = 0.0


@dataclass(frozen=True)
class Job:
    """All that a worker has to know; it travels to other processes.

    Attributes:
        make: the explainer, or what makes it.
        source: the data; None where its rows are brought to the worker.
        output: the results.
        arguments: of every explanation.
        batch_rows: rows that are explained together.
        shard_rows: rows of a shard.
        id_type: Arrow type of the row ids.
        model: fingerprint of the explainer that began the output.
    """

    make: Make
    source: Source | None
    output: Output
    arguments: ExplainArguments
    batch_rows: int
    shard_rows: int
    id_type: str
    model: dict[str, str]


@dataclass(frozen=True)
class Done:
    """A finished shard: its number, its rows, and how many of them failed."""

    shard: int
    rows: int
    failed: int


def loaded(make: Make) -> Explainer:
    """The explainer of a worker.

    Raises:
        ArgumentError: there is none, or its model is in training mode.
    """
    made: object = make
    if not isinstance(make, Explainer) and callable(make):
        try:
            made = make()
        except Exception as error:
            raise ArgumentError(
                "stg_or_factory",
                expected="a StochasticGates, or a function without arguments that returns one, or its model",
                found=f"{type(error).__name__} when it was called: {error}",
                mend="Pass StochasticGates(model), or mend the function.",
            ) from error
    stg = made if isinstance(made, Explainer) else StochasticGates(made)  # type: ignore[arg-type]  # checked there
    if disturbing_layers(stg.forward_func):
        raise ArgumentError(
            "the model",
            expected="evaluation mode, so that a row does not depend on chance or on other rows",
            found="dropout or batch normalisation in training mode",
            mend="Call model.eval() first.",
        )
    return stg


def model_fingerprint(stg: Explainer) -> dict[str, str]:
    """What is asked of which model, as short texts."""
    model, settings = stg.forward_func, {**vars(stg), **getattr(stg, "_settings", {})}
    for name in ("forward_func", "device", "device_ids", "_settings"):
        settings.pop(name, None)
    if "layer" in settings:
        settings["layer"] = _place(settings["layer"], module_of(model))
    name = getattr(model, "__qualname__", type(model).__qualname__)
    return {"model": f"{name} {digest(model)}"} | {key: described(part) for key, part in settings.items()}


def _place(layer: torch.nn.Module, model: torch.nn.Module | None) -> object:
    """The name of a layer, or itself where the model is a function."""
    modules = () if model is None else model.named_modules()
    return next((name for name, module in modules if module is layer), layer)


class Worker:
    """Explains shards with a model that is loaded once.

    Args:
        job: what to do.
        stg: the explainer, if it is loaded already.

    Attributes:
        dtype: of the model's numbers.

    Raises:
        ArgumentError: the model is not the one that began the output, or the explainer has no such arguments.
    """

    def __init__(self, job: Job, stg: Explainer | None = None) -> None:
        self._job = job
        self._stg = loaded(job.make) if stg is None else stg
        check_arguments(self._stg, job.arguments)
        self.dtype = _dtype(self._stg)
        here = job.model if stg is not None else model_fingerprint(self._stg)
        if here != job.model:
            raise ArgumentError(
                "stg_or_factory",
                expected=f"a function that returns the same model in every process, {job.model}",
                found=str(here),
                mend="Load the weights from a file, or seed their initialisation.",
            )

    def run(self, number: int, rows: Iterable[Row] | None = None) -> Done:
        """Explain a shard and write it, unless it is there already.

        Args:
            number: of the shard.
            rows: of the shard, in order; read from the job's source by default.

        Returns:
            What is there now; no rows where the data set ends before the shard.

        Raises:
            ArgumentError: the data cannot be read, the shard not be written, or the accelerator failed.
        """
        job = self._job
        if job.output.shard(number).exists():
            return Done(number, *job.output.counts(number))
        if rows is None:
            rows = self._read(number)
        batches = itertools.groupby(rows, key=lambda row: row.position // job.batch_rows)
        tables = [explain_rows(self._stg, list(batch), job.arguments, job.id_type) for _, batch in batches]
        if not tables:
            return Done(number, 0, 0)
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.concat_tables(tables)
        failed = int(pc.sum(pc.equal(table["status"], FAILED)).as_py())
        job.output.write(number, table, failed)
        return Done(number, len(table), failed)

    def _read(self, number: int) -> Iterable[Row]:
        source, size = self._job.source, self._job.shard_rows
        return () if source is None else source.rows(number * size, (number + 1) * size, self.dtype)


def check_arguments(stg: Explainer, arguments: ExplainArguments) -> None:
    """Raise an ArgumentError for arguments that this explainer does not take."""
    taken = inspect.signature(stg.explain).parameters
    unknown = [name for name in arguments if name not in taken]
    if unknown:
        raise ArgumentError(
            "arguments",
            expected=f"those of {type(stg).__name__}.explain",
            found=str(unknown),
            mend="Leave them out, or pass another explainer.",
        )


def _dtype(stg: Explainer) -> torch.dtype | None:
    """Of the model's parameters, else torch's default; None where inputs may be ids of tokens."""
    if isinstance(stg, LayerStochasticGates):
        return None
    module = module_of(stg.forward_func)
    parameter = None if module is None else next(module.parameters(), None)
    floating = parameter is not None and parameter.is_floating_point()
    return parameter.dtype if parameter is not None and floating else torch.get_default_dtype()
