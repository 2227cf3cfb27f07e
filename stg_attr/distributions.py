"""Gate distributions: how a gate's parameter and its noise become a value in [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_number, is_number

__all__ = ["Bernoulli", "BinaryConcrete", "GateDistribution", "Gaussian"]


class GateDistribution(ABC):
    """A family of gates, indexed by one real parameter per gate: the larger, the more often open.

    The object holds settings only; parameters of shape [batch, gates] (or anything that broadcasts
    with the noise, [samples, batch, gates]) go into the calls. Subclass it to try another gate.
    """

    #: The parameter at which a solve starts.
    start: float = 0.0

    @abstractmethod
    def sample(self, parameter: Tensor, uniform: Tensor) -> Tensor:
        """Gate values in [0, 1].

        Args:
            parameter: gate parameters, broadcastable with [samples, batch, gates].
            uniform: noise in (0, 1), [samples, batch, gates].

        Returns:
            Gate values, [samples, batch, gates].
        """

    def sample_with_slope(self, parameter: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Gate values as `sample` gives them, and their derivatives dz/da; shapes as for `sample`.

        Differentiates `sample`; override it where a formula is at hand.
        """
        with torch.enable_grad():
            leaf = (parameter.detach() + torch.zeros_like(uniform)).requires_grad_()
            z = self.sample(leaf, uniform)
            (slope,) = torch.autograd.grad(z.sum(), leaf)
        return z.detach(), slope

    def openness(self, parameter: Tensor) -> Tensor:
        """The derivative of the active probability, in the shape of `parameter`; override it as above."""
        with torch.enable_grad():
            leaf = parameter.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.active_probability(leaf).sum(), leaf)
        return slope

    @abstractmethod
    def active_probability(self, parameter: Tensor) -> Tensor:
        """P(z > 0), the probability that the gate is open, in the shape of `parameter`."""

    @abstractmethod
    def value(self, parameter: Tensor, clamp: bool = True) -> Tensor:
        """The noise-free gate value (not the mean of the samples), in the shape of `parameter`.

        Args:
            parameter: gate parameters, any shape.
            clamp: cut the value to [0, 1].
        """

    @abstractmethod
    def parameter_at(self, probability: Tensor) -> Tensor:
        """The parameter whose active probability is `probability`, in (0, 1): the inverse of it."""

    @property
    def half(self) -> float:
        """The parameter at which a gate is active as often as not; override it where a formula is at hand."""
        return float(self.parameter_at(torch.tensor(0.5, dtype=torch.float64, device="cpu")))


@dataclass(frozen=True)
class BinaryConcrete(GateDistribution):
    r"""Hard concrete gates: a stretched, cut, differentiable relaxation of a coin.

        s = sigmoid((logit(u) + a) / T),  z = clamp(s (hi - lo) + lo, 0, 1)
        P(z > 0) = sigmoid(a - T log(-lo / hi))

    Learning Sparse Neural Networks through L0 Regularization (Louizos, Welling, Kingma, 2017),
    https://arxiv.org/abs/1712.01312. The parameter `a` is called `log_alpha`.

    Args:
        temperature: T > 0; the smaller, the nearer to a coin.
        lower_bound: lo < 0, where the stretched interval begins.
        upper_bound: hi > 1, where it ends.

    Raises:
        ArgumentError: a setting is outside its range.

    Example:
        >>> gate = BinaryConcrete()
        >>> gate.active_probability(torch.tensor([-5.0, 0.0, 5.0])).round(decimals=3)
        tensor([0.0320, 0.8320, 0.9990])
    """

    temperature: float = 2 / 3
    lower_bound: float = -0.1
    upper_bound: float = 1.1
    start = 1.0

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, mend="2/3 is the usual choice.")
        numbers = is_number(self.lower_bound) and is_number(self.upper_bound)
        if not (numbers and self.lower_bound < 0 and self.upper_bound > 1):
            raise ArgumentError(
                "lower_bound and upper_bound",
                expected="lower_bound < 0 and upper_bound > 1, so that gates can close and open fully",
                found=f"{self.lower_bound!r} and {self.upper_bound!r}",
                mend="-0.1 and 1.1 are the usual choice.",
            )

    @property
    def _offset(self) -> float:
        return self.temperature * math.log(-self.lower_bound / self.upper_bound)

    def _stretch(self, s: Tensor) -> Tensor:
        return s * (self.upper_bound - self.lower_bound) + self.lower_bound

    def sample(self, parameter: Tensor, uniform: Tensor) -> Tensor:
        s = torch.sigmoid((torch.logit(uniform) + parameter) / self.temperature)
        return self._stretch(s).clamp(0, 1)

    def sample_with_slope(self, parameter: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid((torch.logit(uniform) + parameter) / self.temperature)
        stretched = self._stretch(s)
        width = (self.upper_bound - self.lower_bound) / self.temperature
        slope = torch.addcmul(s, s, s, value=-1).mul_(width)
        # the derivative of clamp in one operation; a mask takes three, and they are slow
        return stretched.clamp(0, 1), torch.ops.aten.hardtanh_backward(slope, stretched, 0, 1)

    def openness(self, parameter: Tensor) -> Tensor:
        p = self.active_probability(parameter)
        return torch.addcmul(p, p, p, value=-1)

    def active_probability(self, parameter: Tensor) -> Tensor:
        return torch.sigmoid(parameter - self._offset)

    def value(self, parameter: Tensor, clamp: bool = True) -> Tensor:
        stretched = self._stretch(torch.sigmoid(parameter))
        return stretched.clamp(0, 1) if clamp else stretched

    def parameter_at(self, probability: Tensor) -> Tensor:
        return torch.logit(probability) + self._offset

    @property
    def half(self) -> float:
        return self._offset


@dataclass(frozen=True)
class Gaussian(GateDistribution):
    r"""Gaussian gates: a shifted normal variable, cut to [0, 1].

        z = clamp(mu + std * eps, 0, 1),  eps ~ N(0, 1),  P(z > 0) = Phi(mu / std)

    Feature Selection using Stochastic Gates (Yamada, Lindenbaum, Negahban, Kluger, 2020),
    https://arxiv.org/abs/1810.04247. The parameter is called `mu`.

    Args:
        std: standard deviation of the noise, above 0.

    Raises:
        ArgumentError: `std` is not above 0.

    Example:
        >>> Gaussian().active_probability(torch.tensor([-0.5, 0.0, 0.5])).round(decimals=3)
        tensor([0.1590, 0.5000, 0.8410])
    """

    std: float = 0.5
    start = 0.75

    def __post_init__(self) -> None:
        check_number("std", self.std, mend="0.5 is the usual choice.")

    def sample(self, parameter: Tensor, uniform: Tensor) -> Tensor:
        z: Tensor = parameter + self.std * torch.special.ndtri(uniform)
        return z.clamp(0, 1)

    def sample_with_slope(self, parameter: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        free = parameter + self.std * torch.special.ndtri(uniform)
        z = free.clamp(0, 1)
        return z, (z == free).to(z.dtype)

    def active_probability(self, parameter: Tensor) -> Tensor:
        # erfc, since 1 + erf, which ndtr computes too, cancels to exactly 0 at mu = -3 in single precision
        return 0.5 * torch.erfc(-parameter / (self.std * math.sqrt(2)))

    def value(self, parameter: Tensor, clamp: bool = True) -> Tensor:
        return parameter.clamp(0, 1) if clamp else parameter.clone()

    def parameter_at(self, probability: Tensor) -> Tensor:
        parameter: Tensor = self.std * torch.special.ndtri(probability)
        return parameter

    @property
    def half(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Bernoulli(GateDistribution):
    r"""Coins: every sample is exactly 0 or 1.

        z = 1[u < p],  p = P(z > 0) = sigmoid(a)

    A sample carries no gradient, so these gates go with the score-function estimator.

    Example:
        >>> Bernoulli().sample(torch.zeros(3), torch.tensor([0.2, 0.4, 0.9]))
        tensor([1., 1., 0.])
    """

    def sample(self, parameter: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < self.active_probability(parameter)).to(uniform.dtype)

    def active_probability(self, parameter: Tensor) -> Tensor:
        return torch.sigmoid(parameter)

    def value(self, parameter: Tensor, clamp: bool = True) -> Tensor:
        return torch.sigmoid(parameter)

    def parameter_at(self, probability: Tensor) -> Tensor:
        return torch.logit(probability)

    @property
    def half(self) -> float:
        return 0.0
