"""What a benchmark problem is: a model, rows to explain, and how an attribution of them is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

Measure = Callable[["Problem", Tensor], dict[str, float]]
Question = Literal["match", "score"]
EVERY_PEER = (
    "Saliency",
    "IntegratedGradients",
    "GradientShap",
    "FeatureAblation",
    "ShapleyValueSampling",
    "KernelShap",
    "Lime",
)


@dataclass(frozen=True)
class Variant:
    """One configuration of the project's, where a problem compares several; each of its readings is measured.

    Args:
        name: printed after the project's; empty for the one that "how to choose" gives.
        question: "match" or "score", as of a problem.
        baseline: what a closed gate shows: zero, rows of the data, their mean, or the input with noise.
        max_evals: model evaluations for each example, at most; None for the default effort.
    """

    name: str
    question: Question
    baseline: Literal["zero", "rows", "mean", "noise"]
    max_evals: int | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """One model, the rows to explain, and the measures an attribution of them is judged by.

    Args:
        name: key under which `load` finds it.
        model_seed: seed of the net, of the explained rows and of the references.
        forward: rows `[rows, ...]` (and `forward_args`) -> one score a row, `[rows]`, or `[rows, classes]`.
        inputs: rows to explain, `[n, ...]`.
        measures: each maps (problem, attributions in the shape of the inputs) to named numbers.
        question: "match" (which features does the model use?) or "score" (what is evidence for this class?).
        evaluations: model rows per example that the sampling methods are given.
        target: class explained in each row, `[n]`; None where the forward has one score a row.
        feature_mask: id of the gate of every element, `[1, ...]`; None for one gate an element.
        data: further rows of the data, `[R, ...]`, for methods that want them; None where none are offered.
        truth: the features that matter, `[n, features]`; None where nobody knows.
        forward_args: further arguments of the forward, each with one row an example.
        outputs: like `forward`, with every output of the model, `[rows, outputs]`.
        link: score of the target -> probability, for insertion and deletion.
        accuracy: of the net on unseen rows; None where the model is given.
        variants: configurations of the project's; empty for the default alone.
        peers: names of the methods that the project is compared with.
        layer: whose output is gated, where the inputs are ids that cannot be blended and 0 is the padding.
        window: shape of what Occlusion hides at once; None where it is not run.
    """

    name: str
    model_seed: int
    forward: Callable[..., Tensor]
    inputs: Tensor
    measures: tuple[Measure, ...]
    question: Question
    evaluations: int = 500
    target: Tensor | None = None
    feature_mask: Tensor | None = None
    data: Tensor | None = None
    truth: Tensor | None = None
    forward_args: tuple[Tensor, ...] = field(default=())
    outputs: Callable[..., Tensor] | None = None
    link: Callable[[Tensor], Tensor] | None = None
    accuracy: float | None = None
    variants: tuple[Variant, ...] = ()
    peers: tuple[str, ...] = EVERY_PEER
    layer: nn.Module | None = None
    window: tuple[int, ...] | None = None

    @property
    def references(self) -> Tensor | None:
        """What a closed gate shows by the rule of "how to choose": rows `[R, ...]`, or None for zero.

        Matching the output takes the data, since zero hides interactions; evidence for a class takes zero,
        since a random row would itself carry evidence.
        """
        return self.data if self.question == "match" else None

    @property
    def ids(self) -> Tensor:
        """Feature id of every element of one row, `[elements]`."""
        if self.feature_mask is None:
            return torch.arange(self.inputs[0].numel())
        return self.feature_mask.reshape(-1)

    @property
    def n_features(self) -> int:
        """Number of features, that is of gates, of one row."""
        return int(self.ids.max()) + 1

    def per_feature(self, attributions: Tensor) -> Tensor:
        """Mean attribution over the elements of each feature, `[n, features]`.

        The mean is right for methods that give every element its feature's value, and ranks as the sum does
        for methods that split it, because all features of a problem here have the same number of elements.
        """
        flat = attributions.detach().reshape(len(attributions), -1).to(torch.float64)
        sums = flat.new_zeros(len(flat), self.n_features).index_add_(1, self.ids, flat)
        return sums / torch.bincount(self.ids)

    def first(self, n: int) -> Problem:
        """The same problem with its first n rows only."""
        return replace(
            self,
            inputs=self.inputs[:n],
            forward_args=tuple(argument[:n] for argument in self.forward_args),
            target=None if self.target is None else self.target[:n],
            truth=None if self.truth is None else self.truth[:n],
        )

    def score(self, rows: Tensor, which: Tensor) -> Tensor:
        """Score of the explained class of each row, `[rows]`.

        Args:
            rows: model inputs, `[rows, ...]`.
            which: index of the explained example each row belongs to, `[rows]`.
        """
        values = self.forward(rows, *(argument[which] for argument in self.forward_args))
        if self.target is None:
            return values
        return values.gather(1, self.target[which].unsqueeze(1)).squeeze(1)

    def masked(self, kept: Tensor, which: Tensor) -> Tensor:
        """The explained rows with the features that are not kept set to zero, `[rows, ...]`.

        Args:
            kept: features to keep, `[rows, features]`.
            which: index of the explained example of each row, `[rows]`.
        """
        inputs = self.inputs[which]
        return inputs * kept[:, self.ids].reshape(inputs.shape).to(inputs.dtype)
