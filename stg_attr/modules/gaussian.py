"""A layer of Gaussian gates."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from stg_attr.distributions import Gaussian

from .checks import checked_length
from .gate_module import GateModule
from .noise import normal, widened

__all__ = ["GaussianStochasticGates"]


@final
class GaussianStochasticGates(GateModule):
    """A layer of Gaussian gates, which can replace captum's module of this name.

        z = clamp(mu + std * n, 0, 1),  n ~ N(0, 1)

    Feature Selection using Stochastic Gates (Yamada, Lindenbaum, Negahban, Kluger, 2020),
    https://arxiv.org/abs/1810.04247. In eval mode n = 0.

    Args:
        n_gates, mask, reg_weight, reg_reduction, baseline: as for `BinaryConcreteStochasticGates`.
        std: standard deviation of the noise, above 0.

    Attributes:
        mu: the trained parameter, [gates]; starts near 0.5, where a gate is open with probability 0.84.

    Raises:
        ArgumentError: a setting is outside its range, or the mask is not as described.

    Example:
        >>> gates = GaussianStochasticGates.from_pretrained(torch.tensor([1.5, -0.5, 0.5]), baseline=9.0)
        >>> gated, regularizer = gates.eval()(torch.ones(1, 3))
        >>> gated.tolist(), round(regularizer.item(), 3)
        ([[1.0, 9.0, 5.0]], 1.999)
    """

    def __init__(
        self,
        n_gates: int,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        std: float = 0.5,
        reg_reduction: str = "sum",
        *,
        baseline: Tensor | float = 0,
    ) -> None:
        super().__init__()
        self._configure(n_gates, mask, reg_weight, reg_reduction, baseline)
        self.std = std
        self._distribution()  # checks the setting
        # the initial values of captum's module: one seed starts both at the same parameters
        self.mu = nn.Parameter(nn.init.normal_(torch.empty(n_gates), mean=0.5, std=0.01))

    @classmethod
    def from_pretrained(
        cls,
        mu: Tensor,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        std: float = 0.5,
        reg_reduction: str = "sum",
        *,
        baseline: Tensor | float = 0,
    ) -> GaussianStochasticGates:
        """Make a module that starts from a copy of `mu`, [gates].

        The other arguments are those of the constructor.
        """
        n_gates = checked_length(mu, "mu")
        gates = cls(n_gates, mask, reg_weight, std, reg_reduction, baseline=baseline)
        gates._load(mu)
        return gates

    _from_pretrained = from_pretrained  # captum's name of this method

    def _distribution(self) -> Gaussian:
        return Gaussian(self.std)

    def _parameter(self) -> Tensor:
        return self.mu

    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        # captum's module draws normal noise. Gaussian.sample, which transforms uniform noise, would give
        # the same distribution, but other numbers for one seed.
        return (widened(self.mu) + self.std * normal(n_rows, self.mu, generator)).clamp(0, 1)


# torch.fx cannot follow branches on shapes and dtypes. torch.fx.wrap tells it to record a call of these
# functions instead. It replaces a name only in the file that registers it, so each file wraps its own.
for _name in ("widened", "normal"):
    torch.fx.wrap(_name)
