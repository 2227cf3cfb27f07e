"""Effort: how many updates and samples a solve takes, so that solve and reading keep to `max_evals`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Any, TypeVar

from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import PlanSettings, Settings
from stg_attr.model import looks

__all__ = ["Effort", "with_effort"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Effort:
    """What a call of `attribute` or `explain` may cost; see there for the fields."""

    n_steps: int | None = None
    n_samples: int | None = None
    perturbations_per_eval: int | None = None
    internal_batch_size: int | None = None
    max_evals: int | None = None
    seed: int = 0
    n_restarts: int = 1

    def __post_init__(self) -> None:
        mend = "Leave it out for the default."
        for name, value in vars(self).items():
            if name == "seed":
                check_count(name, value, least=None, mend=mend)
            elif value is not None or name == "n_restarts":
                check_count(name, value, mend=mend)

    @property
    def evals_of_a_solve(self) -> int | None:
        """Model rows for each example and restart; None for any number."""
        return None if self.max_evals is None else self.max_evals // self.n_restarts

    def references(self, settings: PlanSettings) -> int:
        """References on which sets are measured, at most: fewer where `max_evals` is small."""
        if self.evals_of_a_solve is None:
            return settings.n_references
        few = self.evals_of_a_solve // settings.evaluations_per_reference
        return min(settings.n_references, max(1, few))

    def with_profile(self, settings: Settings, others: int, with_curve: bool) -> Settings:
        """Limit what a profile costs to its share of what `max_evals` leaves; to nothing if that is little.

        Without a curve the profile is not returned, so all of `max_evals` is spent on the solve. Without a
        limit, it is measured for the examples in which it decides between two orders of the features.

        Args:
            settings: what it costs otherwise.
            others: model rows that are needed before it, but for that of the input.
            with_curve: whether the curve is measured, too.
        """
        if self.evals_of_a_solve is None:
            return settings
        profile, left = settings.profile, max(0, self.evals_of_a_solve - 1 - others)
        left = int(left * profile.share) if with_curve else 0
        left = left if left >= profile.least else 0
        n, forwards = min(profile.evaluations, left), min(profile.forwards, left)
        return replace(settings, profile=replace(profile, evaluations=n, forwards=forwards))

    def planned(
        self,
        n_views: int,
        references: int,
        evidence: int,
        checks: int,
        settings: PlanSettings,
        start: int = 0,
    ) -> tuple[int, int]:
        """Updates of a solve, and gate samples of each.

        Args:
            n_views: model rows that a sample takes.
            references: model rows that measuring a selection takes.
            evidence: model rows that the evidence takes.
            checks: model rows that the checks of the scores take.
            settings: how evaluations are split.
            start: model rows that the map takes from which a solve starts.

        Raises:
            ArgumentError: `max_evals` is less than the least that is possible.
        """
        n_steps = self.n_steps or settings.n_steps
        n_samples = self.n_samples or max(1, settings.evaluations_per_step // n_views)
        if self.evals_of_a_solve is None:
            return n_steps, n_samples
        # the input and its references are run first
        left = self.evals_of_a_solve - 1 - references - evidence - start
        if left < n_views + checks:
            raise self._too_few(n_views, references, evidence, checks, start)
        for_reading = max(left // 4, min(left // 2, left - settings.least_learning))
        for_reading = max(checks, min(for_reading, settings.measured_sets * references))
        samples = max(1, (left - for_reading) // n_views)
        if self.n_samples is None:
            small = max(1, min(settings.n_steps, samples // settings.least_samples))
            steps = min(self.n_steps or max(small, round(samples / n_samples)), samples)
            return steps, samples // steps
        n_samples = min(n_samples, samples)
        steps = samples // n_samples
        return steps if self.n_steps is None else min(steps, self.n_steps), n_samples

    def spares(self, n_steps: int, n_samples: int, n_views: int, references: int, rest: int) -> bool:
        """Whether a plan leaves evaluations to look for features without slopes, beside all others."""
        if self.evals_of_a_solve is None:
            return True
        others = 1 + references + looks(references) + rest
        return n_steps * n_samples * n_views + others <= self.evals_of_a_solve

    def _too_few(
        self, n_views: int, references: int, evidence: int, checks: int, start: int
    ) -> ArgumentError:
        least = self.n_restarts * (1 + references + evidence + n_views + checks + start)
        return ArgumentError(
            "max_evals",
            expected=f"at least {least}",
            found=str(self.max_evals),
            mend=f"That is 1 for the input, {references} for the baseline, {n_views} for one sample"
            + (f", {evidence} for the evidence that explain measures" if evidence else "")
            + (f", {checks} for scores that are measured again" if checks else "")
            + (f", {start} for the map that it starts from (start=0 does without)" if start else "")
            + (", for each restart." if self.n_restarts > 1 else "."),
        )


def with_effort(like: Callable[..., Any]) -> Callable[[F], F]:
    """Name the arguments of an `Effort` that a method takes as `**effort`, as another method names them.

    So help, completion and errors show `n_steps`, `max_evals` and the others, which are written once.

    Args:
        like: a method that has these arguments, with their types, defaults and places.
    """
    others = inspect.signature(like).parameters
    effort = {f.name for f in fields(Effort)}

    def decorate(method: F) -> F:
        own = inspect.signature(method)
        mine = {n: p for n, p in own.parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
        named = {n: mine.get(n, p) for n, p in others.items() if n in mine or n in effort}
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = own.replace(parameters=[p.replace(kind=kind) for p in (named | mine).values()])

        @wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            # a TypeError names the argument that is missing or unknown
            return method(**signature.bind(*args, **kwargs).arguments)

        checked.__signature__ = signature  # type: ignore[attr-defined]  # inspect looks for it
        return checked  # type: ignore[return-value]  # the same but for its signature

    return decorate
