"""Packing: what the browser needs of an explanation, as small JSON.

The browser shows the explanation at every budget. At each budget the log-alphas are the same, plus one shift:

    P_k(gate) = P(active at log_alpha + shift_k)              for gates that the model reacts to
    P_k(gate) = P(active at min(log_alpha + shift_k, half))   for all others

so one number per gate and one shift per budget are enough, with a table of P(active) to look values up.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation, Status
from stg_attr.errors import ArgumentError
from stg_attr.metrics import BudgetCurves
from stg_attr.select import Ranking
from stg_attr.viz.parts import as_array, replace_invisible

__all__ = [
    "Json",
    "checked_curve",
    "given_names",
    "pack",
    "pack_attributions",
    "pack_gates",
    "pack_reading",
    "rounded_numbers",
    "target_name",
]

Json = dict[str, Any]

# The table of active probabilities: its range around the parameter at which they are one half, and its step.
_REACH, _STEP = 24.0, 1 / 32
_UNSEEN = -1  # rank of a gate that is never selected


def pack(values: NDArray[np.generic]) -> str:
    """Numbers as text: their bytes, compressed with deflate, in base64.

    Example:
        >>> len(pack(np.zeros(10**6, dtype=np.uint8))) < 2000
        True
    """
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode("ascii")


def checked_curve(explanation: Explanation) -> None:
    """Check that an explanation has a measured curve; the slider moves along its points.

    Raises:
        ArgumentError: no curve was measured, or there are no examples.
    """
    if len(explanation) and explanation.curve.n_open.shape[1]:
        return
    raise ArgumentError(
        "explanation",
        expected="at least one example with a measured curve",
        found="no examples" if not len(explanation) else "no curve",
        mend="Pass what explain returns.",
    )


def pack_gates(explanation: Explanation) -> Json:
    """A table of active probabilities around the parameter at which they are one half."""
    gates = explanation.gates
    parameters = torch.arange(-_REACH, _REACH + _STEP, _STEP, dtype=torch.float64, device="cpu") + gates.half
    table = as_array(gates.active_probability(parameters)).astype(np.float32)
    return {"half": gates.half, "reach": _REACH, "step": _STEP, "table": pack(table)}


def pack_reading(explanation: Explanation, readings: Sequence[Explanation], example: int) -> Json:
    """One example of an explanation along its measured curve.

    Args:
        explanation: the explanation to pack.
        readings: the explanation at every point of its curve, from `Explanation.readings`.
        example: its place in the batch.
    """
    curve, scores = explanation.curve, explanation.scores
    counts, first = np.unique(as_array(curve.n_open[example]).astype(int), return_index=True)
    return {
        "alpha": pack(as_array(explanation.log_alpha[example]).astype(np.float32)),
        "rank": pack(_ranks(explanation, example)),
        "shift": [_shift(explanation, readings[point], example) for point in first],
        "n": counts.tolist(),
        "kept": _numbers(curve.kept[example], first),
        "removed": _numbers(curve.removed[example], first),
        "full": float(scores.full[example]),
        "baseline": float(scores.baseline[example]),
        "selected": int(explanation.n_selected[example]),
        "gates": int((explanation.feature_ids[example] >= 0).sum()),
        "missing": (explanation.feature_ids[example] < 0).nonzero().flatten().tolist(),
        "certificate": "" if explanation.certificate is None else explanation.certificate.short(example),
        "status": explanation.status[example].value,
        "doubt": explanation.status[example].doubtful,
        "explainable": explanation.status[example] is not Status.NOTHING_TO_EXPLAIN,
        "shares": explanation.status[example].tells_shares,
        "evaluations": int(explanation.n_evaluations[example]),
        "trace": _numbers(_finite_start(explanation.loss_trace[:, example])),
    }


def pack_attributions(
    reference: Explanation, curves: BudgetCurves, ranking: Ranking, means: Tensor, example: int
) -> Json:
    """One example of another method, measured at the same numbers of features as an explanation.

    Args:
        reference: the explanation, which has the same features and counts.
        curves: of the other method.
        ranking: the order of its features.
        means: mean attribution of each feature, [batch, gates].
        example: its place in the batch.
    """
    counts, first = np.unique(as_array(curves.n_features[example]).astype(int), return_index=True)
    exists = reference.feature_ids[example] >= 0
    values = as_array(means[example])
    limit = float(np.abs(values).max()) or 1.0
    return {
        "level": pack((values / limit).astype(np.float32)),
        "limit": limit,
        "rank": pack(torch.where(exists, ranking.rank[example], _UNSEEN).cpu().numpy().astype(np.int32)),
        "shift": [0.0] * len(first),
        "n": counts.tolist(),
        "kept": _numbers(curves.kept[example], first),
        "removed": _numbers(curves.removed[example], first),
        "full": float(curves.full[example]),
        "baseline": float(curves.baseline[example]),
        "shares": reference.status[example].tells_shares,
        "selected": int(reference.n_selected[example]),
        "gates": int(exists.sum()),
    }


def given_names(explanation: Explanation) -> list[str] | None:
    """The names that were given to `explain`, one for each gate; None where there are none."""
    names = explanation.feature_names
    return None if names is None else [replace_invisible(name) for name in names]


def target_name(explanation: Explanation, example: int, classes: Sequence[str] | None) -> str:
    """The explained output in words; empty if the model returns one number per example."""
    if explanation.target is None:
        return ""
    index = explanation.target[example].tolist()
    if classes is not None and len(index) == 1 and 0 <= index[0] < len(classes):
        return replace_invisible(str(classes[index[0]]))
    return "output " + ", ".join(str(i) for i in index)


def _ranks(explanation: Explanation, example: int) -> NDArray[np.int32]:
    visible = explanation.visible[example]
    rank = Ranking.of(explanation.log_alpha[example : example + 1], visible.unsqueeze(0)).rank[0]
    return torch.where(visible, rank, _UNSEEN).cpu().numpy().astype(np.int32)


def _shift(explanation: Explanation, reading: Explanation, example: int) -> float:
    visible = explanation.visible[example]
    if not bool(visible.any()):
        return 0.0
    moved = (reading.log_alpha[example] - explanation.log_alpha[example])[visible]
    return float(moved[0])


def _finite_start(losses: Tensor) -> Tensor:
    """The losses up to the last finite one; later steps had no part of this example."""
    known = losses.isfinite().nonzero()
    return losses[: int(known[-1]) + 1] if len(known) else losses[:0]


def _numbers(values: Tensor, places: NDArray[np.int64] | None = None) -> list[float | None]:
    return rounded_numbers(as_array(values) if places is None else as_array(values)[places])


def rounded_numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers for JSON: six digits; None for numbers that are not finite, which JSON does not have."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
