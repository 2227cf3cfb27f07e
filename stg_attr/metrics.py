"""Metrics: how faithful any attribution is, measured by keeping and removing its top features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stg_attr.attribution.arguments import Baselines, Inputs, checked_inputs
from stg_attr.attribution.case import Case
from stg_attr.attribution.scoring import Scorer, Target, as_index
from stg_attr.errors import ArgumentError
from stg_attr.gates import Blend, FeatureGroups, as_references
from stg_attr.objective import Hybrid
from stg_attr.solve import Ranking

__all__ = ["BudgetCurves", "budget_curves"]


@dataclass(frozen=True)
class BudgetCurves:
    """Measured scores while the features of highest attribution are kept, and while they are removed.

    Attributes:
        n_features: how many are kept or removed at each point, long [batch, points]; from none to all.
        kept: score with only the top features shown, [batch, points].
        removed: score with the top features hidden, [batch, points].
        full: score of the input, [batch].
        baseline: score of the baseline, [batch].
    """

    n_features: Tensor
    kept: Tensor
    removed: Tensor
    full: Tensor
    baseline: Tensor

    @property
    def insertion(self) -> Tensor:
        """Mean score while features are inserted, [batch]; higher is better.

        RISE: Randomized Input Sampling for Explanation of Black-box Models (Petsiuk, Das, Saenko, 2018),
        https://arxiv.org/abs/1806.07421.
        """
        return self.kept.mean(1)

    @property
    def deletion(self) -> Tensor:
        """Mean score while features are removed, [batch]; lower is better. Source as for `insertion`."""
        return self.removed.mean(1)

    def _share(self, scores: Tensor) -> Tensor:
        span = self.full - self.baseline
        return (scores - self.baseline.unsqueeze(1)) / torch.where(span == 0, 1.0, span).unsqueeze(1)

    def smallest_sufficient(self, retain: float = 0.9) -> Tensor:
        """The fewest top features that alone retain this share of the score, long [batch]."""
        return self._first(self._share(self.kept) >= retain)

    def smallest_necessary(self, remain: float = 0.1) -> Tensor:
        """The fewest top features whose removal leaves at most this share of the score, long [batch]."""
        return self._first(self._share(self.removed) <= remain)

    def _first(self, reached: Tensor) -> Tensor:
        first = torch.where(reached.any(1), reached.long().argmax(1), reached.shape[1] - 1)
        return self.n_features.gather(1, first.unsqueeze(1)).squeeze(1)


@torch.no_grad()
def budget_curves(
    forward_func: Callable[..., Any],
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    n_points: int = 65,
    perturbations_per_eval: int | None = None,
    seed: int = 0,
) -> BudgetCurves:
    """Keep and remove the top features of any attribution and measure the score.

    A feature's rank is that of its mean attribution over its elements; ties are broken at random.

    Args:
        forward_func: the model.
        inputs: what was explained, each [batch, ...].
        attributions: from any method, in the structure and shape of the inputs; the sign counts.
        baselines: what removed features show; None for 0.
        target: the explained output; None for each example's own predicted class.
        additional_forward_args: passed on to the model.
        feature_mask: groups of elements that are kept or removed together.
        n_points: points of the curves, evenly spaced; all numbers of features if there are no more.
        perturbations_per_eval: points in one call of the model; None for all.
        seed: of the ties and of the order of references.

    Raises:
        ArgumentError: an argument cannot be used.

    Example:
        >>> curves = budget_curves(lambda x: x.sum(1), torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        >>> curves.kept, curves.removed
        (tensor([[0., 3., 4.]]), tensor([[4., 1., 0.]]))
    """
    given = checked_inputs(inputs)
    groups = FeatureGroups.from_mask(feature_mask, given)
    blend = Blend(tuple(x.detach() for x in given), as_references(baselines, given), groups)
    arguments = additional_forward_args if isinstance(additional_forward_args, tuple) else (
        () if additional_forward_args is None else (additional_forward_args,)
    )  # fmt: skip
    scorer = Scorer(forward_func, arguments, len(given[0]))
    case = Case(blend, scorer, Hybrid(), as_index(target, len(given[0])), perturbations_per_eval)
    ranking = Ranking.of(*_ranked(attributions, given, groups, seed))
    share = torch.linspace(0, 1, min(n_points, groups.n_gates + 1), device=given[0].device)
    counts = (share * ranking.n_visible.unsqueeze(1)).round().long()
    kept = case.measure(ranking.top(counts)).score
    removed = case.measure_other(ranking.top(counts))
    return BudgetCurves(counts, kept.T, removed.T, case.anchors.full, case.anchors.baseline)


def _ranked(
    attributions: Inputs, inputs: tuple[Tensor, ...], groups: FeatureGroups, seed: int
) -> tuple[Tensor, Tensor]:
    """Values whose order is that of the features' mean attributions, and which features exist."""
    given = (attributions,) if isinstance(attributions, Tensor) else tuple(attributions)
    shapes = [tuple(a.shape) for a in given]
    if shapes != [tuple(x.shape) for x in inputs]:
        raise ArgumentError(
            "attributions",
            expected=f"the shapes of the inputs, {[tuple(x.shape) for x in inputs]}",
            found=str(shapes),
            mend="Pass them as the method returned them.",
        )
    means = groups.reduce(given)
    noise = torch.rand(means.shape[1], generator=torch.Generator().manual_seed(seed)).argsort()
    order = noise.to(means.device)
    shuffled = means[:, order].argsort(dim=1, stable=True).argsort(1)
    places = torch.empty_like(shuffled).scatter_(1, order.expand_as(shuffled), shuffled)
    return places.to(means.dtype), groups.exists.expand_as(means)
