"""Estimators: the gradient of an expected loss with respect to the parameters of the gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from stg_attr.gates import Bernoulli, BinaryConcrete, GateDistribution

__all__ = ["Estimate", "Estimator", "EstimatorState", "LossFunction", "Reparameterized"]


class LossFunction(Protocol):
    """The loss as a function of gate values; the model is differentiated only where slopes are asked for."""

    def __call__(self, gates: Tensor) -> Tensor:
        """Losses [samples, batch] of gate values [samples, batch, gates], without a gradient."""

    def with_slope(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, and their derivatives with respect to gate values, [samples, batch, gates].

        They are 0 where the model's output has no gradient.
        """


@dataclass(frozen=True)
class Estimate:
    """The gradient estimated from each sample of one step; all tensors are detached.

    Attributes:
        gradient: of the loss with respect to the parameter of each gate, [samples, batch, gates]; its mean
            over the samples is the estimate.
        slope: of the loss with respect to the value of each gate, [samples, batch, gates]; 0 where the model
            does not react to a gate.
        loss: [samples, batch].
    """

    gradient: Tensor
    slope: Tensor
    loss: Tensor


class EstimatorState(Protocol):
    """An estimator during one solve, with what it has learned from earlier steps."""

    @property
    def samples_alone(self) -> bool:
        """See `Estimator.samples_alone`."""

    def rows(self, rows: slice | Tensor) -> EstimatorState:
        """The state for some of the examples."""

    def estimate(
        self, gates: GateDistribution, parameter: Tensor, uniform: Tensor, loss_of: LossFunction
    ) -> Estimate:
        """One estimate from every sample; see `Estimator.estimate`."""


class Estimator(ABC):
    """How the gradient of an expected loss is estimated from samples of the gates.

    An estimator holds settings only. If it learns from step to step, `begin` makes a separate state for each
    solve; otherwise the estimator itself serves as the state.
    """

    #: Whether it differentiates the model, so that a slope of 0 proves that a gate changed nothing.
    proves_slopes: ClassVar[bool] = False
    #: Whether the estimate from a sample does not depend on the other samples, so that a step may be cut up.
    samples_alone: ClassVar[bool] = False

    @property
    @abstractmethod
    def gates(self) -> GateDistribution:
        """The distribution of gates that is used with it by default."""

    @abstractmethod
    def fits(self, gates: GateDistribution) -> bool:
        """Whether it can learn gates of this distribution."""

    def begin(self, exists: Tensor) -> EstimatorState:
        """The state of one solve; the estimator itself if it learns nothing from step to step.

        Args:
            exists: which gates there are, bool [1 or batch, gates].
        """
        return self

    def most_together(self, n_gates: int) -> int | None:
        """Examples that are solved together, at most, so that its state fits in memory; None for any number.

        Args:
            n_gates: gates of an example.
        """
        return None

    def rows(self, rows: slice | Tensor) -> EstimatorState:
        """The estimator itself, since it has learned nothing about single examples."""
        return self

    @abstractmethod
    def estimate(
        self,
        gates: GateDistribution,
        parameter: Tensor,
        uniform: Tensor,
        loss_of: LossFunction,
    ) -> Estimate:
        """One estimate from every sample.

        Args:
            gates: distribution of the gates.
            parameter: of each gate in each sample, [samples, batch, gates].
            uniform: noise in (0, 1), [samples, batch, gates].
            loss_of: the loss of gate values, with its slopes or without.
        """


@dataclass(frozen=True)
class Reparameterized(Estimator):
    """The pathwise gradient: through the model, and through the sample of the gate.

        dL/da = dL/dz * dz/da,  z = z(a, u)

    Auto-Encoding Variational Bayes (Kingma, Welling, 2013), https://arxiv.org/abs/1312.6114. The model
    must be differentiable; only gates get a gradient, parameters of the model do not.
    """

    proves_slopes = True
    samples_alone = True

    @property
    def gates(self) -> GateDistribution:
        return BinaryConcrete(temperature=1.3)

    def fits(self, gates: GateDistribution) -> bool:
        return not isinstance(gates, Bernoulli)

    def estimate(
        self,
        gates: GateDistribution,
        parameter: Tensor,
        uniform: Tensor,
        loss_of: LossFunction,
    ) -> Estimate:
        z, dz = gates.sample_with_slope(parameter, uniform)
        loss, slope = loss_of.with_slope(z)
        slope = finite(slope, loss)
        return Estimate(slope * dz, slope, loss)


def finite(slope: Tensor, loss: Tensor) -> Tensor:
    """Slopes [samples, batch, gates] of losses [samples, batch]; 0 where one of the two is not finite.

    A sample whose loss is not finite must not count. There, loss - loss is NaN and makes all slopes of the
    sample NaN, which become 0. An `if` would make the CPU wait for the GPU at every step.
    """
    return (slope + (loss - loss).unsqueeze(2)).nan_to_num_(0.0, 0.0, 0.0)
