"""Budget curves: the score while the top features of any attribution are kept, and while they are removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count, is_number
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.model import (
    Baselines,
    GatedModel,
    Inputs,
    Scorer,
    Target,
    as_arguments,
    as_index,
    checked_inputs,
    undisturbed,
    watched,
)
from stg_attr.objective import Hybrid, retained_share
from stg_attr.select import Ranking

__all__ = ["ERASER_BUDGETS", "BudgetCurves", "budget_curves"]

#: The shares of tokens at which ERASER measures sufficiency and comprehensiveness.
ERASER_BUDGETS = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class BudgetCurves:
    """Measured scores while the features of highest attribution are kept, and while they are removed.

    Attributes:
        n_features: how many features are kept or removed, from none to all, long [batch, points].
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

    @property
    def insertion_area(self) -> Tensor:
        """Area under the insertion curve by the trapezoid rule, as RISE takes it, [batch].

        It covers the measured range of the number of features. The first and the last point count half; in
        `insertion` they count as much as the others.
        """
        return self._area(self.kept)

    @property
    def deletion_area(self) -> Tensor:
        """Area under the deletion curve, as `insertion_area`, [batch]."""
        return self._area(self.removed)

    def _area(self, scores: Tensor) -> Tensor:
        x = self.n_features.to(scores.dtype)
        span = x[:, -1] - x[:, 0]
        area = torch.trapezoid(scores, x, dim=1) / torch.where(span == 0, 1.0, span)
        return torch.where(span == 0, scores[:, 0], area)

    @property
    def sufficiency(self) -> Tensor:
        """s(x) - s(top features alone), [batch, points]; lower is better.

        Its mean over the budgets of `ERASER_BUDGETS` is the area over the perturbation curve of ERASER: A
        Benchmark to Evaluate Rationalized NLP Models (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429.
        """
        return self.full.unsqueeze(1) - self.kept

    @property
    def comprehensiveness(self) -> Tensor:
        """s(x) - s(all but the top features), [batch, points]; higher is better. Source as `sufficiency`."""
        return self.full.unsqueeze(1) - self.removed

    def _share(self, scores: Tensor) -> Tensor:
        """Retained share of scores [batch, points]."""
        return retained_share(scores, self.full.unsqueeze(1), self.baseline.unsqueeze(1))

    def smallest_sufficient(self, retain: float = 0.9) -> Tensor:
        """The fewest measured top features that alone retain this share of the score, long [batch].

        All features if no smaller number does. It is exact if every number was measured, that is with
        `n_points` above the number of features.
        """
        return self._first(self._share(self.kept) >= retain)

    def smallest_necessary(self, remain: float = 0.1) -> Tensor:
        """The fewest measured top features whose removal leaves at most this share, long [batch].

        It is exact as `smallest_sufficient` is.
        """
        return self._first(self._share(self.removed) <= remain)

    def _first(self, reached: Tensor) -> Tensor:
        first = torch.where(reached.any(1), reached.long().argmax(1), reached.shape[1] - 1)
        return self.n_features.gather(1, first.unsqueeze(1)).squeeze(1)


def budget_curves(
    forward_func: Callable[..., Any],
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    n_points: int = 65,
    budgets: Sequence[float] | None = None,
    perturbations_per_eval: int | None = None,
    seed: int = 0,
    counts: Tensor | None = None,
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
        budgets: shares of the features to measure at instead, ascending in [0, 1], counts rounded up.
        perturbations_per_eval: points in one call of the model; None for all.
        seed: of the ties and of the order of references.
        counts: how many features to keep or remove at each point, long [batch, points], instead of n_points.

    Raises:
        ArgumentError: an argument cannot be used.

    Example:
        >>> curves = budget_curves(lambda x: x.sum(1), torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        >>> curves.kept, curves.removed
        (tensor([[0., 3., 4.]]), tensor([[4., 1., 0.]]))
    """
    given = checked_inputs(inputs)
    if perturbations_per_eval is not None:
        check_count("perturbations_per_eval", perturbations_per_eval, mend="Leave it out for the default.")
    check_count("seed", seed, least=None, mend="Leave it out for the default.")
    shares = _shares(n_points, budgets)
    groups = FeatureGroups.from_mask(feature_mask, given)
    ranking = rank_features(attributions, given, groups, seed)
    if counts is None:
        counts = _counts(shares, ranking.n_visible, budgets is not None)
    index = as_index(target, len(given[0]))
    with undisturbed(forward_func, given[0].device, seed) as forward:
        with watched(is_model=False):
            blend = Blend.of(tuple(x.detach().clone() for x in given), baselines, groups)
        scorer = Scorer(forward, as_arguments(additional_forward_args), len(given[0]))
        model = GatedModel(blend, scorer, Hybrid(), index, perturbations_per_eval)
        kept = model.measure(ranking.top(counts)).score
        removed = model.measure(ranking.top(counts), other_view=True).score
    return BudgetCurves(counts, kept.T, removed.T, model.anchors.full, model.anchors.baseline)


def _shares(n_points: int, budgets: Sequence[float] | None) -> Tensor | int:
    """The shares of the features at which curves are measured, float64 [points], or how many points."""
    if budgets is None:
        check_count("n_points", n_points, least=2, mend="Two points are none and all of the features.")
        return n_points
    numbers = [b for b in budgets if is_number(b) and 0 <= b <= 1]
    if not numbers or len(numbers) != len(budgets) or numbers != sorted(numbers):
        raise ArgumentError(
            "budgets",
            expected="shares in [0, 1], ascending",
            found=repr(budgets),
            mend=f"For example {ERASER_BUDGETS}.",
        )
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _counts(shares: Tensor | int, n_visible: Tensor, round_up: bool) -> Tensor:
    """How many features are kept at each point, long [batch, points]."""
    if isinstance(shares, int):
        n = min(shares, int(n_visible.max()) + 1)
        shares = torch.linspace(0, 1, n, dtype=torch.float64, device="cpu")
    exact = shares.to(n_visible.device) * n_visible.unsqueeze(1)
    # .1 is not exact in binary: .1 of 10 features must not be rounded up to 2
    return ((exact - 1e-9).ceil() if round_up else exact.round()).long()


def rank_features(
    attributions: Inputs, inputs: tuple[Tensor, ...], groups: FeatureGroups, seed: int = 0
) -> Ranking:
    """Rank features by their mean attribution; the order of equal ones is random, from the seed.

    Args:
        attributions: from any method, in the structure and shape of the inputs.
        inputs: what was explained, each [batch, ...].
        groups: the features.
        seed: of the order of equal features.
    """
    given = (attributions,) if isinstance(attributions, Tensor) else tuple(attributions)
    shapes = [tuple(a.shape) if isinstance(a, Tensor) else type(a).__name__ for a in given]
    if shapes != [tuple(x.shape) for x in inputs]:
        raise ArgumentError(
            "attributions",
            expected=f"the shapes of the inputs, {[tuple(x.shape) for x in inputs]}",
            found=str(shapes),
            mend="Pass them as the method returned them.",
        )
    given = tuple(a.detach().to(inputs[0].device) for a in given)
    if any(a.is_complex() or bool(a.isnan().any()) for a in given):
        raise ArgumentError(
            "attributions",
            expected="real numbers that can be ranked",
            found="NaN or complex numbers",
            mend="Find out why the method returned them.",
        )
    means = groups.reduce(given)
    generator = torch.Generator().manual_seed(seed % 2**63)
    # Sort the features in a random order by a stable sort: equal ones keep the random order.
    order = torch.rand(means.shape[1], generator=generator, dtype=torch.float32, device="cpu").argsort()
    order = order.to(means.device)
    shuffled = means[:, order].argsort(dim=1, stable=True).argsort(1)
    places = torch.empty_like(shuffled).scatter_(1, order.expand_as(shuffled), shuffled)
    return Ranking.of(places.to(means.dtype), groups.exists.expand_as(means))
