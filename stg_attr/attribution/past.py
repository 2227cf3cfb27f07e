"""Past: what an earlier explanation of the same examples has learned, to go on from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.solve import Learned

from .explanation import Explanation
from .records import moved

__all__ = ["Past"]


@dataclass(frozen=True)
class Past:
    """What has been learned, the loss of each step so far, and the evaluations spent.

    Attributes:
        learned: of all examples.
        trace: [steps, batch].
        evaluations: long [batch], on the CPU.
    """

    learned: Learned
    trace: Tensor
    evaluations: Tensor

    @classmethod
    def of(
        cls, earlier: Explanation, batch: int, groups: FeatureGroups, gates: GateDistribution, n_restarts: int
    ) -> Past:
        """The past of a solve of a batch with these groups and gates, on their device.

        Raises:
            ArgumentError: the explanation is not of these, holds nothing to go on from, or several restarts
                are asked for.
        """
        mend = "Give the arguments of the earlier call, and one restart; or leave resume out."
        if not isinstance(earlier, Explanation) or earlier.learned is None:
            found = (
                type(earlier).__name__ if not isinstance(earlier, Explanation) else "one without its state"
            )
            raise ArgumentError("resume", expected="an explanation of this release", found=found, mend=mend)
        device, ids = groups.exists.device, groups.feature_ids
        same = len(earlier) == batch and torch.equal(earlier.feature_ids.to(device), ids.expand(batch, -1))
        if not same or earlier.gates != gates:
            raise ArgumentError(
                "resume",
                expected=f"an explanation of {batch} examples with {ids.shape[1]} features by {gates}",
                found=f"{len(earlier)} with {earlier.feature_ids.shape[1]} by {earlier.gates}, or other ids",
                mend=mend,
            )
        if n_restarts > 1:
            raise ArgumentError("n_restarts", expected="1 with resume", found=str(n_restarts), mend=mend)
        learned: Learned = moved(earlier.learned, device)
        return cls(learned, earlier.loss_trace.to(device), earlier.n_evaluations.cpu())

    def rows(self, rows: slice) -> tuple[Learned, Tensor]:
        """What was learned of some examples, and their loss trace."""
        return self.learned.rows(rows), self.trace[:, rows]
