"""GatedLoss: the loss of gate values, and its slopes, by calls of the model that fit in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from stg_attr.errors import ArgumentError
from stg_attr.objective import Anchors, Objective, Preserve

from .chunks import Chunk, Chunks
from .examples import Examples
from .isolation import DetachedWeights
from .scorer import Scorer, picked
from .spread import ScoreSpread

__all__ = ["GatedLoss", "ScoreItself", "no_gradient", "of_arrays"]

_NO_ARRAY = "Can't call numpy() on Tensor that requires grad"  # torch's own error


class Model(Protocol):
    """What the loss needs of a `GatedModel`; see there."""

    scorer: Scorer
    chunks: Chunks
    device: torch.device
    detaches_weights: bool
    graphs: set[bool]
    score_dtype: torch.dtype
    spread: ScoreSpread

    @property
    def dtype(self) -> torch.dtype:
        """Precision of gates and losses."""


@dataclass(frozen=True)
class GatedLoss:
    """The loss of gate values: what a solver minimises.

    Attributes:
        model: the model.
        examples: whose gates are given.
        references: the reference that each sample is shown in each of the objective's views, long [views *
            samples].
        objective: makes losses of scores.
    """

    model: Model
    examples: Examples
    references: Tensor
    objective: Objective

    @torch.no_grad()
    def __call__(self, gates: Tensor) -> Tensor:
        """Losses [samples, examples] of gate values [samples, examples, gates]."""
        objective, losses = self.objective, None
        views = objective.views(gates)
        for chunk in self.model.chunks.over(*views.shape[:2]):
            with chunk:
                some = views[chunk.samples, chunk.examples]
                losses = chunk.put(losses, self._losses(some, chunk, len(gates)))
        assert losses is not None
        return objective.summed(losses)

    def with_slope(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, and the slope of each in its gates, [samples, examples, gates].

        Slopes are found chunk by chunk, so that the graph of one call is gone before that of the next is
        built. They are 0 where the output of a call has no graph, as after an early exit; so it does not
        matter how rows fall into calls.
        """
        objective, losses, slopes = self.objective, None, None
        views = objective.views(gates)
        for chunk in self.model.chunks.over(*views.shape[:2]):
            with chunk:
                some = views[chunk.samples, chunk.examples]
                found, slope = self._with_slope(some, chunk, len(gates))
                self.model.graphs.add(slope is not None)
                losses = chunk.put(losses, found)
                slopes = chunk.put(slopes, torch.zeros_like(some) if slope is None else slope)
        assert losses is not None
        assert slopes is not None
        return objective.summed(losses), objective.in_gates(slopes)

    def _with_slope(self, gates: Tensor, chunk: Chunk, n_samples: int) -> tuple[Tensor, Tensor | None]:
        """As `with_slope`, for the views of one chunk, by one call of the model."""
        model, leaf = self.model, gates.detach().requires_grad_()
        detached = DetachedWeights() if model.detaches_weights else contextlib.nullcontext()
        with of_arrays(), torch.enable_grad(), detached:
            losses = self._losses(leaf, chunk, n_samples)
            # torch loads sympy when it is given gradients of several outputs, which takes a third of a second
            total = losses.sum()
        if not losses.requires_grad:
            return losses.detach(), None
        try:
            (slope,) = torch.autograd.grad(total, leaf, allow_unused=True)
        except CheckpointError:
            if not model.detaches_weights:
                raise
            # Checkpointed layers run again in the backward pass, where weights are not detached. Both passes
            # have to keep the same tensors, so from now on weights are not detached in the forward pass
            # either.
            model.detaches_weights = False
            return self._with_slope(gates, chunk, n_samples)
        return losses.detach(), slope

    def _losses(self, gates: Tensor, chunk: Chunk, n_samples: int) -> Tensor:
        """Losses of the views of one chunk, by one call of the model."""
        model, part, first = self.model, self.examples.part(chunk.examples), chunk.samples.start
        shown = part.blend(gates.to(model.dtype), self.references[chunk.samples])
        scores = picked(model.scorer.output(shown, part), part).to(model.device, model.score_dtype)
        assert part.anchors is not None
        model.spread.add(part.index, scores.detach() - part.anchors.baseline)
        return self.objective.losses(scores, part.anchors, first, n_samples).to(model.dtype)


@contextlib.contextmanager
def of_arrays() -> Iterator[None]:
    """Say what to do about a model that computes with arrays, which take no tensor with a graph."""
    try:
        yield
    except RuntimeError as error:
        if _NO_ARRAY not in str(error):
            raise
        raise no_gradient() from error


@dataclass(frozen=True)
class ScoreItself(Preserve):
    """The score of what is kept above the baseline, in units of the spread, in place of a loss."""

    def losses(self, scores: Tensor, anchors: Anchors, first: int, samples: int) -> Tensor:
        return (scores - anchors.baseline) / anchors.scale


def no_gradient() -> ArgumentError:
    """The error where the model's output never has a gradient."""
    return ArgumentError(
        "forward_func",
        expected="an output that carries a gradient with respect to the input",
        found="an output without one (it is detached, rounded, computed outside torch or under no_grad)",
        mend="Return a differentiable score, or pass estimator=ScoreFunction(), which needs no gradient.",
    )
