"""Objective: what the gates have to do, as a loss of the scores of what is kept and of what is removed."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

from .fidelity import Anchors, Fidelity, RetainedScore

__all__ = ["Delete", "Hybrid", "Objective", "Preserve"]


@dataclass(frozen=True)
class Objective(ABC):
    """The loss of gates, one number per sample and example.

    A *view* is an input that the model is run on for a sample of the gates. An objective has one or two.

    Attributes:
        fidelity: how a score is turned into a share of the output.
        keeps: whether the model is run on x_z, where the features of closed gates are hidden.
        removes: whether the model is run on x_{1-z}, where the features of open gates are hidden.
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
        """Return the gate values of all views, [views * samples, ...]: those that keep come first."""
        views = [gates] * self.keeps + [1 - gates] * self.removes
        return torch.cat(views) if len(views) > 1 else views[0]

    @property
    def n_views(self) -> int:
        """Number of views, and so of model evaluations, per gate sample."""
        return int(self.keeps) + int(self.removes)

    def loss(self, scores: Tensor, anchors: Anchors) -> Tensor:
        """Return the loss of each gate sample, from the scores of its views.

        Args:
            scores: [views * samples, batch], in the order of `views`.
            anchors: the ends of each example's scale.

        Returns:
            [samples, batch]; about 0 if all that is asked for is reached.
        """
        return self.summed(self.losses(scores, anchors, 0, len(scores) // self.n_views))

    def losses(self, scores: Tensor, anchors: Anchors, first: int, samples: int) -> Tensor:
        """Return the losses of some views, [views, batch]. The loss of a sample is the sum over its views.

        Views are computed in chunks, so a chunk may begin and end anywhere in the order of `views`.

        Args:
            scores: scores of consecutive views, [views, batch], in the order of `views`.
            anchors: the ends of each example's scale.
            first: number of the first of these views.
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
        """Add the losses of the views of each sample: [views * samples, batch] -> [samples, batch]."""
        return losses if self.n_views == 1 else torch.add(*losses.chunk(2))

    def in_gates(self, slopes: Tensor) -> Tensor:
        """Turn slopes in the views into slopes in the gates: [views * samples, ...] -> [samples, ...].

        The second view of a sample is 1 - z, so its slopes count with a minus sign.
        """
        if self.n_views == 1:
            return slopes if self.keeps else -slopes
        return torch.sub(*slopes.chunk(2))


@dataclass(frozen=True)
class Preserve(Objective):
    """The features that are kept must suffice: the loss falls as retained(x_z) rises.

    `Preserve(OutputMatch())` asks which features the model uses. `Preserve()` asks which features suffice
    for this score; the order of the features outside the smallest sufficient set has no meaning then.

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Preserve().loss(torch.tensor([[1.5]]), anchors)
        tensor([[0.2500]])
    """

    keeps = True
    removes = False


@dataclass(frozen=True)
class Delete(Objective):
    """The features that are removed must be necessary: the loss falls as remaining(x_{1-z}) falls.

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Delete().loss(torch.tensor([[0.5]]), anchors)
        tensor([[0.2500]])
    """

    keeps = False
    removes = True


@dataclass(frozen=True)
class Hybrid(Objective):
    """The sum of the losses of `Preserve` and `Delete`, with the same gates.

    It needs two model evaluations per sample, and gives the best order of all features.

    Example:
        >>> anchors = Anchors(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Hybrid().loss(torch.tensor([[1.5], [0.5]]), anchors)
        tensor([[0.5000]])
    """

    keeps = True
    removes = True
