"""Explain one batch of rows as one table; a row that fails does not stop the others."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stg_attr.amortized import AmortizedStochasticGates
from stg_attr.attribution import Explanation, LayerStochasticGates, Status, StochasticGates
from stg_attr.errors import Interrupted, ModelFailure
from stg_attr.gates import ReferenceSet
from stg_attr.model import is_out_of_memory, raised_by_handler

from .arguments import ExplainArguments
from .rows import Row
from .run_error import RunError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EVIDENCE", "FAILED", "as_row_references", "explain_rows", "failures_raised", "schema"]

FAILED = "FAILED"  # status of a row without an explanation; the other statuses are the names of `Status`

#: Columns of the output that hold measured scores.
EVIDENCE = ("full", "baseline", "kept", "removed", "sufficiency", "comprehensiveness")

#: Gate samples in one call of the model if `perturbations_per_eval` is not given. A call has at most the
#: samples of one update, and 32 is their default number.
_SAMPLES_PER_CALL = 32

_LONGEST_MESSAGE = 500  # characters


def schema(id_type: str) -> pa.Schema:
    """Columns of the output.

    Args:
        id_type: Arrow type of the row ids, `int64` or `string`.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.type_for_alias(id_type)),
            ("target", pa.list_(pa.int64())),
            ("feature_ids", pa.list_(pa.int64())),
            ("feature_names", pa.list_(pa.string())),
            ("attributions", pa.list_(pa.float32())),
            ("log_alpha", pa.list_(pa.float32())),
            ("selected", pa.list_(pa.bool_())),
            ("contributions", pa.list_(pa.float32())),
            *((name, pa.float64()) for name in EVIDENCE),
            ("certified", pa.bool_()),
            ("certified_mean", pa.float64()),
            ("certified_references", pa.int64()),
            ("status", pa.string()),
            ("message", pa.string()),
            ("seed", pa.int64()),
            ("evaluations", pa.int64()),
        ]
    )


@contextlib.contextmanager
def failures_raised() -> Iterator[None]:
    """Raise what the model raises after the first step, too, so that the row which causes it is found.

    `explain` alone would warn, and keep what was learned until then of all rows of the batch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelFailure)
        warnings.simplefilter("ignore", Interrupted)  # `KeyboardInterrupt` is raised in its place
        yield


def explain_rows(
    stg: StochasticGates | LayerStochasticGates | AmortizedStochasticGates,
    rows: Sequence[Row],
    arguments: ExplainArguments,
    id_type: str,
) -> pa.Table:
    """Explain one batch of rows; the result depends on these rows only.

    Rows of equal shapes are explained together. If that fails, each half is tried alone, and so on, until
    the rows that cannot be explained are alone.

    Args:
        stg: the explainer.
        rows: the batch; the table has the same order.
        arguments: of `StochasticGates.explain`.
        id_type: Arrow type of the row ids.

    Raises:
        RunError: the GPU failed, so that this process can compute no further result.
        KeyboardInterrupt: the user interrupted a solve.
    """
    import pyarrow as pa

    rows = [row.with_id_of(id_type) for row in rows]
    records: dict[int, dict[str, Any]] = {
        i: _failed_record(row, row.error) for i, row in enumerate(rows) if row.error is not None
    }
    readable = [i for i in range(len(rows)) if i not in records]
    for _, group in itertools.groupby(
        sorted(readable, key=lambda i: _shapes(rows[i])), lambda i: _shapes(rows[i])
    ):
        for indices, explanation, message in _explain_or_split(stg, rows, list(group), arguments):
            for place, i in enumerate(indices):
                records[i] = (
                    _failed_record(rows[i], message)
                    if explanation is None
                    else _record(explanation, place, rows[i], message)
                )
    return pa.Table.from_pylist([records[i] for i in range(len(rows))], schema(id_type))


def _shapes(row: Row) -> str:
    """Shapes and dtypes of the inputs; rows for which they are equal can be stacked."""
    return str([(tuple(x.shape), x.dtype) for x in row.inputs])


#: Indices of rows, their explanation (None if they failed), and a message for them ("" for none).
_Results = Iterator[tuple[list[int], Explanation | None, str]]


def _explain_or_split(
    stg: StochasticGates | LayerStochasticGates | AmortizedStochasticGates,
    rows: Sequence[Row],
    indices: list[int],
    arguments: ExplainArguments,
    per_call: int | None = None,
) -> _Results:
    """Explain rows of equal shapes together, or in smaller parts if that fails.

    Args:
        stg: the explainer.
        rows: the whole batch.
        indices: of the rows to explain.
        arguments: of `StochasticGates.explain`.
        per_call: gate samples in one call of the model; None for the number in `arguments`.
    """
    per_call = arguments.get("perturbations_per_eval") if per_call is None else per_call
    try:
        yield indices, _explain(stg, [rows[i] for i in indices], arguments, per_call), ""
        return
    except Exception as error:  # a model may raise anything
        if raised_by_handler(error):  # a time limit that the user has set is no error of a row
            raise
        # Only the text is kept: the exception refers to the tensors of the failed call, which use memory.
        out_of_memory, message = is_out_of_memory(error), f"{type(error).__name__}: {error}"
        if _is_unrecoverable(error):
            raise _gpu_failed(message) from error
    if out_of_memory:
        _free_memory()
        per_call = (per_call or _SAMPLES_PER_CALL) // 2  # 0 if a call already had one sample only
    if out_of_memory and per_call:
        yield from _with_memory_note(_explain_or_split(stg, rows, indices, arguments, per_call))
    elif len(indices) > 1:
        half = (len(indices) + 1) // 2
        for part in (indices[:half], indices[half:]):
            results = _explain_or_split(stg, rows, part, arguments, 1 if out_of_memory else per_call)
            yield from _with_memory_note(results) if out_of_memory else results
    else:
        yield indices, None, message


def _with_memory_note(results: _Results) -> _Results:
    note = "explained with fewer rows in one call of the model, because the memory was full"
    for indices, explanation, message in results:
        yield indices, explanation, message or note


def _explain(
    stg: StochasticGates | LayerStochasticGates | AmortizedStochasticGates,
    rows: Sequence[Row],
    arguments: ExplainArguments,
    per_call: int | None,
) -> Explanation:
    stacked = tuple(torch.stack(column) for column in zip(*(row.inputs for row in rows), strict=True))
    inputs = stacked[0] if len(stacked) == 1 else stacked
    given: dict[str, Any] = dict(arguments)
    for name in {"baselines", "layer_baselines"} & given.keys():
        given[name] = as_row_references(given[name])
    if callable(given.get("feature_mask")):
        given["feature_mask"] = given["feature_mask"](inputs)
    if rows[0].target is not None:
        given["target"] = [row.target for row in rows]
    given["perturbations_per_eval"] = per_call
    try:
        explanation = stg.explain(inputs, **given)
    except (
        ModelFailure
    ) as failure:  # the model failed after the first step; `failures_raised` makes this warning an error
        raise failure.error from None
    if Status.INTERRUPTED in explanation.status:  # the solver turns Ctrl-C into an unfinished explanation
        raise KeyboardInterrupt
    return explanation.to(torch.device("cpu"))


def as_row_references(baselines: Any) -> Any:
    """A tensor of several rows as references.

    `explain` reads a tensor with as many rows as the batch as one baseline for each row. Here it always holds
    references, because the meaning must not depend on the size of a batch.
    """
    if isinstance(baselines, tuple):
        return tuple(as_row_references(baseline) for baseline in baselines)
    has_rows = isinstance(baselines, Tensor) and baselines.dim() > 0 and len(baselines) > 1
    return ReferenceSet(baselines) if has_rows else baselines


def _is_unrecoverable(error: Exception) -> bool:
    """Whether an error leaves the GPU in a state in which every further call fails."""
    failed = "CUDA error" in str(error) or isinstance(error, getattr(torch, "AcceleratorError", ()))
    return failed and not is_out_of_memory(error)


def _gpu_failed(message: str) -> RunError:
    return RunError(
        "The GPU is in an unrecoverable error state and this process cannot continue: "
        f"{message.splitlines()[0]}.",
        mend="Finished shards are kept. Run the same command again. If it stops at the same shard, run that "
        "shard on the CPU, where the row that causes the error is written with status FAILED.",
    )


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failed_record(row: Row, message: str) -> dict[str, Any]:
    # A path in a message may hold bytes that are no text, which Arrow refuses.
    text = message[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()
    return {"id": row.id, "status": FAILED, "message": text}


def _record(explanation: Explanation, i: int, row: Row, note: str) -> dict[str, Any]:
    exists = explanation.feature_ids[i] >= 0
    scores = explanation.scores
    return {
        "id": row.id,
        "target": [] if explanation.target is None else explanation.target[i].tolist(),
        "feature_ids": explanation.feature_ids[i][exists].tolist(),
        "feature_names": _names(explanation, i),
        "attributions": explanation.active_probabilities[i][exists].tolist(),
        "log_alpha": explanation.log_alpha[i][exists].tolist(),
        "selected": explanation.selected[i][exists].tolist(),
        "contributions": _contributions(explanation, i),
        "full": scores.full[i].item(),
        "baseline": scores.baseline[i].item(),
        "kept": scores.kept[i].item(),
        "removed": scores.removed[i].item(),
        "sufficiency": explanation.sufficiency[i].item(),
        "comprehensiveness": explanation.comprehensiveness[i].item(),
        **_certified(explanation, i),
        "status": explanation.status[i].name,
        "message": note or None,
        "seed": explanation.seed,
        "evaluations": int(explanation.n_evaluations[i]),
    }


def _names(explanation: Explanation, i: int) -> list[str] | None:
    """The names of the features that an example has; None without names."""
    names, exists = explanation.feature_names, (explanation.feature_ids[i] >= 0).tolist()
    return None if names is None else [name for name, there in zip(names, exists, strict=True) if there]


def _contributions(explanation: Explanation, i: int) -> list[float] | None:
    """What each feature adds to the score of an example; None where it was not measured."""
    if explanation.contributions is None or bool(explanation.contributions[i].isnan().all()):
        return None
    return explanation.contributions[i][explanation.feature_ids[i] >= 0].tolist()


def _certified(explanation: Explanation, i: int) -> dict[str, Any]:
    """Whether the claim holds, the mean that was measured, and on how many references; none without it."""
    certificate = explanation.certificate
    if certificate is None:
        return {}
    return {
        "certified": bool(certificate.holds[i]),
        "certified_mean": None if bool(certificate.mean[i].isnan()) else certificate.mean[i].item(),
        "certified_references": int(certificate.n_references[i]),
    }
