"""Pieces: scores of many samples with the memory of a few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["in_pieces", "joined"]

ScoresOf = Callable[[Tensor, int], Tensor]


def in_pieces(scores_of: ScoresOf, gates: Tensor, size: int) -> Tensor:
    """Differentiable scores of gate values, some samples at a time, [samples, examples].

    A score depends on the gates of its own sample and example only, so its slopes can be found along with it,
    and the graph of one piece is gone before that of the next is built.

    Args:
        scores_of: gate values and the number of their first sample -> scores.
        gates: [samples, examples, gates].
        size: samples in a piece.
    """
    scores: Tensor = _InPieces.apply(gates, scores_of, size)  # type: ignore[no-untyped-call]
    return scores


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, scores_of: ScoresOf, size: int) -> Tensor:
        found = [_differentiated(scores_of, gates, i, size) for i in range(0, len(gates), size)]
        scores = joined([score for score, _ in found])
        slopes = [slope for _, slope in found if slope is not None]
        if len(slopes) < len(found):
            ctx.mark_non_differentiable(scores)
        else:
            ctx.slopes = joined(slopes)
        return scores

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None, None]:
        return ctx.slopes * weight.unsqueeze(2), None, None


def _differentiated(
    scores_of: ScoresOf, gates: Tensor, first: int, size: int
) -> tuple[Tensor, Tensor | None]:
    """Scores of one piece and their slopes, [samples, examples, gates]; None where they have none."""
    with torch.enable_grad():
        leaf = gates[first : first + size].detach().requires_grad_()
        scores = scores_of(leaf, first)
    if not scores.requires_grad:
        return scores, None
    (slope,) = torch.autograd.grad(scores, leaf, torch.ones_like(scores), allow_unused=True)
    return scores.detach(), slope


def joined(parts: list[Tensor]) -> Tensor:
    """One tensor of samples, without a copy where there is one part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
