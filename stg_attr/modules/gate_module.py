"""The part of the gate modules that does not depend on the distribution of the gates."""

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
            gates = self._distribution().value(widened(self._parameter())).expand(n_rows, -1)
        return _gated(input_tensor, gates, self.mask, self.baseline), self._regularizer()

    def get_gate_values(self, clamp: bool = True) -> Tensor:
        """The noise-free value of each gate, as eval mode uses it; not the mean of the noisy ones.

        Args:
            clamp: cut the values to [0, 1]; without it gates beyond 0 and 1 can still be told apart.

        Returns:
            Gate values, [gates], a detached copy.
        """
        parameter = self._parameter().detach()
        return self._distribution().value(widened(parameter), clamp).to(parameter.dtype)

    def get_gate_active_probs(self) -> Tensor:
        """P(z > 0), the probability that a noisy gate is open, [gates], a detached copy."""
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


# torch.fx cannot trace the branches on shapes and dtypes in these functions, so it records each as one call.
# It looks a name up in the file that calls it, so each file wraps the names that it uses.
for _name in ("widened", "_gated", "checked_rows"):
    torch.fx.wrap(_name)
