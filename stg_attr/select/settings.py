"""The numbers that decide how sets of features are searched."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """How a set of features is searched along a ranking, and how much may be measured for it.

    Attributes:
        prefix_points: set sizes that are measured in one round of the search for the smallest sufficient
            prefix.
        value_points: the same in the search for the best value after a price for each feature.
        largest_pruned: features of the largest set whose members are tried for removal; larger sets would
            cost too many evaluations.
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
    removed_together: int = 4
    ordered_singly: int = 6
    same: float = 1e-3
    next_features: int = 6
    least_gain: float = 0.02
    most_swaps: int = 24
    evaluations_per_swap: int = 8
    largest_further_set: float = 2
    tries_per_set: int = 8
