"""Explaining rows: one batch in, one table out, and no row that stops the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from stg_attr.attribution import Explanation, LayerStochasticGates, Status, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.gates import ReferenceSet
from stg_attr.model import Baselines, Inputs

from .rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FAILED", "ExplainArguments", "explain_rows", "schema"]

FAILED = "FAILED"  # status of a row without an explanation; the others are names of `Status`

_MOST_PER_CALL = 32  # gate samples of an update by default, so the most that one call can hold
_LONGEST_MESSAGE = 500


class ExplainArguments(TypedDict, total=False):
    """Arguments of `StochasticGates.explain` that hold for every row of a data set.

    Attributes:
        baselines: as there, but a tensor of several rows is a `ReferenceSet`, whatever the batch size.
        target: one output for all rows.
        feature_mask: as there with a leading dimension of 1, or a function of the inputs [batch, ...].
        n_steps: as there.
        n_samples: as there.
        perturbations_per_eval: as there.
        seed: as there, below 2 ** 63.
        n_restarts: as there; the first is written.
        layer_baselines: of `LayerStochasticGates`; several rows are a `ReferenceSet`.
        attribute_to_layer_input: of `LayerStochasticGates`.
    """

    baselines: Baselines
    target: int | tuple[int, ...] | None
    feature_mask: Inputs | Callable[[Inputs], Inputs] | None
    n_steps: int
    n_samples: int | None
    perturbations_per_eval: int | None
    seed: int
    n_restarts: int
    layer_baselines: Baselines
    attribute_to_layer_input: bool


def schema(id_type: str) -> pa.Schema:
    """Columns of the output.

    Args:
        id_type: of the row ids, `int64` or `string`.
    """
    import pyarrow as pa

    evidence = ("full", "baseline", "kept", "removed", "sufficiency", "comprehensiveness")
    return pa.schema(
        [
            ("id", pa.type_for_alias(id_type)),
            ("target", pa.list_(pa.int64())),
            ("feature_ids", pa.list_(pa.int32())),
            ("attributions", pa.list_(pa.float32())),
            ("log_alpha", pa.list_(pa.float32())),
            ("selected", pa.list_(pa.bool_())),
            *((name, pa.float64()) for name in evidence),
            ("status", pa.string()),
            ("message", pa.string()),
            ("seed", pa.int64()),
            ("evaluations", pa.int64()),
        ]
    )


def explain_rows(
    stg: StochasticGates | LayerStochasticGates,
    rows: Sequence[Row],
    arguments: ExplainArguments,
    id_type: str,
) -> pa.Table:
    """Explain some rows together; the result depends on these rows alone.

    Rows of one shape are solved together. Where that fails, each half is tried alone, and so on, until
    the rows that cannot be explained are alone.

    Args:
        stg: how.
        rows: what, in the order of the result.
        arguments: of `StochasticGates.explain`.
        id_type: of the row ids.

    Raises:
        ArgumentError: the accelerator failed, so that no further result of this process can be trusted.
        KeyboardInterrupt: a solve was interrupted.
    """
    import pyarrow as pa

    records: dict[int, dict[str, Any]] = {
        i: _failed(row, row.error or "") for i, row in enumerate(rows) if row.error is not None
    }
    readable = [i for i in range(len(rows)) if i not in records]
    for _, group in itertools.groupby(
        sorted(readable, key=lambda i: _kind(rows[i])), lambda i: _kind(rows[i])
    ):
        for pieces, result, note in _solved(stg, rows, list(group), arguments):
            for place, i in enumerate(pieces):
                record = _failed(rows[i], note) if result is None else _record(result, place, rows[i], note)
                records[i] = record
    return pa.Table.from_pylist([records[i] for i in range(len(rows))], schema(id_type))


def _kind(row: Row) -> str:
    """Rows of one kind can be stacked."""
    return str([(tuple(x.shape), x.dtype) for x in row.inputs])


_Solved = Iterator[tuple[list[int], Explanation | None, str]]


def _solved(
    stg: StochasticGates | LayerStochasticGates,
    rows: Sequence[Row],
    which: list[int],
    arguments: ExplainArguments,
    per_call: int | None = None,
) -> _Solved:
    """Places of rows with their explanation, or with the reason why they have none."""
    per_call = arguments.get("perturbations_per_eval") if per_call is None else per_call
    try:
        yield which, _explained(stg, [rows[i] for i in which], arguments, per_call), ""
        return
    except Exception as error:  # a model may raise anything; kept as text, since it holds on to memory
        out_of_memory, message = _is_out_of_memory(error), f"{type(error).__name__}: {error}"
        if _is_fatal(error):
            raise _lost_device(message) from error
    if out_of_memory:
        _free_memory()
        per_call = (per_call or _MOST_PER_CALL) // 2  # half of the rows in a call; 0 when it was one each
    if out_of_memory and per_call:
        yield from _noted(_solved(stg, rows, which, arguments, per_call))
    elif len(which) > 1:
        half = (len(which) + 1) // 2
        for part in (which[:half], which[half:]):
            smaller = _solved(stg, rows, part, arguments, 1 if out_of_memory else per_call)
            yield from _noted(smaller) if out_of_memory else smaller
    else:
        yield which, None, message[:_LONGEST_MESSAGE]


def _noted(solved: _Solved) -> _Solved:
    note = "explained with less in one call, since the memory was full"
    for which, explanation, reason in solved:
        yield which, explanation, reason or note


def _explained(
    stg: StochasticGates | LayerStochasticGates,
    rows: Sequence[Row],
    arguments: ExplainArguments,
    per_call: int | None,
) -> Explanation:
    stacked = tuple(torch.stack(column) for column in zip(*(row.inputs for row in rows), strict=True))
    inputs = stacked[0] if len(stacked) == 1 else stacked
    given: dict[str, Any] = dict(arguments)
    for name in {"baselines", "layer_baselines"} & given.keys():
        given[name] = _independent_of_batch(given[name])
    if callable(given.get("feature_mask")):
        given["feature_mask"] = given["feature_mask"](inputs)
    if rows[0].target is not None:
        given["target"] = [row.target for row in rows]
    given["perturbations_per_eval"] = per_call
    explanation = stg.explain(inputs, **given)
    if Status.INTERRUPTED in explanation.status:  # the solver turns Ctrl-C into a partial result
        raise KeyboardInterrupt
    return explanation.to(torch.device("cpu"))


def _independent_of_batch(baselines: Any) -> Any:
    """A tensor of many rows always means references, also where there are as many as examples."""
    if isinstance(baselines, tuple):
        return tuple(_independent_of_batch(baseline) for baseline in baselines)
    many = isinstance(baselines, Tensor) and baselines.dim() > 0 and len(baselines) > 1
    return ReferenceSet(baselines) if many else baselines


def _is_out_of_memory(error: Exception) -> bool:
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or "allocate memory" in str(error) or "out of memory" in str(error)


def _is_fatal(error: Exception) -> bool:
    lost = "CUDA error" in str(error) or isinstance(error, getattr(torch, "AcceleratorError", ()))
    return lost and not _is_out_of_memory(error)


def _lost_device(message: str) -> ArgumentError:
    return ArgumentError(
        "the accelerator",
        expected="one that goes on after an error",
        found=message.splitlines()[0],
        mend="Finished shards are kept. Run the same command again; if it stops at the same shard, run that "
        "one on the CPU, where the row at fault is written as failed.",
    )


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failed(row: Row, message: str) -> dict[str, Any]:
    return {"id": row.id, "status": FAILED, "message": message}


def _record(explanation: Explanation, i: int, row: Row, note: str) -> dict[str, Any]:
    exists = explanation.feature_ids[i] >= 0
    scores = explanation.scores
    return {
        "id": row.id,
        "target": [] if explanation.target is None else explanation.target[i].tolist(),
        "feature_ids": explanation.feature_ids[i][exists].tolist(),
        "attributions": explanation.active_probabilities[i][exists].tolist(),
        "log_alpha": explanation.log_alpha[i][exists].tolist(),
        "selected": explanation.selected[i][exists].tolist(),
        "full": scores.full[i].item(),
        "baseline": scores.baseline[i].item(),
        "kept": scores.kept[i].item(),
        "removed": scores.removed[i].item(),
        "sufficiency": explanation.sufficiency[i].item(),
        "comprehensiveness": explanation.comprehensiveness[i].item(),
        "status": explanation.status[i].name,
        "message": note or None,
        "seed": explanation.seed,
        "evaluations": int(explanation.n_evaluations[i]),
    }
