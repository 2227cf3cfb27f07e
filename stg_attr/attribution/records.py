"""Records: what an explanation is made of, and how records of parts of a batch are put together."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from itertools import combinations
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.solve import Learned

__all__ = ["Curve", "Restarts", "Scores", "Status", "first_rows", "joined", "moved"]


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
    FAILED = "The model raised an error before the end; this is what was learned until then."
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


@dataclass(frozen=True)
class Restarts:
    """What several solves of the same examples selected, each with noise of its own.

    Attributes:
        selected: bool [restarts, batch, gates]; the first is what the explanation reports.
    """

    selected: Tensor

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def frequency(self) -> Tensor:
        """Share of the restarts that selected each feature, [batch, gates]."""
        return self.selected.double().mean(0)

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Wilson's score interval of the frequency over all possible restarts, twice [batch, gates].

            (k + q^2 / 2 -+ q sqrt(k (n - k) / n + q^2 / 4)) / (n + q^2)

        with k of n restarts and q the normal quantile. Probable Inference, the Law of Succession, and
        Statistical Inference (Wilson, 1927), https://doi.org/10.1080/01621459.1927.10502953. It says how far
        the solve's own chance goes; that the model or the data are right, it does not say.

        Args:
            confidence: in (0, 1).

        Raises:
            ArgumentError: the confidence is outside its range.
        """
        if not 0 < confidence < 1:
            raise ArgumentError(
                "confidence",
                expected="a number between 0 and 1",
                found=repr(confidence),
                mend="0.95 is usual.",
            )
        n, q = len(self), NormalDist().inv_cdf((1 + confidence) / 2)
        k = self.selected.double().sum(0)
        centre, width = k + q * q / 2, q * (k * (n - k) / n + q * q / 4).sqrt()
        low, high = ((centre + sign * width) / (n + q * q) for sign in (-1, 1))
        return low.clamp(0, 1), high.clamp(0, 1)

    @property
    def agreement(self) -> Tensor:
        """Mean overlap (Jaccard) of the sets that two restarts select, [batch]; 1 for a single restart."""
        pairs = list(combinations(self.selected, 2))
        if not pairs:
            return torch.ones(self.selected.shape[1], dtype=torch.float64, device=self.selected.device)
        return torch.stack([_jaccard(a, b) for a, b in pairs]).mean(0)


def _jaccard(a: Tensor, b: Tensor) -> Tensor:
    """Common members of two sets over all of theirs, [batch]; 1 where both are empty."""
    both, either = (a & b).sum(1).double(), (a | b).sum(1)
    return torch.where(either == 0, 1.0, both / either.clamp_min(1))


def moved(value: Any, device: torch.device) -> Any:
    """The same tensors, records and tuples on another device; anything else stays."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, (Scores, Curve, Restarts, Learned)):
        return type(value)(*(getattr(value, f.name).to(device) for f in fields(value)))
    if isinstance(value, tuple):
        return tuple(moved(part, device) for part in value)
    return value


def joined(values: list[Any], name: str = "") -> Any:
    """Tensors, records and tuples of consecutive parts of a batch, one behind the other."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Restarts):
        return Restarts(torch.cat([value.selected for value in values], 1))
    if isinstance(first, (Scores, Curve, Learned)):
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


def first_rows(value: Any, n: int, name: str = "") -> Any:
    """The first rows of what holds a batch: tensors, records and tuples."""
    if isinstance(value, (Scores, Curve, Learned)):
        return type(value)(*(first_rows(getattr(value, f.name), n) for f in fields(value)))
    if isinstance(value, tuple):
        return value[:n] if name == "status" else tuple(first_rows(part, n) for part in value)
    if isinstance(value, Tensor):
        return value[:, :n] if name == "loss_trace" else value[:n]
    return value
