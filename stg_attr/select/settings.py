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
        smaller_prefixes: number of much smaller sets that are measured where the shortest sufficient prefix
            is larger than `largest_pruned`.
        groups: number of groups into which such a large set is cut; each group is tried for removal.
        removed_together: largest number of members that are tried for removal together.
        ordered_singly: number of members that are put in order one by one. The other members are put in
            order in one round.
        same: share of the output by which two features must differ to count as different.
        next_features: features outside a set that are put in order by what they add, at most.
        least_gain: share of the output that such a feature must add; gains are compared in steps of this
            size.
        most_swaps: candidate swaps that are measured for each example, at most, for each view and reference.
        evaluations_per_swap: evaluations that the solve must have spent for each of these swaps.
        few: number of features up to which more sets are tried, see `FewFeatures`; 0 for never.
        subsets: sets of one size that are measured there, at most.
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
    few: int = 0
    subsets: int = 300
    largest_further_set: float = 2
    tries_per_set: int = 8


@dataclass(frozen=True)
class CertificateSettings:
    """How a set is tested on references that neither the solve nor the search has seen.

    Attributes:
        held_out: largest share of the references that is kept for the test.
        most_rows: largest number of references that is kept for the test.
        trial_rows: number of further references, used to choose the set that is tested first.
        scale_rows: number of further references, used to measure the spread of the scores. Only objectives
            that measure a share in units of this spread need them.
        trial_margin: share of the output by which the set that is tested first must exceed the claim on the
            trial references.
        trial_deviations: the same in standard deviations of the margins; the smaller of the two counts.
        least_gain: share of the output by which a larger set must keep more on the trial references where
            neither of the two suffices.
        small: sets of more features than this number are compared with smaller sets of a second order.
        halvings: number of smaller sets that are tried there, each the geometric mean of the largest size
            that does not suffice and the smallest that does.
        most_tried: largest number of features that are tried for removal from the set that is tested first.
            Features that the search has selected are not tried.
        growth: where a test fails, the set grows by this share of its size,
        steps: times these factors, one for each further set.
        weights: parts of the allowed probability of a wrong claim, one for the test of each set.
        from_above: where it is above 0, sets are tested from all features down, and none after the first that
            is not certified, so that each test has all of this probability. A set has this share of the
            features that the one before has beyond those that are expected to suffice; below that, each has
            one feature fewer.
        span_floor: values below it may count as this value in the test that input and references score
            differently. The unit is the score difference of input and baseline. Where scores vary more than
            that, the limit is at `tail` standard deviations.
        batch: number of references that are measured between two looks at a test.
        first_look: number of references that are measured before a set can be given up.
        tail: margins more than so many standard deviations below the mean of the trial references count as
            if they were exactly so far below it; so do differences between input and references.
        most_evaluations: largest number of evaluations of an example for the certificate.
        prior_rows: number of assumed rows from which a test computes its first bets.
        prior_mean: mean of the margins of these rows.
        prior_sd: standard deviation of the margins of these rows.
        largest_bet: largest share of the wealth that a single reference may cost.
        grid_step: step between the values that are tried for the lower bound.
        least_divided: where a set of features is shared by all rows of a data set, fewer references than this
            number serve both for the search and for the test.
    """

    held_out: float = 0.8
    most_rows: int = 200
    trial_rows: int = 12
    scale_rows: int = 40
    trial_margin: float = 0.05
    trial_deviations: float = 0.5
    least_gain: float = 0.02
    small: int = 12
    halvings: int = 5
    most_tried: int = 6
    growth: float = 0.08
    steps: tuple[int, ...] = (1, 1, 2, 4)
    weights: tuple[float, ...] = (0.5, 0.2, 0.1, 0.1, 0.1)
    from_above: float = 0.0
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
    least_divided: int = 32

    @property
    def first_weight(self) -> float:
        """The part of the allowed probability of a wrong claim that the first test has."""
        return 1.0 if self.from_above else self.weights[0]
