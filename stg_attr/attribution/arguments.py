"""Arguments of a call: checked at the door, cut to the rows that are solved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Baseline, unusual

__all__ = ["MOST_REFERENCES", "Baselines", "Effort", "Gaps", "Given", "Inputs", "checked_inputs"]

Inputs: TypeAlias = Tensor | tuple[Tensor, ...]

#: The same as users may give them: the model is given a None as it is.
Given: TypeAlias = Tensor | tuple[Tensor | None, ...]

Baselines: TypeAlias = Baseline | tuple[Baseline | None, ...] | None


_STEPS = 12  # updates where neither n_steps nor max_evals is given; a small `max_evals` is cut into as many,
_LEAST_SAMPLES = 3  # or into fewer, since of less than so many samples they are too rough
_EVALUATIONS = 32  # model evaluations of an update whose n_samples is not given
_READING = 40  # selections that a reading may measure; at most half of what `max_evals` leaves goes there,
_SOLVING = 40  # and at most a quarter where less than so many evaluations would be left
_FOR_A_REFERENCE = 70  # of `max_evals`, for measuring sets with one reference more
MOST_REFERENCES = 5  # with which sets are measured


@dataclass(frozen=True)
class Effort:
    """How long a solve works, how much it puts into one call, its seed, and how often it is run."""

    n_steps: int | None
    n_samples: int | None
    perturbations_per_eval: int | None
    internal_batch_size: int | None
    seed: int
    n_restarts: int = 1
    max_evals: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None and name not in ("seed", "n_restarts"):
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or (value < 1 and name != "seed"):
                raise ArgumentError(
                    name,
                    expected="a whole number" if name == "seed" else "a whole number of at least 1",
                    found=repr(value),
                    mend="Leave it out for the default.",
                )

    @property
    def evals_of_a_solve(self) -> int | None:
        """Model rows for each example and restart; None for any number."""
        return None if self.max_evals is None else self.max_evals // self.n_restarts

    def references(self, n: int) -> int:
        """With how many of n references sets are measured: few where `max_evals` would not do for more."""
        few = MOST_REFERENCES if self.evals_of_a_solve is None else self.evals_of_a_solve // _FOR_A_REFERENCE
        return min(n, MOST_REFERENCES, max(1, few))

    def planned(self, n_views: int, references: int, evidence: int) -> tuple[int, int]:
        """Updates of a solve, and gate samples of each, so that solve and reading keep to `max_evals`.

        Args:
            n_views: model rows that a sample takes.
            references: model rows that measuring a selection takes.
            evidence: model rows that the evidence takes.

        Raises:
            ArgumentError: `max_evals` is less than the least that is possible.
        """
        n_steps, n_samples = self.n_steps or _STEPS, self.n_samples or max(1, _EVALUATIONS // n_views)
        if self.evals_of_a_solve is None:
            return n_steps, n_samples
        fixed = 1 + references + evidence  # the input and its references are run first
        left = self.evals_of_a_solve - fixed
        if left < n_views:
            raise ArgumentError(
                "max_evals",
                expected=f"at least {self.n_restarts * (fixed + n_views)}",
                found=str(self.max_evals),
                mend=f"That is 1 for the input, {references} for the baseline, {n_views} for one sample"
                + (f", {evidence} for the evidence that explain measures" if evidence else "")
                + (", for each restart." if self.n_restarts > 1 else "."),
            )
        share = max(left // 4, min(left // 2, left - _SOLVING))
        samples = max(1, (left - min(share, _READING * references)) // n_views)
        if self.n_samples is None:
            small = max(1, min(_STEPS, samples // _LEAST_SAMPLES))
            steps = min(self.n_steps or max(small, round(samples / n_samples)), samples)
            return steps, samples // steps
        n_samples = min(n_samples, samples)
        steps = samples // n_samples
        return steps if self.n_steps is None else min(steps, self.n_steps), n_samples


@dataclass(frozen=True)
class Gaps:
    """Where a tuple of inputs holds None: solves leave these places out, the model is given them."""

    present: tuple[bool, ...]

    @classmethod
    def of(cls, inputs: Any) -> Gaps:
        """From inputs as the user gave them."""
        return cls(tuple(x is not None for x in inputs) if isinstance(inputs, tuple) else (True,))

    def without(self, values: Any) -> Any:
        """A tuple with one entry per input, less those at gaps; other things as they are."""
        if not isinstance(values, tuple) or len(values) != len(self.present):
            return values
        return tuple(value for value, is_there in zip(values, self.present, strict=True) if is_there)

    def restored(self, attributions: Inputs) -> Inputs:
        """A tuple with None at the gaps again."""
        if not isinstance(attributions, tuple):
            return attributions
        parts = iter(attributions)
        restored: tuple[Any, ...] = tuple(next(parts) if is_there else None for is_there in self.present)
        return restored

    def filled(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The model as a function of the inputs that are there."""
        return forward if all(self.present) else _Filled(forward, self.present)


class _Filled:
    def __init__(self, forward: Callable[..., Any], present: tuple[bool, ...]) -> None:
        self.__wrapped__ = forward  # where functools.wraps would say it
        self._present = present

    def __call__(self, *values: Any) -> Any:
        given = iter(values)
        inputs = [next(given) if is_there else None for is_there in self._present]
        return self.__wrapped__(*inputs, *given)


def checked_inputs(inputs: Inputs) -> tuple[Tensor, ...]:
    """The inputs as a tuple.

    Raises:
        ArgumentError: they are no tensors, have no or different numbers of rows, or hold NaN or inf.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(given, tuple) or not given or not all(isinstance(x, Tensor) for x in given):
        found = type(inputs).__name__ if not isinstance(inputs, tuple) else [type(x).__name__ for x in inputs]
        raise ArgumentError(
            "inputs",
            expected="a tensor or a tuple of tensors",
            found=str(found),
            mend="Convert arrays with torch.as_tensor(...), and lists to a tuple of tensors.",
        )
    for i, x in enumerate(given):
        if unusual(x):
            raise ArgumentError(
                f"input {i}",
                expected="a dense tensor with values",
                found=str(unusual(x)),
                mend="Convert it, for example with .to_dense() or .float().",
            )
    sizes = [x.shape[0] if x.dim() else 0 for x in given]
    if len(set(sizes)) > 1:
        raise ArgumentError(
            "inputs",
            expected="the same number of examples in the first dimension of every input",
            found=f"{sizes}",
            mend="Pass what is not one row per example through additional_forward_args.",
        )
    if sizes[0] == 0 or sum(x.numel() for x in given) == 0:
        raise ArgumentError(
            "inputs",
            expected="at least one example, [batch, ...]",
            found=f"shapes {[tuple(x.shape) for x in given]}",
            mend="Add a batch dimension with x.unsqueeze(0).",
        )
    for i, x in enumerate(given):
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise ArgumentError(
                f"input {i}",
                expected="finite numbers",
                found="NaN or inf",
                mend="Fill gaps first, for example with torch.nan_to_num.",
            )
    return given
