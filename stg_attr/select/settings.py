"""The numbers that decide how sets of features are searched, and how they are certified."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CertificateSettings", "SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """How a set of features is searched along a ranking, and how much may be measured for it.

    Attributes:
        prefix_points: set sizes that are measured in one round of the search for the smallest sufficient
            prefix.
        value_points: the same in the search for the best value after a price for each feature.
        largest_pruned: features of the largest set whose members are tried for removal; larger sets would
            cost too many evaluations.
        smaller_prefixes: much smaller sets that are measured where the shortest sufficient prefix is larger
            than that.
        groups: parts of such a set that are tried for removal.
        removed_together: members of a set that are tried for removal together, at most.
        ordered_singly: members of a set that are put in order one by one; those that are missed less leave in
            one round.
        same: share of the output by which two features must differ to count as different.
        next_features: features outside a set that are put in order by what they add, at most.
        least_gain: share of the output that such a feature must add; gains are compared in steps of this
            size.
        most_swaps: candidate swaps that are measured for each example, at most, for each view and reference.
        evaluations_per_swap: evaluations that the solve must have spent for each of these swaps.
        largest_further_set: size that a further sufficient set may have, as a multiple of the size of the
            first.
        tries_per_set: searches for each further set that is asked for.
    """

    prefix_points: int = 3
    value_points: int = 12
    largest_pruned: int = 12
    smaller_prefixes: int = 4
    groups: int = 4
    removed_together: int = 4
    ordered_singly: int = 6
    same: float = 1e-3
    next_features: int = 6
    least_gain: float = 0.02
    most_swaps: int = 24
    evaluations_per_swap: int = 8
    largest_further_set: float = 2
    tries_per_set: int = 8


@dataclass(frozen=True)
class CertificateSettings:
    """How a set is tested on references that neither the solve nor the search has seen.

    Attributes:
        held_out: share of the references that are kept for the test, at most,
        most_rows: and their number, at most.
        trial_rows: other references on which the set that is tested first is chosen,
        scale_rows: references on which the spread of the scores is measured, beside these, where a share is
            in units of it and not of the scores of the same references,
        trial_margin: by the share that it keeps beyond what is claimed.
        most_tried: features by which that set has grown beyond the one of the search, that are tried for
            removal.
        growth: share of the size of a set by which it grows where a test fails,
        steps: times these numbers, one after the other.
        weights: of the probability of a wrong claim: what is spent on the test of each of these sets,
        span_weight: and on the test that the input scores differently from the references at all.
        span_floor: the smallest value that counts in that test, in differences between input and baseline.
        batch: references between two looks at a test.
        first_look: references before a set is given up.
        tail: standard deviations below the mean, on the trial references, from which on margins count as the
            same.
        most_evaluations: evaluations of an example for all of this, at most.
        prior_rows: made-up first rows of a test, which set its first bets,
        prior_mean: the mean of their margins,
        prior_sd: and its standard deviation.
        largest_bet: share of the wealth that may be lost with a single reference.
        grid_step: distance of the values among which a lower bound is looked for.
    """

    held_out: float = 0.8
    most_rows: int = 200
    trial_rows: int = 12
    scale_rows: int = 40
    trial_margin: float = 0.05
    most_tried: int = 6
    growth: float = 0.08
    steps: tuple[int, ...] = (1, 1, 2, 4)
    weights: tuple[float, ...] = (0.4, 0.2, 0.1, 0.1, 0.1)
    span_weight: float = 0.1
    span_floor: float = -4.0
    batch: int = 8
    first_look: int = 12
    tail: float = 4.0
    most_evaluations: int = 500
    prior_rows: int = 4
    prior_mean: float = 0.05
    prior_sd: float = 0.1
    largest_bet: float = 0.95
    grid_step: float = 0.01
