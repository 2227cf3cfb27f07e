"""Records: what an explanation is made of, and how records of parts of a batch are put together."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

__all__ = ["Curve", "Scores", "Status", "joined", "moved"]


class Status(enum.Enum):
    """How far an example's explanation can be trusted; the value is the sentence that says so."""

    CONVERGED = "Converged: the selected features were the same when two thirds of the steps were done."
    NOT_CONVERGED = "Not converged: the selected features still changed in the last third; raise n_steps."
    NOTHING_TO_EXPLAIN = "Nothing to explain: the baseline scores the same as the input; choose another one."
    BASELINE_HIGHER = (
        "Read with care: the baseline scores higher than the input, so the features shown are those that "
        "lower the score."
    )
    REFERENCE_DEPENDENT = (
        "Read with care: the selected features keep the score on average, but nothing of it with some "
        "reference; a fixed baseline, or Preserve(OutputMatch()), asks a clearer question."
    )
    NOT_FINITE = "The model returned NaN or inf for some blended inputs; those samples were left out."
    INTERRUPTED = "Interrupted before the last step; this is what was learned until then."


@dataclass(frozen=True)
class Scores:
    """Measured scores of each example, all [batch], in the units of the model's output.

    Attributes:
        full: of the input, s(x).
        baseline: of the baseline, or the mean over references, s(b).
        kept: with only the selected features shown.
        removed: with the selected features hidden.
    """

    full: Tensor
    baseline: Tensor
    kept: Tensor
    removed: Tensor


@dataclass(frozen=True)
class Curve:
    """The measured budget curve: scores when only the top k features are kept, and when they are removed.

    Attributes:
        n_open: k, ascending, long [batch, points].
        kept: score of what is kept (insertion), [batch, points].
        removed: score of what is left (deletion), [batch, points].
        retained: share of the output that the top k keep (with `Delete`: take away), as the objective reads
            it, [batch, points].
    """

    n_open: Tensor
    kept: Tensor
    removed: Tensor
    retained: Tensor


def moved(value: Any, device: torch.device) -> Any:
    """The same tensors, records and tuples on another device; anything else stays."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, (Scores, Curve)):
        return type(value)(*(getattr(value, f.name).to(device) for f in fields(value)))
    if isinstance(value, tuple):
        return tuple(moved(part, device) for part in value)
    return value


def joined(values: list[Any], name: str = "") -> Any:
    """Tensors, records and tuples of consecutive parts of a batch, one behind the other."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, (Scores, Curve)):
        columns = {f.name: joined([getattr(value, f.name) for value in values]) for f in fields(first)}
        return type(first)(**columns)
    if name == "status":
        return tuple(status for value in values for status in value)
    if isinstance(first, tuple):
        return tuple(joined(list(column)) for column in zip(*values, strict=True))
    if name == "loss_trace":  # shorter where a part was interrupted
        steps = max(len(value) for value in values)
        gaps = [value.new_full((steps - len(value), value.shape[1]), torch.nan) for value in values]
        return torch.cat([torch.cat(pair) for pair in zip(values, gaps, strict=True)], 1)
    return torch.cat(values)
