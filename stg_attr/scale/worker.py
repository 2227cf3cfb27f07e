"""A worker loads the model once and explains one shard after another; every engine uses the same worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from stg_attr.amortized import AmortizedStochasticGates
from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.errors import ArgumentError, check_count, check_number
from stg_attr.model import disturbing_layers, module_of
from stg_attr.tables import OverCells

from .arguments import ExplainArguments, check_accepted
from .explaining import FAILED, explain_rows
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
    "input_dtype",
    "load_explainer",
    "model_fingerprint",
]

#: What explains a batch of rows.
Explainer: TypeAlias = StochasticGates | LayerStochasticGates | AmortizedStochasticGates

#: The explainer, or a function that returns the explainer or its model.
Make: TypeAlias = "Explainer | Callable[[], Explainer | Callable[..., torch.Tensor]]"


@dataclass(frozen=True)
class RayActors:
    """Workers on a Ray cluster; each of them loads its own model.

    Args:
        count: number of workers. None for one per GPU if `num_gpus` is given, and one per CPU otherwise.
        num_cpus: CPUs that Ray reserves for each worker. A number below 1 leaves room for Ray's own tasks,
            which read and shuffle the data. It does not make a worker slower: a worker computes with one
            thread if it has less than 2 CPUs.
        num_gpus: GPUs for each worker.
        max_attempts: attempts to explain a shard whose workers die, before the run stops. Without a limit Ray
            would restart the worker for ever.
        max_wait: seconds to wait until other jobs release the CPUs and GPUs.

    Raises:
        ArgumentError: a number is outside its range.
    """

    count: int | None = None
    num_cpus: float = 0.5
    num_gpus: float = 0.0
    max_attempts: int = 4
    max_wait: int = 60

    def __post_init__(self) -> None:
        if self.count is not None:
            check_count("count", self.count, mend="Leave it out for one worker per CPU or GPU.")
        for name in ("num_cpus", "num_gpus"):
            check_number(name, getattr(self, name), least=0, mend="Leave it out for the default.")
        for name in ("max_attempts", "max_wait"):
            check_count(name, getattr(self, name), mend="Leave it out for the default.")


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs to know; it is sent to other processes.

    Attributes:
        make: the explainer, or a function that returns the explainer or its model.
        source: the data; None if another process sends the rows to the worker.
        output: where the results go.
        arguments: of `explain`, for every row.
        batch_rows: rows that are explained together.
        shard_rows: rows of a shard.
        id_type: Arrow type of the row ids.
        model: fingerprint of the explainer that the manifest names.
        model_version: the user's name of the version of the model, if there is one.
    """

    make: Make
    source: Source | None
    output: Output
    arguments: ExplainArguments
    batch_rows: int
    shard_rows: int
    id_type: str
    model: dict[str, str]
    model_version: str | None


@dataclass(frozen=True)
class Done:
    """A finished shard: its number, the number of its rows, and how many of them failed."""

    shard: int
    rows: int
    failed: int


def load_explainer(make: Make) -> Explainer:
    """The explainer of a worker.

    Raises:
        ArgumentError: the function fails or returns something else, or the model is in training mode.
    """
    made: object = make
    if not isinstance(make, Explainer) and callable(make):
        try:
            made = make()
        except Exception as error:  # the user's function may raise anything
            raise ArgumentError(
                "stg_or_factory",
                expected="a StochasticGates, or a function without arguments that returns one, or its model",
                found=f"{type(error).__name__} when it was called: {error}",
                mend="Pass StochasticGates(model), or correct the function.",
            ) from error
    stg = made if isinstance(made, Explainer) else StochasticGates(made)  # type: ignore[arg-type]  # it checks the type
    if disturbing_layers(stg.forward_func):
        raise ArgumentError(
            "the model",
            expected="evaluation mode, in which a row depends neither on random numbers nor on other rows",
            found="dropout, batch or spectral normalisation, or another noisy layer, in training mode",
            mend="Call model.eval() first.",
        )
    return stg


def model_fingerprint(stg: Explainer, version: str | None = None) -> dict[str, str]:
    """The model and each public attribute of the explainer that can change a result, as short texts.

    Args:
        stg: the explainer.
        version: the user's name of the version of the model, which then stands for it; None for none.

    Raises:
        ArgumentError: the model, or an attribute, does not say what it consists of.
    """
    if isinstance(stg, AmortizedStochasticGates):
        return model_fingerprint(stg.method, version) | {"net": described(stg.identity, "net")}
    model = stg.forward_func
    model = model.__wrapped__ if isinstance(model, OverCells) else model  # its cells are the data
    name = getattr(model, "__qualname__", type(model).__qualname__)
    attributes = dict(vars(stg))
    settings = {
        key: value
        for key, value in attributes.items()
        if not key.startswith("_") and key not in ("forward_func", "device", "device_ids")
    }
    if "layer" in settings:
        settings["layer"] = _layer_name(settings["layer"], module_of(model))
    texts = {key: described(value, key) for key, value in settings.items()}
    what = _model_digest(model) if version is None else f"version {version!r}"
    return {"model": f"{name} {what}"} | texts


def _model_digest(model: object) -> str:
    try:
        return digest(model)
    except ArgumentError as error:
        raise ArgumentError(
            "model_version",
            expected="a name of the model's version, because two models of this kind cannot be told apart",
            found=f"none, and in the model {error}",
            mend="Pass model_version='...', and another text whenever the model changes.",
        ) from error


def _layer_name(layer: torch.nn.Module, model: torch.nn.Module | None) -> object:
    """The name of a layer in the model; the layer itself if the model is a function."""
    modules = () if model is None else model.named_modules()
    return next((name for name, module in modules if module is layer), layer)


class Worker:
    """Loads the model once and explains shards with it.

    Args:
        job: what to do.
        stg: the explainer, if it is already loaded.

    Attributes:
        dtype: of the inputs that are made from tables; None keeps integers as integers.

    Raises:
        ArgumentError: the model differs from the one in the manifest, or the explainer lacks an argument.
    """

    def __init__(self, job: Job, stg: Explainer | None = None) -> None:
        self._job = job
        self._stg = load_explainer(job.make) if stg is None else stg
        check_accepted(self._stg, job.arguments)
        self.dtype = input_dtype(self._stg)
        model = job.model if stg is not None else model_fingerprint(self._stg, job.model_version)
        if model != job.model:
            raise ArgumentError(
                "stg_or_factory",
                expected=f"a function that returns the same model in every process, {job.model}",
                found=str(model),
                mend="Load the weights from a file, or set the seed before they are initialised.",
            )

    def run(self, number: int, rows: Iterable[Row] | None = None) -> Done:
        """Explain a shard and write it, unless it is finished already.

        Args:
            number: of the shard.
            rows: of the shard, in order; None to read them from the job's source.

        Returns:
            The finished shard. It has no rows if the data set ends before it.

        Raises:
            ArgumentError: the data cannot be read, the shard cannot be written, or the GPU failed.
        """
        job = self._job
        counts = job.output.counts(number)
        if counts is not None:
            return Done(number, *counts)
        if rows is None:
            rows = self._read(number)
        batches = itertools.groupby(rows, key=lambda row: row.position // job.batch_rows)
        tables = [explain_rows(self._stg, list(batch), job.arguments, job.id_type) for _, batch in batches]
        if not tables:
            return Done(number, 0, 0)
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.concat_tables(tables)
        n_failed = int(pc.sum(pc.equal(table["status"], FAILED)).as_py())
        job.output.write(number, table, n_failed)
        return Done(number, len(table), n_failed)

    def _read(self, number: int) -> Iterable[Row]:
        source, size = self._job.source, self._job.shard_rows
        return () if source is None else source.rows(number * size, (number + 1) * size, self.dtype)


def input_dtype(stg: Explainer) -> torch.dtype | None:
    """Dtype for the inputs: that of the model's parameters, otherwise torch's default.

    None for gates on a layer, because the inputs may be token ids, and for numbers of cells: these must stay
    integers.
    """
    stg = stg.method if isinstance(stg, AmortizedStochasticGates) else stg
    if isinstance(stg, LayerStochasticGates) or isinstance(stg.forward_func, OverCells):
        return None
    module = module_of(stg.forward_func)
    parameter = None if module is None else next(module.parameters(), None)
    floating = parameter is not None and parameter.is_floating_point()
    return parameter.dtype if parameter is not None and floating else torch.get_default_dtype()
