"""Coins: gates that the model has no slopes in are 0 or 1, in the same samples as the other gates."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.gates import GateDistribution

from .estimators import Estimate, LossFunction, finite
from .score_function import ControlVariate, ScoreFunction

__all__ = ["Coins"]


@dataclass
class Coins(Batch):
    """The pathwise gradient for most gates, and the score function for those without slopes.

    A gate without slopes is open, 1, where its sample is above 0, so with its active probability p, and
    closed, 0, elsewhere. The model sees its feature either as it is or as the baseline. Its gradient comes
    from the losses of these samples, as in `ScoreFunction`; the control variate is fitted to all gates.

    Attributes:
        blind: gates without slopes, bool [batch, gates].
        coins: the state of the score function.
    """

    blind: Tensor = field(metadata=per_example())
    coins: ControlVariate = field(metadata=per_example())
    samples_alone = False  # a sample is compared with the other samples of its step

    @classmethod
    def begin(cls, exists: Tensor, blind: Tensor) -> Coins:
        """The state at the start, for the gates that exist and those without slopes, bool [batch, gates]."""
        return cls(blind, ScoreFunction().begin(exists.expand_as(blind)))

    def estimate(
        self, gates: GateDistribution, parameter: Tensor, uniform: Tensor, loss_of: LossFunction
    ) -> Estimate:
        """One estimate from every sample; see `Estimator.estimate`."""
        z, dz = gates.sample_with_slope(parameter, uniform)
        z = torch.where(self.blind, (z > 0).to(z.dtype), z)
        loss, slope = loss_of.with_slope(z)
        slope = finite(slope, loss)
        p = gates.active_probability(parameter)
        by_odds, found = self.coins.learned(p, z, loss)
        # d logit(p) / da is 1 where p is a sigmoid of the parameter, as in most distributions
        odds = gates.openness(parameter) / (p * (1 - p)).clamp_min(torch.finfo(p.dtype).tiny)
        gradient = torch.where(self.blind, by_odds * odds, slope * dz)
        return Estimate(gradient, torch.where(self.blind, found, slope), loss)
