"""Distributions of gates: they turn the parameter of a gate and random noise into a value in [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_number, is_number

__all__ = ["Bernoulli", "BinaryConcrete", "GateDistribution", "Gaussian"]


class GateDistribution(ABC):
    """The distribution of a gate value, with one real parameter per gate.

    A larger parameter means that the gate is open more often. The object holds only the settings. The
    methods take the parameters, of shape [batch, gates] or of any shape that broadcasts with the noise,
    [samples, batch, gates]. Write a subclass to try another distribution.
    """

    #: The parameter of every gate at the start of a solve.
    start: float = 0.0

    @abstractmethod
    def sample(self, parameter: Tensor, uniform: Tensor) -> Tensor:
        """Draw gate values in [0, 1].

        The noise is an argument, so the caller decides how it is drawn, and equal noise gives equal gates.

        Args:
            parameter: gate parameters, broadcastable with [samples, batch, gates].
            uniform: noise in (0, 1), [samples, batch, gates].

        Returns:
            Gate values, [samples, batch, gates].
        """

    def sample_with_slope(self, parameter: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gate values of `sample` and their derivatives dz/da, in the shapes of `sample`.

        This method differentiates `sample` by autograd. Override it if you have a formula, which is faster.
        """
        with torch.enable_grad():  # the caller may have turned gradients off
            # The zeros give each sample a parameter of its own, so each gets its own derivative.
            leaf = (parameter.detach() + torch.zeros_like(uniform)).requires_grad_()
            z = self.sample(leaf, uniform)
            (slope,) = torch.autograd.grad(z.sum(), leaf)
        return z.detach(), slope

    def openness(self, parameter: Tensor) -> Tensor:
        """Return the derivative of the active probability, in the shape of `parameter`.

        This method uses autograd, too. Override it if you have a formula.
        """
        with torch.enable_grad():
            leaf = parameter.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.active_probability(leaf).sum(), leaf)
        return slope

    @abstractmethod
    def active_probability(self, parameter: Tensor) -> Tensor:
        """Return P(z > 0), the probability that the gate is open, in the shape of `parameter`."""

    @abstractmethod
    def value(self, parameter: Tensor, clamp: bool = True) -> Tensor:
        """Return the gate value without noise, in the shape of `parameter`.

        This is not the mean of the samples.

        Args:
            parameter: gate parameters, any shape.
            clamp: whether values below 0 and above 1 are set to 0 and 1.
        """

    @abstractmethod
    def parameter_at(self, probability: Tensor) -> Tensor:
        """Return the parameter at which the active probability is `probability`, in (0, 1).

        It is the inverse of `active_probability`.
        """

    @property
    def half(self) -> float:
        """The parameter at which a gate is active with a probability of one half."""
        # double precision and the CPU, whatever the defaults of torch are
        return float(self.parameter_at(torch.tensor(0.5, dtype=torch.float64, device="cpu")))


@dataclass(frozen=True)
class BinaryConcrete(GateDistribution):
    r"""Hard concrete gates: a differentiable approximation of gates that are 0 or 1.

    A sigmoid of logistic noise is stretched from (0, 1) to (lo, hi) and clamped to [0, 1]. So a gate is
    exactly 0 or exactly 1 with positive probability, and has a derivative in between.

        s = sigmoid((logit(u) + a) / T),  z = clamp(s (hi - lo) + lo, 0, 1)
        P(z > 0) = sigmoid(a - T log(-lo / hi))

    Learning Sparse Neural Networks through L0 Regularization (Louizos, Welling, Kingma, 2017),
    https://arxiv.org/abs/1712.01312. The parameter `a` is called `log_alpha`.

    Args:
        temperature: T > 0; with a smaller T more of the values are near 0 or 1.
        lower_bound: lo < 0, the lower end of the stretched interval.
        upper_bound: hi > 1, its upper end.

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
        slope = torch.addcmul(s, s, s, value=-1).mul_(width)  # s (1 - s) in one operation
        # hardtanh_backward is the derivative of clamp: it sets the slope to 0 where the value was clamped.
        # It is one operation. A mask of two comparisons takes three, and this code runs at every step.
        return stretched.clamp(0, 1), torch.ops.aten.hardtanh_backward(slope, stretched, 0, 1)

    def openness(self, parameter: Tensor) -> Tensor:
        p = self.active_probability(parameter)  # a sigmoid, so its derivative is p (1 - p)
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
    r"""Gaussian gates: a normal variable with mean mu, clamped to [0, 1].

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
        return z, (z == free).to(z.dtype)  # the slope is 1 inside [0, 1], and 0 where the value was clamped

    def active_probability(self, parameter: Tensor) -> Tensor:
        # torch.special.ndtr computes 1 + erf(...). For a small mu both terms cancel: in single precision
        # the result is exactly 0 at mu = -3. erfc computes the same number without this loss of digits.
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
    r"""Bernoulli gates: every sample is exactly 0 or 1.

        z = 1[u < p],  p = P(z > 0) = sigmoid(a)

    A sample has no derivative in the parameter, so these gates need the score-function estimator.

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
