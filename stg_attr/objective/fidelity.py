"""Fidelities and objectives: the loss of gates, from the scores of blended inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

__all__ = ["Anchors", "Fidelity", "OutputMatch", "RetainedScore", "retained_share"]


@dataclass(frozen=True)
class Anchors(Batch):
    """The two ends of the scale of an example: the score of its input, and that of its references.

    Attributes:
        full: score of the whole input, s(x), [batch].
        baseline: mean score of the references, s(b), [batch].
        spread: root mean square of s(x) - s(b) over the references, [batch].
    """

    full: Tensor = field(metadata=per_example())
    baseline: Tensor = field(metadata=per_example())
    spread: Tensor = field(metadata=per_example())

    @classmethod
    def measure(cls, full: Tensor, references: Tensor) -> Anchors:
        """Make anchors of the scores of the inputs, [batch], and of their references, [references, batch]."""
        difference = (full - references).abs()
        largest = _nonzero(difference.amax(0))  # divided out, so that the squares do not overflow or become 0
        spread = largest * (difference / largest).square().mean(0).sqrt()
        return cls(full, references.mean(0), spread)

    def careful(self, references: Tensor) -> Anchors:
        """Anchors whose spread is smaller by its standard error, from scores [references, batch].

        A fidelity that divides by the spread would certify too much where it happens to be too large.
        """
        square = (self.full - references).square()
        error = square.std(0) / (2 * self.scale * len(references) ** 0.5)
        return replace(self, spread=(self.spread - error).clamp_min(0))

    @property
    def explainable(self) -> Tensor:
        """Whether the scores of input and references differ by more than rounding, bool [batch]."""
        return self.spread > self._rounding

    @property
    def differs_on_average(self) -> Tensor:
        """Whether the score of the input differs from the mean of its references by more, bool [batch]."""
        return (self.full - self.baseline).abs() > self._rounding

    @property
    def _rounding(self) -> Tensor:
        size = torch.maximum(self.full.abs(), self.baseline.abs())
        return 8 * torch.finfo(self.full.dtype).eps * size

    def retained(self, scores: Tensor) -> Tensor:
        """V = (s - s(b)) / (s(x) - s(b)): 1 for the whole input, 0 for the baseline; [..., batch]."""
        return (scores - self.baseline) / self.span

    @cached_property
    def span(self) -> Tensor:
        """s(x) - s(b), [batch]; 1 where that is 0."""
        return _nonzero(self.full - self.baseline)

    @property
    def direction(self) -> Tensor:
        """1 where the score rises from the references to the input, -1 where it falls, [batch]."""
        return self.span.sign()

    @cached_property
    def scale(self) -> Tensor:
        """The spread, [batch]; 1 where that is 0."""
        return _nonzero(self.spread)


def _nonzero(x: Tensor) -> Tensor:
    return x.masked_fill(x == 0, 1)


def retained_share(scores: Tensor, full: Tensor, baseline: Tensor) -> Tensor:
    """Return the retained score, v = (s - s(b)) / (s(x) - s(b)).

    Where input and baseline have the same score, the result is s - s(b), without the division.

    Args:
        scores: s, of any shape.
        full: s(x), broadcastable to it.
        baseline: s(b), broadcastable to it.
    """
    return (scores - baseline) / _nonzero(full - baseline)


class Fidelity(ABC):
    """How a score is turned into a share of the output that is kept, or that remains after a removal.

    Write a subclass to ask a model another question.
    """

    #: Whether features count that move the score in either direction, and not only those that raise it. If
    #: so, the features that are not selected are ordered by influence times the odds of being active; if not,
    #: by their log-alphas.
    either_direction: ClassVar[bool] = False
    #: Whether `margin` takes the scores of the same references for those in `anchors`.
    pairs: ClassVar[bool] = False

    @abstractmethod
    def retained(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Return how much of the output is kept: 1 if all of it is.

        Args:
            scores: scores of blended inputs, [samples, batch].
            anchors: the ends of each example's scale.

        Returns:
            Retained share, at most 1 for a faithful output, [samples, batch].
        """

    @abstractmethod
    def remaining(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Return how much of the output remains after a removal: 0 if nothing does; as `retained`."""

    def achieved(self, scores: Tensor, anchors: Anchors, kept: bool) -> Tensor:
        """Return the share of the output that is kept, or that is taken away, [samples, batch].

        Args:
            scores: of a selection alone, or of all but it, [samples, batch].
            anchors: the ends of each example's scale.
            kept: whether the scores are those of a selection alone.
        """
        return self.retained(scores, anchors) if kept else 1 - self.remaining(scores, anchors)

    def unit(self, anchors: Anchors) -> Tensor:
        """The difference of scores that is a share of 1, above 0, [batch]."""
        return anchors.scale

    def explainable(self, anchors: Anchors) -> Tensor:
        """Whether shares of the output have a meaning, bool [batch]."""
        return anchors.explainable

    def margin(
        self, scores: Tensor, baselines: Tensor, anchors: Anchors, retain: float, kept: bool
    ) -> Tensor:
        """How much more is achieved with each reference than a share `retain`, in shares, [references,
        batch].

        Its mean over references is at least 0 where the share is at least `retain`. Override it where the
        scores of the same references can take the place of the baseline in `anchors`, which is an estimate.

        Args:
            scores: of a selection alone, or of all but it, with each reference, [references, batch].
            baselines: of the references themselves, [references, batch].
            anchors: the ends of each example's scale, from other references.
            retain: share of the output to keep, or to take away.
            kept: whether the scores are those of a selection alone.
        """
        return self.achieved(scores, anchors, kept) - retain

    def spans(self, baselines: Tensor, anchors: Anchors) -> Tensor | None:
        """Numbers whose mean over references must be above 0, or shares have no meaning; None for any."""
        return None

    def kept_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Return the loss of inputs on which the open gates are kept, [samples, batch]."""
        return 1 - self.retained(scores, anchors)

    def removed_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Return the loss of inputs from which the open gates are removed, [samples, batch]."""
        return self.remaining(scores, anchors)


@dataclass(frozen=True)
class RetainedScore(Fidelity):
    """Retained score, v(z) = (s(x_z) - s(b)) / (s(x) - s(b)). A score above that of the input is above 1.

    It asks which features raise the score. Features that lower it come last.
    """

    pairs = True

    def unit(self, anchors: Anchors) -> Tensor:
        return anchors.span.abs()

    def explainable(self, anchors: Anchors) -> Tensor:
        return anchors.explainable & anchors.differs_on_average

    def retained(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return anchors.retained(scores)

    def remaining(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return anchors.retained(scores)

    def margin(
        self, scores: Tensor, baselines: Tensor, anchors: Anchors, retain: float, kept: bool
    ) -> Tensor:
        # mean(s) - s(b) >= retain (s(x) - s(b)), with s(b) of the same references
        if kept:
            return (scores - (1 - retain) * baselines - retain * anchors.full) / anchors.span
        return ((1 - retain) * anchors.full + retain * baselines - scores) / anchors.span

    def spans(self, baselines: Tensor, anchors: Anchors) -> Tensor:
        # of the other sign where the input is on the other side of its references than was measured before
        return (anchors.full - baselines) / anchors.span


@dataclass(frozen=True)
class OutputMatch(Fidelity):
    """Agreement with the output: 1 minus the error, in units of the spread of the references.

        1 - abs(s(x_z) - s(x)) / rms_b(s(x) - s(b))

    It asks which features the model *uses*, whether they raise or lower the score: a change of the score in
    either direction is an error. The loss is log(1 + error), so that a few samples with large errors do not
    decide its gradient.
    """

    either_direction = True

    def retained(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return 1 - (scores - anchors.full).abs() / anchors.scale

    def remaining(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return (scores - anchors.baseline).abs() / anchors.scale

    def kept_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return torch.log1p(1 - self.retained(scores, anchors))

    def removed_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return torch.log1p(self.remaining(scores, anchors))
