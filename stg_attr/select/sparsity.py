"""Sparsity: the budgets at which gates are learned, and the number of features that are selected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_number, check_share

from .claims import Claim, OnAverage
from .search import SetSearch

__all__ = ["Budget", "FixedWeight", "Sparsity", "Sweep"]

# The fractional part of the golden ratio: its multiples, modulo 1, are spread evenly however many there are.
_GOLDEN = 0.6180339887498949
_WEIGHT = "0.01 asks every open gate for one percent of the score."
_SHARE = "Give a share, not a count."


class Sparsity(ABC):
    """The budgets (expected shares of open gates) at which gates are learned, and the size of the result."""

    #: Price of an open gate, in units of the retained score.
    reg_weight: float
    #: What is certified of the selected features; None where their number does not depend on what they keep.
    claim: Claim | None = None
    #: Share of the output that they keep, where that is claimed.
    retain: float = 0.9

    @abstractmethod
    def budgets(self, first: int, n: int, start: float) -> Tensor:
        """Budget of samples `first` to `first + n - 1` of a solve.

        Args:
            first: number of the first sample, counted from the start of the solve.
            n: number of samples.
            start: where a sequence of budgets begins, in [0, 1), from the seed.

        Returns:
            Expected fraction of open gates of each sample, float64 [n]; NaN for a sample whose parameters
            are not shifted. Which samples these are must not depend on `start`.
        """

    @abstractmethod
    def n_open(self, search: SetSearch) -> Tensor:
        """Number of features to select, long [batch]."""


@dataclass(frozen=True)
class FixedWeight(Sparsity):
    """Each open gate has a price; the top features that are worth most after their prices are selected.

        loss + reg_weight * sum_g P(z_g > 0)

    Args:
        reg_weight: price of an open gate in units of the retained score, at least 0.

    Raises:
        ArgumentError: `reg_weight` is negative.

    Example:
        >>> FixedWeight(0.01).budgets(0, 2, 0.5)
        tensor([nan, nan], dtype=torch.float64)
    """

    reg_weight: float = 0.01

    def __post_init__(self) -> None:
        check_number("reg_weight", self.reg_weight, least=0, mend=_WEIGHT)

    def budgets(self, first: int, n: int, start: float) -> Tensor:
        return torch.full((n,), torch.nan, dtype=torch.float64, device="cpu")

    def n_open(self, search: SetSearch) -> Tensor:
        return search.best_value(self.reg_weight)


@dataclass(frozen=True)
class Budget(Sparsity):
    """A fixed share of the features is selected.

    Half of the samples are drawn at this budget, the other half at budgets spread over (0, 1). At a small
    budget alone, most gates would hardly ever open, and their order would stay unknown.

    Args:
        fraction: in (0, 1]; at least one feature is selected.

    Raises:
        ArgumentError: `fraction` is outside (0, 1].

    Example:
        >>> Budget(0.25).budgets(0, 3, 0.5)[::2]
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """

    fraction: float = 0.1
    reg_weight = 0.0

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction, mend=_SHARE)

    def budgets(self, first: int, n: int, start: float) -> Tensor:
        spread = Sweep(share=0.5).budgets(first, n, start)
        return torch.where(spread.isnan(), self.fraction, spread)

    def n_open(self, search: SetSearch) -> Tensor:
        return (self.fraction * search.n_gates).round().long().clamp_min(1)


@dataclass(frozen=True)
class Sweep(Sparsity):
    """All budgets in one solve; the smallest set of features that suffices is selected.

    A share of the samples is drawn at budgets spread over (0, 1), by a golden-ratio sequence. For these, all
    parameters of an example are shifted by one number, so that the mean active probability is the budget, and
    the mean of their gradient over the gates is subtracted. For the other samples, parameters are not
    shifted, and each open gate costs `reg_weight`.

    Args:
        retain: share of the output that the selected features keep alone (or, with `Delete`, take away when
            they are removed), in (0, 1].
        share: share of the samples at such budgets, in (0, 1].
        reg_weight: price of an open gate where parameters are not shifted, at least 0.
        claim: what is certified of the selected features on fresh references; None for nothing.

    Raises:
        ArgumentError: a setting is outside its range.

    Example:
        >>> Sweep(share=0.5).budgets(0, 4, 0.0).isnan().tolist()
        [True, False, True, False]
    """

    retain: float = 0.9
    share: float = 0.5
    reg_weight: float = 0.001
    claim: Claim | None = OnAverage()

    def __post_init__(self) -> None:
        check_share("retain", self.retain, mend=_SHARE)
        check_share("share", self.share, mend=_SHARE)
        if self.claim is not None and not isinstance(self.claim, Claim):
            raise ArgumentError(
                "claim",
                expected="an instance of a subclass of Claim, or None",
                found=repr(self.claim),
                mend="Pass an object such as OnAverage() or OnMost(0.95), not a class or a name.",
            )
        check_number("reg_weight", self.reg_weight, least=0, mend=_WEIGHT)

    def budgets(self, first: int, n: int, start: float) -> Tensor:
        sample = torch.arange(first, first + n, dtype=torch.float64, device="cpu")
        # of the first n samples, floor(n * share) are drawn at a budget: those at which this number grows
        turn = torch.floor((sample + 1) * self.share)
        budget = (start + turn * _GOLDEN) % 1
        return torch.where(turn > torch.floor(sample * self.share), budget, torch.nan)

    def n_open(self, search: SetSearch) -> Tensor:
        return search.smallest_sufficient(self.retain)
