"""A layer of binary (hard) concrete gates."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from stg_attr.distributions import BinaryConcrete
from stg_attr.errors import ArgumentError, check_share

from .checks import checked_length
from .gate_module import GateModule
from .noise import uniform, widened

__all__ = ["BinaryConcreteStochasticGates"]


@final
class BinaryConcreteStochasticGates(GateModule):
    """A layer of binary (hard) concrete gates, which can replace captum's module of this name.

        s = sigmoid((logit(u) + log_alpha) / T),  z = clamp(s (hi - lo) + lo, 0, 1),  u ~ U(eps, 1 - eps)

    Learning Sparse Neural Networks through L0 Regularization (Louizos, Welling, Kingma, 2017),
    https://arxiv.org/abs/1712.01312. In eval mode s = sigmoid(log_alpha), without T and noise.

    Args:
        n_gates: number of gates, 1 or more.
        mask: the gate of each element, as integers from 0 to n_gates - 1, each of which must occur. The
            shape broadcasts to the input: [...] or [1 or batch, ...]. None gives each element its own gate.
        reg_weight: weight of the regulariser.
        temperature: T, in (0, 1); with a smaller T more gate values are near 0 or 1. You may assign another
            value during training.
        lower_bound: lo < 0, the lower end of the stretched interval.
        upper_bound: hi > 1, its upper end.
        eps: least distance of the uniform noise u from 0 and 1, in (0, 0.5).
        reg_reduction: how the active probabilities of the gates are combined: "sum", "mean" or "none".
        baseline: what closed gates show: a number, or a tensor that broadcasts to the input.

    Attributes:
        log_alpha_param: the trained parameter, [gates]; starts near 0, where a gate is open with
            probability 0.83.

    Raises:
        ArgumentError: a setting is outside its range, or the mask is not as described.

    Example:
        >>> log_alpha = torch.tensor([9.0, -9.0])
        >>> gates = BinaryConcreteStochasticGates.from_pretrained(log_alpha, mask=torch.tensor([0, 0, 1]))
        >>> gated, regularizer = gates.eval()(torch.tensor([[1.0, 2.0, 3.0]]))
        >>> gated.tolist(), round(regularizer.item(), 3)
        ([[1.0, 2.0, 0.0]], 1.001)
    """

    def __init__(
        self,
        n_gates: int,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        temperature: float = 2 / 3,
        lower_bound: float = -0.1,
        upper_bound: float = 1.1,
        eps: float = 1e-8,
        reg_reduction: str = "sum",
        *,
        baseline: Tensor | float = 0,
    ) -> None:
        super().__init__()
        self._configure(n_gates, mask, reg_weight, reg_reduction, baseline)
        if not 0 < eps < 0.5:
            mend = "1e-8 is the usual choice."
            raise ArgumentError("eps", expected="a number in (0, 0.5)", found=f"{eps}", mend=mend)
        self.temperature, self.eps = temperature, eps
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self._distribution()  # checks these settings
        # the initial values of captum's module: one seed starts both at the same parameters
        self.log_alpha_param = nn.Parameter(nn.init.normal_(torch.empty(n_gates), mean=0.0, std=0.01))

    @classmethod
    def from_pretrained(
        cls,
        log_alpha_param: Tensor,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        temperature: float = 2 / 3,
        lower_bound: float = -0.1,
        upper_bound: float = 1.1,
        eps: float = 1e-8,
        reg_reduction: str = "sum",
        *,
        baseline: Tensor | float = 0,
    ) -> BinaryConcreteStochasticGates:
        """Make a module that starts from a copy of `log_alpha_param`, [gates].

        The other arguments are those of the constructor.
        """
        n_gates = checked_length(log_alpha_param, "log_alpha_param")
        concrete = (temperature, lower_bound, upper_bound, eps)
        gates = cls(n_gates, mask, reg_weight, *concrete, reg_reduction, baseline=baseline)
        gates._load(log_alpha_param)
        return gates

    _from_pretrained = from_pretrained  # captum's name of this method

    def _distribution(self) -> BinaryConcrete:
        check_share("temperature", self.temperature, one=False, mend="2/3 is the usual choice.")
        return BinaryConcrete(self.temperature, self.lower_bound, self.upper_bound)

    def _parameter(self) -> Tensor:
        return self.log_alpha_param

    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        u = self.eps + (1 - 2 * self.eps) * uniform(n_rows, self.log_alpha_param, generator)
        return self._distribution().sample(widened(self.log_alpha_param), u)


# torch.fx cannot follow branches on shapes and dtypes. torch.fx.wrap tells it to record a call of these
# functions instead. It replaces a name only in the file that registers it, so each file wraps its own.
for _name in ("widened", "uniform"):
    torch.fx.wrap(_name)
