"""The numbers that decide what a report measures and shows."""

from __future__ import annotations

from dataclasses import dataclass

from stg_attr.errors import check_count, check_number, check_share

__all__ = ["ReportSettings"]


@dataclass(frozen=True)
class ReportSettings:
    """The numbers that decide what a report measures and shows.

    Attributes:
        confidence: of all intervals, in (0, 1).
        seed: of the samples that are drawn.
        sample: rows that are explained or measured again, where the explainer is given.
        n_seeds: seeds with which each of these rows is explained, at least 2.
        noise: standard deviation of the noise that is added to them, in standard deviations of each column.
        fresh: fresh reference rows that coverage is measured on, at most.
        shared: rows that shared gates are learned from and tested on, at most.
        compared: rows that each row is compared with, to say how typical it is.
        listed: typical and untypical rows, and rows without a certificate, that are shown by name.
        features: features in a figure, at most; the files have all of them.
        values: a column with at most so many values is a cohort for each value; numbers beyond are cut.
        parts: cohorts into which a column of numbers is cut, each with the same share of the rows.
        least: a cohort with fewer rows is shown without a comparison.
        bins: parts of the range of a feature in which its contribution is averaged.

    Raises:
        ArgumentError: a number is outside its range.
    """

    confidence: float = 0.95
    seed: int = 0
    sample: int = 200
    n_seeds: int = 3
    noise: float = 0.02
    fresh: int = 500
    shared: int = 4000
    compared: int = 1000
    listed: int = 8
    features: int = 12
    values: int = 8
    parts: int = 4
    least: int = 30
    bins: int = 5

    def __post_init__(self) -> None:
        mend = "Leave it out for the default."
        check_share("confidence", self.confidence, one=False, mend="0.95 is usual.")
        check_number("noise", self.noise, least=0, mend=mend)
        check_count("n_seeds", self.n_seeds, least=2, mend=mend)
        counts = ("sample", "fresh", "shared", "compared", "listed", "features", "values", "parts", "least")
        for name in (*counts, "bins"):
            check_count(name, getattr(self, name), mend=mend)
