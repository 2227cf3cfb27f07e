"""The two gate modules: layers that learn, during training, which of their inputs to keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError

from .distributions import BinaryConcrete, GateDistribution, Gaussian
from .module_checks import check_finite, checked_length, checked_mask, checked_rows

__all__ = ["BinaryConcreteStochasticGates", "GaussianStochasticGates"]


class GateModule(nn.Module, ABC):
    """What the gate modules share: all but the family of gates and its noise.

    Gates are computed in single precision at least, and the noise has the default dtype whatever the
    module's, so that one seed gives the same gates in every precision and half meets no infinite logit.
    """

    mask: Tensor | None
    baseline: Tensor | float
    n_gates: int
    reg_weight: float
    reg_reduction: str

    @abstractmethod
    def _distribution(self) -> GateDistribution:
        """The family of gates at the present settings, checked."""

    @abstractmethod
    def _parameter(self) -> Tensor:
        """The trained parameter, [gates]."""

    @abstractmethod
    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        """Gate values in [0, 1], drawn for every row by itself, [batch, gates]."""

    def forward(
        self, input_tensor: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Gate a batch: z x + (1 - z) b, with the baseline b.

        In training mode every row draws its own gate values z; in eval mode all rows share the
        noise-free ones of `get_gate_values`. A closed gate hides its input completely, NaN or not.

        Args:
            input_tensor: x, [batch, ...].
            generator: where the noise comes from, on the module's device; None is torch's global one.

        Returns:
            The gated input, in the shape and floating dtype of `input_tensor`, and the regulariser
            reg_weight * P(z > 0), [gates] for the reduction "none", else a scalar. Add it to the loss.

        Raises:
            ArgumentError: the input, mask and baseline do not fit each other in shape or device.
        """
        n_rows = checked_rows(input_tensor, self._parameter(), self.mask, self.baseline)
        if self.training:
            gates = self._sample(n_rows, generator)
        else:
            gates = self._distribution().value(_widened(self._parameter())).expand(n_rows, -1)
        return _gated(input_tensor, gates, self.mask, self.baseline), self._regularizer()

    def get_gate_values(self, clamp: bool = True) -> Tensor:
        """The noise-free value of each gate, as eval mode uses it; not the mean of the noisy ones.

        Args:
            clamp: cut the values to [0, 1]; without it gates beyond 0 and 1 can still be told apart.

        Returns:
            Gate values, [gates], a detached copy.
        """
        parameter = self._parameter().detach()
        return self._distribution().value(_widened(parameter), clamp).to(parameter.dtype)

    def get_gate_active_probs(self) -> Tensor:
        """P(z > 0), the probability that a noisy gate is open, [gates], a detached copy."""
        parameter = self._parameter().detach()
        return self._distribution().active_probability(_widened(parameter)).to(parameter.dtype)

    def _regularizer(self) -> Tensor:
        parameter = self._parameter()
        active = self._distribution().active_probability(_widened(parameter))
        if self.reg_reduction != "none":
            active = active.sum() if self.reg_reduction == "sum" else active.mean()
        return (self.reg_weight * active).to(parameter.dtype)

    def _configure(
        self,
        n_gates: int,
        mask: Tensor | None,
        reg_weight: float,
        reg_reduction: str,
        baseline: Tensor | float,
    ) -> None:
        """Check and keep the settings that do not depend on the family of gates."""
        if n_gates < 1:
            mend = "Pass the number of elements of one example, or of ids in the mask."
            raise ArgumentError("n_gates", expected="1 or more", found=f"{n_gates}", mend=mend)
        if reg_reduction not in ("none", "mean", "sum"):
            modes, mend = "'none', 'mean' or 'sum'", "'sum' is the usual choice."
            raise ArgumentError("reg_reduction", expected=modes, found=repr(reg_reduction), mend=mend)
        self.n_gates, self.reg_weight, self.reg_reduction = n_gates, reg_weight, reg_reduction
        self.register_buffer("mask", None if mask is None else checked_mask(mask, n_gates))
        check_finite(baseline)
        if isinstance(baseline, Tensor):  # not in the state dict: captum's has no such key
            self.register_buffer("baseline", baseline.detach().clone(), persistent=False)
        else:
            self.baseline = baseline

    def _load(self, parameter: Tensor) -> None:
        """Take over a pretrained parameter with its device and, if floating, its dtype."""
        with torch.no_grad():
            self._parameter().copy_(parameter)
        self.to(parameter.device, parameter.dtype if parameter.is_floating_point() else None)


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
        if not 0 < self.temperature < 1:
            found, mend = f"{self.temperature}", "2/3 is the usual choice."
            raise ArgumentError("temperature", expected="a number in (0, 1)", found=found, mend=mend)
        return BinaryConcrete(self.temperature, self.lower_bound, self.upper_bound)

    def _parameter(self) -> Tensor:
        return self.log_alpha_param

    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        u = self.eps + (1 - 2 * self.eps) * _uniform(n_rows, self.log_alpha_param, generator)
        return self._distribution().sample(_widened(self.log_alpha_param), u)


@final
class GaussianStochasticGates(GateModule):
    """Gaussian gates over the elements of an input: a drop-in for captum's module.

        z = clamp(mu + std * n, 0, 1),  n ~ N(0, 1)

    Feature Selection using Stochastic Gates (Yamada, Lindenbaum, Negahban, Kluger, 2020),
    https://arxiv.org/abs/1810.04247. Eval mode takes n = 0.

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
        """Gates that start from a copy of `mu`, [gates]; the other arguments as in the constructor."""
        n_gates = checked_length(mu, "mu")
        gates = cls(n_gates, mask, reg_weight, std, reg_reduction, baseline=baseline)
        gates._load(mu)
        return gates

    _from_pretrained = from_pretrained  # captum's name for it

    def _distribution(self) -> Gaussian:
        return Gaussian(self.std)

    def _parameter(self) -> Tensor:
        return self.mu

    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        # normal noise, not the uniform of Gaussian.sample: one seed then gives captum's numbers
        return (_widened(self.mu) + self.std * _normal(n_rows, self.mu, generator)).clamp(0, 1)


def _noise_dtype() -> torch.dtype:
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _widened(parameter: Tensor) -> Tensor:
    return parameter.to(torch.promote_types(parameter.dtype, _noise_dtype()))


# rand and randn, not uniform_ and normal_: vmap refuses draws in place
def _uniform(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n_rows, like.shape[0], **_noise_options(like, generator))


def _normal(n_rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n_rows, like.shape[0], **_noise_options(like, generator))


def _noise_options(like: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    options = {"dtype": _noise_dtype(), "device": like.device}
    # generator=None is another overload, which torch.export cannot give a dynamic batch size
    return options if generator is None else {**options, "generator": generator}


def _gated(x: Tensor, gates: Tensor, mask: Tensor | None, baseline: Tensor | float) -> Tensor:
    """Blend x with the baseline by gate values in [0, 1], [batch, gates]."""
    if x.is_floating_point() or x.is_complex():
        gates = gates.to(x.dtype)
    z = gates.reshape(x.shape) if mask is None else _laid_out(gates, mask, x)
    # where, not the product alone: 0 * NaN is NaN, in the value and in the gradient of z
    gated = z * torch.where((z == 0) & ~torch.isfinite(x), 0, x)
    if isinstance(baseline, Tensor):
        return gated + (1 - z) * baseline.to(z.dtype)
    return gated + (1 - z) * baseline if baseline else gated


def _laid_out(gates: Tensor, mask: Tensor, x: Tensor) -> Tensor:
    """Hand each element its gate: [batch, gates] -> [batch, ...], broadcastable to x."""
    mask = mask.reshape((1,) * (x.dim() - mask.dim()) + mask.shape)  # [1 or batch, ...]
    index = mask.flatten(1).expand(x.shape[0], -1)  # a view; broadcast dimensions keep length 1
    return gates.gather(1, index).reshape(x.shape[0], *mask.shape[1:])


# torch.fx cannot follow what these do with shapes and dtypes: it keeps them as calls
for _name in ("_widened", "_uniform", "_normal", "_gated", "checked_rows"):
    torch.fx.wrap(_name)
