"""The part of the gate modules that is the same for every distribution of the gates."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from stg_attr.distributions import GateDistribution
from stg_attr.errors import ArgumentError

from .checks import check_finite, checked_mask, checked_rows
from .noise import widened

__all__ = ["GateModule"]


class GateModule(nn.Module, ABC):
    """The base class of the gate modules: everything but the distribution of the gates and its noise.

    A module in half precision computes its gates in single precision, and draws its noise in the default
    dtype. So one seed gives the same gates in every precision, and no logit of the noise is infinite, as it
    can be in half precision.
    """

    mask: Tensor | None
    baseline: Tensor | float
    n_gates: int
    reg_weight: float
    reg_reduction: str

    @abstractmethod
    def _distribution(self) -> GateDistribution:
        """Return the distribution of the gates, after a check of the present settings.

        Users may assign to the settings during training, so they are checked at every use.
        """

    @abstractmethod
    def _parameter(self) -> Tensor:
        """Return the trained parameter, [gates]."""

    @abstractmethod
    def _sample(self, n_rows: int, generator: torch.Generator | None) -> Tensor:
        """Draw gate values in [0, 1], independently for every row, [batch, gates]."""

    def forward(
        self, input_tensor: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply the gates to a batch: z x + (1 - z) b, with the baseline b.

        In training mode the gate values z are drawn for every row. In eval mode all rows use the values
        without noise that `get_gate_values` returns. A closed gate hides its input also if that is NaN.

        Args:
            input_tensor: x, [batch, ...].
            generator: the generator of the noise, on the module's device; None is torch's global one.

        Returns:
            The gated input, in the shape and floating dtype of `input_tensor`, and the regulariser
            reg_weight * P(z > 0): [gates] for the reduction "none", else a scalar. Add the regulariser to
            the loss.

        Raises:
            ArgumentError: shape or device of the input, the mask and the baseline do not fit together.
        """
        n_rows = checked_rows(input_tensor, self._parameter(), self.mask, self.baseline)
        if self.training:
            gates = self._sample(n_rows, generator)
        else:
            gates = self._distribution().value(widened(self._parameter())).expand(n_rows, -1)
        return _gated(input_tensor, gates, self.mask, self.baseline), self._regularizer()

    def get_gate_values(self, clamp: bool = True) -> Tensor:
        """Return the value of each gate without noise, as eval mode uses it.

        This is not the mean of the values with noise.

        Args:
            clamp: whether values below 0 and above 1 are set to 0 and 1; without it, their order stays
                visible.

        Returns:
            Gate values, [gates], a detached copy.
        """
        parameter = self._parameter().detach()
        return self._distribution().value(widened(parameter), clamp).to(parameter.dtype)

    def get_gate_active_probs(self) -> Tensor:
        """Return P(z > 0), the probability that a gate is open in training mode: [gates], a detached copy."""
        parameter = self._parameter().detach()
        return self._distribution().active_probability(widened(parameter)).to(parameter.dtype)

    def _regularizer(self) -> Tensor:
        parameter = self._parameter()
        active = self._distribution().active_probability(widened(parameter))
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
        """Check and keep the settings that do not depend on the distribution of the gates."""
        if n_gates < 1:
            mend = "Pass the number of elements of one example, or of ids in the mask."
            raise ArgumentError("n_gates", expected="1 or more", found=f"{n_gates}", mend=mend)
        if reg_reduction not in ("none", "mean", "sum"):
            modes, mend = "'none', 'mean' or 'sum'", "'sum' is the usual choice."
            raise ArgumentError("reg_reduction", expected=modes, found=repr(reg_reduction), mend=mend)
        self.n_gates, self.reg_weight, self.reg_reduction = n_gates, reg_weight, reg_reduction
        self.register_buffer("mask", None if mask is None else checked_mask(mask, n_gates))
        check_finite(baseline)
        if isinstance(baseline, Tensor):
            # A buffer moves with the module. It is not in the state dict, so that state dicts of captum's
            # modules, which have no baseline, load here, and those of this module load there.
            self.register_buffer("baseline", baseline.detach().clone(), persistent=False)
        else:
            self.baseline = baseline

    def _load(self, parameter: Tensor) -> None:
        """Copy a pretrained parameter, and take its device and, if it is floating-point, its dtype."""
        with torch.no_grad():
            self._parameter().copy_(parameter)
        self.to(parameter.device, parameter.dtype if parameter.is_floating_point() else None)


def _gated(x: Tensor, gates: Tensor, mask: Tensor | None, baseline: Tensor | float) -> Tensor:
    """Return z x + (1 - z) b for gate values z in [0, 1], [batch, gates]."""
    if x.is_floating_point() or x.is_complex():
        gates = gates.to(x.dtype)
    z = gates.reshape(x.shape) if mask is None else _laid_out(gates, mask, x)
    # A closed gate has to hide NaN and inf, but 0 * NaN is NaN, in the value and in the gradient of z.
    # So these elements are replaced by 0 before the product.
    gated = z * torch.where((z == 0) & ~torch.isfinite(x), 0, x)
    if isinstance(baseline, Tensor):
        return gated + (1 - z) * baseline.to(z.dtype)
    return gated + (1 - z) * baseline if baseline else gated


def _laid_out(gates: Tensor, mask: Tensor, x: Tensor) -> Tensor:
    """Give each element the value of its gate: [batch, gates] -> [batch, ...], broadcastable to x."""
    mask = mask.reshape((1,) * (x.dim() - mask.dim()) + mask.shape)  # [1 or batch, ...]
    # a view without a copy; dimensions of length 1 keep it, so the result stays small
    index = mask.flatten(1).expand(x.shape[0], -1)
    return gates.gather(1, index).reshape(x.shape[0], *mask.shape[1:])


# torch.fx cannot follow branches on shapes and dtypes. torch.fx.wrap tells it to record a call of these
# functions instead. It replaces a name only in the file that registers it, so each file wraps its own.
for _name in ("widened", "_gated", "checked_rows"):
    torch.fx.wrap(_name)
