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
    """Binary (hard) concrete gates over the elements of an input: a drop-in for captum's module.

        s = sigmoid((logit(u) + log_alpha) / T),  z = clamp(s (hi - lo) + lo, 0, 1),  u ~ U(eps, 1 - eps)

    Learning Sparse Neural Networks through L0 Regularization (Louizos, Welling, Kingma, 2017),
    https://arxiv.org/abs/1712.01312. Eval mode takes s = sigmoid(log_alpha), without T and noise.

    Args:
        n_gates: number of gates, 1 or more.
        mask: ids from 0 to n_gates - 1, each of them used, that name the gate of each element: integers,
            broadcastable to the input, so [...] or [1 or batch, ...]. None gives each element its own.
        reg_weight: weight of the regulariser.
        temperature: T, in (0, 1); the smaller, the nearer to a coin. Assign to it to anneal.
        lower_bound: lo < 0, where the stretched interval begins.
        upper_bound: hi > 1, where it ends.
        eps: distance that the uniform noise u keeps from 0 and 1, in (0, 0.5).
        reg_reduction: what becomes of the active probabilities: "sum", "mean" or "none".
        baseline: what closed gates show: a number, or a tensor broadcastable to the input.

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
        """Gates that start from a copy of `log_alpha_param`, [gates]; the rest as in the constructor."""
        n_gates = checked_length(log_alpha_param, "log_alpha_param")
        concrete = (temperature, lower_bound, upper_bound, eps)
        gates = cls(n_gates, mask, reg_weight, *concrete, reg_reduction, baseline=baseline)
        gates._load(log_alpha_param)
        return gates

    _from_pretrained = from_pretrained  # captum's name for it

    def _distribution(self) -> BinaryConcrete:
        check_share("temperature", self.temperature, one=False, mend="2/3 is the usual choice.")
        return BinaryConcrete(self.temperature, self.lower_bound, self.upper_bound)

    def _parameter(self) -> Tensor:
        return self.log_alpha_param

    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        u = self.eps + (1 - 2 * self.eps) * uniform(n_rows, self.log_alpha_param, generator)
        return self._distribution().sample(widened(self.log_alpha_param), u)


# torch.fx cannot trace the branches on shapes and dtypes in these functions, so it records each as one call.
# It looks a name up in the file that calls it, so each file wraps the names that it uses.
for _name in ("widened", "uniform"):
    torch.fx.wrap(_name)
