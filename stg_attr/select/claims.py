"""Claims: what a certificate says about a set of features, for reference rows that the search did not use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from stg_attr.errors import check_share

__all__ = ["Claim", "OnAverage", "OnMost"]


@dataclass(frozen=True)
class Claim(ABC):
    """What is claimed of the selected features, over all rows that the reference rows are a sample of.

    Args:
        confidence: probability that no wrong claim is certified for an example, in (0, 1).

    Raises:
        ArgumentError: a setting is outside its range.
    """

    confidence: float = 0.95

    def __post_init__(self) -> None:
        check_share("confidence", self.confidence, one=False, mend="0.95 is usual.")

    @abstractmethod
    def target(self, retain: float) -> float:
        """What the mean over references must reach: of the share that is kept, or of how often it is."""

    @abstractmethod
    def sentence(self, retain: float, takes: bool = False) -> str:
        """The claim in words, after "The selected features".

        Args:
            retain: the share that is claimed.
            takes: it is about what removing them takes away, as with `Delete`.
        """


def _percent(share: float) -> str:
    return f"{100 * share:.6g}%"


@dataclass(frozen=True)
class OnAverage(Claim):
    """On average over the reference rows, at least `retain` of the score is kept.

    A row with a negative share counts as a share of 0, since a test of a mean needs a smallest value.

    Example:
        >>> OnAverage(confidence=0.99).sentence(0.9)
        'keep at least 90% of the score on average over the reference rows'
    """

    def target(self, retain: float) -> float:
        return retain

    def sentence(self, retain: float, takes: bool = False) -> str:
        verb = "take away" if takes else "keep"
        return f"{verb} at least {_percent(retain)} of the score on average over the reference rows"


@dataclass(frozen=True)
class OnMost(Claim):
    """For at least `share` of the reference rows, `retain` of the score is kept, or the class.

    Anchors: High-Precision Model-Agnostic Explanations (Ribeiro, Singh, Guestrin, 2018),
    https://doi.org/10.1609/aaai.v32i1.11491, calls that share precision, for the class.

    Args:
        confidence: probability that no wrong claim is certified for an example, in (0, 1).
        share: share of the reference rows, in (0, 1).
        same_class: the explained class stays the one with the highest output; `retain` plays no part then.

    Raises:
        ArgumentError: a setting is outside its range.

    Example:
        >>> OnMost(share=0.95, same_class=True).sentence(0.9)
        'keep the class with at least 95% of the reference rows'
    """

    share: float = 0.9
    same_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("share", self.share, one=False, mend="Give a share, not a count.")

    def target(self, retain: float) -> float:
        return self.share

    def sentence(self, retain: float, takes: bool = False) -> str:
        kept = "the class" if self.same_class else f"{_percent(retain)} of the score"
        verb = "take away" if takes else "keep"
        return f"{verb} {kept} with at least {_percent(self.share)} of the reference rows"
