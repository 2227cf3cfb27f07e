"""Fidelity: how well the score of a blended input agrees with what is asked of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.errors import ArgumentError

__all__ = [
    "Anchors",
    "Delete",
    "Fidelity",
    "Hybrid",
    "Objective",
    "OutputMatch",
    "Preserve",
    "RetainedScore",
    "retained_share",
]


@dataclass(frozen=True)
class Anchors(Batch):
    """The two ends of an example's scale: the score of the input and of its references.

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
        """From the scores of the inputs, [batch], and of their references, [references, batch]."""
        difference = (full - references).abs()
        largest = _nonzero(difference.amax(0))  # taken out, so that squares neither overflow nor vanish
        spread = largest * (difference / largest).square().mean(0).sqrt()
        return cls(full, references.mean(0), spread)

    @property
    def explainable(self) -> Tensor:
        """Whether input and references differ in score beyond rounding, bool [batch]."""
        size = torch.maximum(self.full.abs(), self.baseline.abs())
        return self.spread > 8 * torch.finfo(self.full.dtype).eps * size

    def retained(self, scores: Tensor) -> Tensor:
        """V = (s - s(b)) / (s(x) - s(b)): 1 for the whole input, 0 for the baseline; [..., batch]."""
        return (scores - self.baseline) / self.span

    @cached_property
    def span(self) -> Tensor:
        """s(x) - s(b), [batch]; 1 where that is 0."""
        return _nonzero(self.full - self.baseline)

    @cached_property
    def scale(self) -> Tensor:
        """The spread, [batch]; 1 where that is 0."""
        return _nonzero(self.spread)


def _nonzero(x: Tensor) -> Tensor:
    return torch.where(x == 0, torch.ones_like(x), x)


def retained_share(scores: Tensor, full: Tensor, baseline: Tensor) -> Tensor:
    """Retained score, v = (s - s(b)) / (s(x) - s(b)); s - s(b) where input and baseline score the same.

    Args:
        scores: s, of any shape.
        full: s(x), broadcastable to it.
        baseline: s(b), broadcastable to it.
    """
    return (scores - baseline) / _nonzero(full - baseline)


class Fidelity(ABC):
    """What "kept" and "removed" mean for a score. Subclass it to ask another question of a model."""

    #: Whether a feature counts that moves the score in either direction. The features that are not selected
    #: are then ordered by their influence times the odds of being active, else by their log-alphas.
    either_direction: ClassVar[bool] = False

    @abstractmethod
    def retained(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """How much of the output is still there; 1 when all of it is.

        Args:
            scores: scores of blended inputs, [samples, batch].
            anchors: the ends of each example's scale.

        Returns:
            Retained share, at most 1 for a faithful output, [samples, batch].
        """

    @abstractmethod
    def remaining(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """How much of the output survives a removal; 0 when none does. Shapes as in `retained`."""

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
        share = self.retained(scores, anchors) if kept else 1 - self.remaining(scores, anchors)
        return share - retain

    def spans(self, baselines: Tensor, anchors: Anchors) -> Tensor | None:
        """Numbers whose mean over references must be above 0, or shares have no meaning; None for any."""
        return None

    def kept_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """What a solve minimises over what is kept, [samples, batch]."""
        return 1 - self.retained(scores, anchors)

    def removed_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """What a solve minimises over what is removed, [samples, batch]."""
        return self.remaining(scores, anchors)


@dataclass(frozen=True)
class RetainedScore(Fidelity):
    """Retained score, v(z) = (s(x_z) - s(b)) / (s(x) - s(b)): more than the input's own score counts as more.

    Asks what speaks *for* the score. Features that lower it come last.
    """

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
    """Agreement with the output: one less the error over the spread of the references.

        1 - abs(s(x_z) - s(x)) / rms_b(s(x) - s(b))

    Asks which features the model *uses*, of either sign: leaving the score in either direction is an
    error. The loss is log(1 + error), which is not pulled about by the few samples that go far wrong.
    """

    either_direction = True

    def retained(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return 1 - (scores - anchors.full).abs() / anchors.scale

    def remaining(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return (scores - anchors.baseline).abs() / anchors.scale

    def margin(
        self, scores: Tensor, baselines: Tensor, anchors: Anchors, retain: float, kept: bool
    ) -> Tensor:
        # the mean of |s(x) - s(b)| is at most its root mean square, so what is certified holds for that, too
        error = (scores - (anchors.full if kept else anchors.baseline)).abs()
        return ((1 - retain) * (anchors.full - baselines).abs() - error) / anchors.scale

    def kept_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return torch.log1p(1 - self.retained(scores, anchors))

    def removed_loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        return torch.log1p(self.remaining(scores, anchors))


@dataclass(frozen=True)
class Objective(ABC):
    """What is asked of the gates: a loss per sample and example.

    Attributes:
        fidelity: how a score is read.
        keeps: the model is shown x_z, the input with closed gates hidden.
        removes: the model is shown x_{1-z}, the input with open gates hidden.
    """

    fidelity: Fidelity = field(default_factory=RetainedScore)

    keeps: ClassVar[bool]
    removes: ClassVar[bool]

    def __post_init__(self) -> None:
        if not isinstance(self.fidelity, Fidelity):
            raise ArgumentError(
                "fidelity",
                expected="an instance of a subclass of Fidelity",
                found=repr(self.fidelity),
                mend="Pass an object such as OutputMatch(), not a class or a name.",
            )

    def views(self, gates: Tensor) -> Tensor:
        """The gate values at which the model is run: kept, removed, or both, [views * samples, ...]."""
        views = [gates] * self.keeps + [1 - gates] * self.removes
        return torch.cat(views) if len(views) > 1 else views[0]

    @property
    def n_views(self) -> int:
        """Model evaluations per gate sample."""
        return int(self.keeps) + int(self.removes)

    def loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Loss of each gate sample from the scores of its views.

        Args:
            scores: [views * samples, batch], in the order of `views`.
            anchors: the ends of each example's scale.

        Returns:
            [samples, batch]; 0 at best for faithful gates.
        """
        return self.summed(self.losses(scores, anchors, 0, len(scores) // self.n_views))

    def losses(self, scores: Tensor, anchors: Anchors, first: int, samples: int) -> Tensor:
        """Losses of some views, [views, batch], from their scores; a sample's loss is the sum of its views'.

        Args:
            scores: of consecutive views, [views, batch], in the order of `views`.
            anchors: the ends of each example's scale.
            first: number of the first of them.
            samples: number of gate samples.
        """
        n_kept = min(max(samples - first, 0), len(scores)) if self.keeps else 0
        kept, removed = torch.split(scores, [n_kept, len(scores) - n_kept])
        if not len(removed):
            return self.fidelity.kept_loss(scores, anchors)
        if not len(kept):
            return self.fidelity.removed_loss(scores, anchors)
        return torch.cat(
            [self.fidelity.kept_loss(kept, anchors), self.fidelity.removed_loss(removed, anchors)]
        )

    def summed(self, losses: Tensor) -> Tensor:
        """Losses of all views, [views * samples, batch], added up for each sample, [samples, batch]."""
        return losses if self.n_views == 1 else torch.add(*losses.chunk(2))

    def in_gates(self, slopes: Tensor) -> Tensor:
        """Slopes in the gates from those in the views, [views * samples, ...] -> [samples, ...]."""
        if self.n_views == 1:
            return slopes if self.keeps else -slopes
        return torch.sub(*slopes.chunk(2))


@dataclass(frozen=True)
class Preserve(Objective):
    """What is kept must suffice: the loss falls as retained(x_z) rises.

    With `Preserve(OutputMatch())`: which features does the model use? With `Preserve()`: what suffices
    for this score? Everything outside the smallest sufficient set stays in no particular order.

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Preserve().loss(torch.tensor([[1.5]]), anchors)
        tensor([[0.2500]])
    """

    keeps = True
    removes = False


@dataclass(frozen=True)
class Delete(Objective):
    """What is removed must be necessary: the loss falls with remaining(x_{1-z}).

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Delete().loss(torch.tensor([[0.5]]), anchors)
        tensor([[0.2500]])
    """

    keeps = False
    removes = True


@dataclass(frozen=True)
class Hybrid(Objective):
    """Both at once, with the same gates and their complement: the sum of the two losses.

    Two model evaluations per sample, and the best order of all features.

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Hybrid().loss(torch.tensor([[1.5], [0.5]]), anchors)
        tensor([[0.5000]])
    """

    keeps = True
    removes = True
