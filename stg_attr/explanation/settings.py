"""The numbers that decide a result, in one place: an explanation records them, and its file keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field

from stg_attr.errors import ArgumentError, check_count
from stg_attr.model import ProfileSettings
from stg_attr.select import CertificateSettings, SearchSettings
from stg_attr.solve import SolverSettings

__all__ = ["PlanSettings", "ReadingSettings", "Settings"]


@dataclass(frozen=True)
class PlanSettings:
    """How a number of evaluations is split between learning and measuring.

    Attributes:
        n_steps: updates where neither `n_steps` nor `max_evals` is given; a small `max_evals` is split into
            as many.
        evaluations_per_step: model evaluations of an update whose `n_samples` is not given.
        least_samples: samples of an update at least, if `max_evals` allows: fewer give too rough an update.
        measured_sets: largest number of selections that are measured for the evidence where `max_evals` is
            given. They take half of the evaluations at most.
        least_learning: they take less than half, down to a quarter, where fewer evaluations than this number
            would be left for learning.
        n_references: largest number of references on which sets are measured.
        evaluations_per_reference: one reference is used for each so many evaluations of `max_evals`.
    """

    n_steps: int = 12
    evaluations_per_step: int = 32
    least_samples: int = 3
    measured_sets: int = 40
    least_learning: int = 40
    n_references: int = 5
    evaluations_per_reference: int = 70


@dataclass(frozen=True)
class ReadingSettings:
    """What is measured for the evidence, and how it is judged.

    Attributes:
        curve_points: numbers of open gates, in geometric steps, at which a curve is measured.
        same_overlap: overlap (Jaccard) of two selections from which on they count as the same.
        redundant: retained share of what is not selected from which on the evidence counts as redundant.
        least_difference: the difference of the scores of input and baseline, as a share of the root mean
            square distance of the scores of masked inputs from that of the baseline. Below it, shares of the
            difference are not read as evidence: many sets have scores that happen to lie there.
        rounding: units in the last place by which two scores must differ to count as different.
        same_score: share of the difference between input and baselines by which a score may differ when it is
            measured again.
        averaged: number of shares of the output that `Explanation.averaged` is a mean over. What a share
            leaves out falls by equal factors from `most_missing` to `least_missing`.
        most_missing: see `averaged`.
        least_missing: see `averaged`.
    """

    curve_points: int = 12
    same_overlap: float = 0.8
    redundant: float = 0.9
    least_difference: float = 0.1
    rounding: int = 64
    same_score: float = 0.02
    averaged: int = 25
    most_missing: float = 0.5
    least_missing: float = 1e-4


@dataclass(frozen=True)
class Settings:
    """The numbers that decide a result. The defaults need no tuning; benchmarks may vary them.

    Attributes:
        plan: how evaluations are split.
        solver: how gates are learned.
        search: how sets of features are searched.
        certificate: how they are tested on fresh references.
        reading: what is measured, and how it is judged.
        profile: what contributions and influence cost.

    Example:
        >>> from dataclasses import replace
        >>> settings = Settings(search=SearchSettings(most_swaps=0))
        >>> replace(settings, plan=PlanSettings(n_references=32)).plan.n_references
        32
    """

    plan: PlanSettings = field(default_factory=PlanSettings)
    solver: SolverSettings = field(default_factory=SolverSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    certificate: CertificateSettings = field(default_factory=CertificateSettings)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)

    def __post_init__(self) -> None:
        for name, part in vars(self).items():
            kind = _KINDS[name]
            if not isinstance(part, kind):
                raise ArgumentError(
                    f"settings.{name}",
                    expected=f"an object of {kind.__name__}",
                    found=repr(part),
                    mend=f"For example Settings({name}={kind.__name__}()).",
                )
        for name in ("n_steps", "evaluations_per_step", "least_samples", "n_references"):
            check_count(f"settings.plan.{name}", getattr(self.plan, name), mend="Leave it at its default.")
        check_count(
            "settings.reading.curve_points", self.reading.curve_points, least=2, mend="12 is the default."
        )


_KINDS = {
    "plan": PlanSettings,
    "solver": SolverSettings,
    "search": SearchSettings,
    "certificate": CertificateSettings,
    "reading": ReadingSettings,
    "profile": ProfileSettings,
}
