"""Sparsity: the budgets at which the gates are learned, and the budget at which they are reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stg_attr.errors import check_number, check_share

__all__ = ["Budget", "FixedWeight", "Sparsity", "Sweep"]

# The fractional part of the golden ratio. Its multiples, modulo 1, fill (0, 1) evenly, whatever their number.
_GOLDEN = 0.6180339887498949
_WEIGHT = "0.01 asks every open gate for one percent of the score."
_SHARE = "Give a share, not a count."


class Family(Protocol):
    """The selections of solved examples: for every k, the k features that rank first."""

    @property
    def n_gates(self) -> Tensor:
        """Number of gates of each example, long [batch]."""

    def smallest_sufficient(self, retain: float) -> Tensor:
        """Find the smallest k whose first k features keep `retain` when the model is run; long [batch]."""

    def best_value(self, price: float) -> Tensor:
        """Find the k whose first k features keep most, less `price` for each of them; long [batch]."""


class Sparsity(ABC):
    """How many gates are open while they are learned, and how many are reported as open."""

    #: Price of an open gate, in units of the retained score.
    reg_weight: float

    @abstractmethod
    def budgets(self, first: int, n: int, start: float) -> Tensor:
        """Return the budgets of samples `first` to `first + n - 1` of a solve.

        Args:
            first: number of the first sample, counted from the start of the solve.
            n: number of samples.
            start: first element of a sequence of budgets, in [0, 1), from the seed.

        Returns:
            Expected fraction of open gates of each sample, float64 [n]; NaN for samples that are drawn at
            the learned parameters, without a shift. Which samples are NaN must not depend on `start`.
        """

    @abstractmethod
    def n_open(self, family: Family) -> Tensor:
        """Return how many gates are reported as open, long [batch]."""


@dataclass(frozen=True)
class FixedWeight(Sparsity):
    """A gate stays open if it adds more than `reg_weight` to the retained score.

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

    def n_open(self, family: Family) -> Tensor:
        return family.best_value(self.reg_weight)


@dataclass(frozen=True)
class Budget(Sparsity):
    """A fixed expected fraction of open gates.

    Every second sample uses another budget, from all over (0, 1). Otherwise gates that are closed in most
    samples would get no gradient, and would not be ranked.

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

    def n_open(self, family: Family) -> Tensor:
        return (self.fraction * family.n_gates).round().long().clamp_min(1)


@dataclass(frozen=True)
class Sweep(Sparsity):
    """Learn the gates at all budgets, and report the smallest set that suffices.

    A share of the samples is drawn at budgets from all over (0, 1). For such a sample, the same number is
    added to all parameters of an example, so that the mean active probability is the budget. The sample says
    nothing about the level of all gates together, so the mean over the gates is subtracted from its gradient.
    The other samples are drawn at the learned parameters, without a shift, and there every open gate costs
    `reg_weight`.

    Args:
        retain: share of the output that the reported features keep without the others (with `Delete`: that is
            lost when they are removed), in (0, 1].
        share: share of the samples that are drawn at such budgets, in (0, 1].
        reg_weight: price of an open gate in the other samples, at least 0.

    Raises:
        ArgumentError: a setting is outside its range.

    Example:
        >>> Sweep(share=0.5).budgets(0, 4, 0.0).isnan().tolist()
        [True, False, True, False]
    """

    retain: float = 0.9
    share: float = 0.5
    reg_weight: float = 0.001

    def __post_init__(self) -> None:
        check_share("retain", self.retain, mend=_SHARE)
        check_share("share", self.share, mend=_SHARE)
        check_number("reg_weight", self.reg_weight, least=0, mend=_WEIGHT)

    def budgets(self, first: int, n: int, start: float) -> Tensor:
        sample = torch.arange(first, first + n, dtype=torch.float64, device="cpu")
        # how many of the samples up to this one have a budget; it rises by 1 at each sample that has one
        turn = torch.floor((sample + 1) * self.share)
        budget = (start + turn * _GOLDEN) % 1
        return torch.where(turn > torch.floor(sample * self.share), budget, torch.nan)

    def n_open(self, family: Family) -> Tensor:
        return family.smallest_sufficient(self.retain)
