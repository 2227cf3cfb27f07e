"""Measured: what hard selections achieve."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """What hard selections achieve, all [k, examples].

    A share is what a selection keeps of the output, or, where the objective only removes, what its removal
    takes away.

    Attributes:
        score: mean over references.
        share: mean over references.
        worst_share: that with the reference with which the selection achieves least.
    """

    score: Tensor
    share: Tensor
    worst_share: Tensor
