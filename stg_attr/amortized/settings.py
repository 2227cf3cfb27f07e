"""The numbers that decide how a net learns to propose gates, and when a proposal is taken."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AmortizedSettings"]


@dataclass(frozen=True)
class AmortizedSettings:
    """How a net learns gates, and when its proposal is taken without a solve.

    Attributes:
        width: units of the hidden layers of the default net.
        heads: of a block of the default net for tokens.
        blocks: of the default net for tokens.
        ids: token ids are taken modulo this number.
        spread: the standard deviation of the proposed parameters of a row stays below it. Where they differ
            by much more, all samples at a budget have the same gates, and nothing is learned.
        learning_rate: of Adam; it falls to 0 along a cosine.
        batch: rows of an update.
        samples: gate samples of each row in an update, where the model has slopes.
        samples_without_slopes: the same where it has none.
        references: references of each row on which the unit of its loss is measured in an update.
        held_out: rows that are kept for the held-out loss, at most, and a fifth of the rows at most.
        patience: passes without a lower held-out loss after which training ends.
        most_measured: sets that are measured for a row, at most.
        failures: so many sets of a feature less than the smallest sufficient one may fail before a row is
            done.
        dropped: the largest share of a sufficient set that is dropped at once.
        trusted: share of what features add by their slopes that is counted on where several are added.
        newest: weight of the slopes at the set that was measured last; earlier ones have the rest.
        proposed: what a unit of a proposed parameter counts for, as a share of the output, where features are
            added to a set.
        slopes: gate values at which a default net is given the slopes of the score in the gates, for models
            that have them: all gates open, then halves of it. Each costs an evaluation of a row.
        largest: a proposed set may have this many times the features that the rows of the held-out loss need
            on average; a row with a larger one is solved.
        weight_of_start: how many updates of a solve the proposal counts for, where it is the start of one.
    """

    width: int = 256
    heads: int = 4
    blocks: int = 2
    ids: int = 4096
    spread: float = 2.0
    learning_rate: float = 3e-3
    batch: int = 32
    samples: int = 2
    samples_without_slopes: int = 8
    references: int = 2
    held_out: int = 256
    patience: int = 10
    most_measured: int = 8
    failures: int = 2
    dropped: float = 0.5
    trusted: float = 0.5
    newest: float = 0.75
    proposed: float = 0.05
    slopes: int = 1
    largest: float = 2.0
    weight_of_start: int = 4
