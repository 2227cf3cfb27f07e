"""Measured: what hard selections achieve."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """What hard selections achieve, with each reference.

    A share is what a selection keeps of the output, or, where the objective only removes, what its removal
    takes away.

    Attributes:
        scores: of the model, [k, references, examples].
        shares: NaN where a score is not finite, [k, references, examples].
    """

    scores: Tensor
    shares: Tensor

    @property
    def score(self) -> Tensor:
        """The mean over references, [k, examples]."""
        return self.scores.mean(1)

    @property
    def share(self) -> Tensor:
        """The mean over references, [k, examples]."""
        return self.shares.mean(1)

    @property
    def worst_share(self) -> Tensor:
        """That with the reference with which a selection achieves least, [k, examples]."""
        return self.shares.amin(1)

    def reversed(self) -> Measured:
        """What the same selections achieve, in the opposite order."""
        return Measured(self.scores.flip(0), self.shares.flip(0))
