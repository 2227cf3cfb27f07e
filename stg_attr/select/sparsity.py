"""Sparsity: at which budgets the gates are learned, and at which budget they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_number, check_share

from .claims import Claim, OnAverage
from .search import SetSearch

__all__ = ["Budget", "FixedWeight", "Sparsity", "Sweep"]

_GOLDEN = 0.6180339887498949  # the fractional part of the golden ratio
_WEIGHT = "0.01 asks every open gate for one percent of the score."
_SHARE = "Give a share, not a count."


class Sparsity(ABC):
    """Where on the scale from all gates closed to all gates open a solve looks."""

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
            Expected fraction of open gates of each sample, float64 [n]; NaN where the gates stay at
            their own level, which must not depend on `start`.
        """

    @abstractmethod
    def n_open(self, search: SetSearch) -> Tensor:
        """How many gates are reported as open, long [batch]."""


@dataclass(frozen=True)
class FixedWeight(Sparsity):
    """A gate stays open when it is worth more than `reg_weight` of the score.

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
    """A fixed expected fraction of open gates.

    Every other sample is taken at another budget, spread over (0, 1), so that the gates that are mostly
    closed are ranked too.

    Args:
        fraction: in (0, 1]; at least one gate is reported.

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
    """All budgets in one solve; read at the smallest budget that suffices.

    A share of the samples is taken at budgets spread over (0, 1), by a golden-ratio sequence. For
    those, all parameters of an example are shifted together until the mean active probability is the
    budget, and their gradient is centred over the gates. The other samples are taken at the gates' own
    level, where every open gate costs `reg_weight`.

    Args:
        retain: share of the output that the reported features keep on their own (or, with `Delete`, take away
            with them), in (0, 1].
        share: share of the samples at random budgets, in (0, 1].
        reg_weight: price of an open gate at the gates' own level, at least 0.
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
        turn = torch.floor((sample + 1) * self.share)
        budget = (start + turn * _GOLDEN) % 1
        return torch.where(turn > torch.floor(sample * self.share), budget, torch.nan)

    def n_open(self, search: SetSearch) -> Tensor:
        return search.smallest_sufficient(self.retain)
