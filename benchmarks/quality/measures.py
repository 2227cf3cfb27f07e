"""What each problem prints about an attribution: named numbers, made of `metrics`.

Where true features are to be found, influence of either sign counts: the mean absolute attribution over the
elements of a feature. Where features are inserted and removed, the sign counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metrics
from .problem import Problem


def influence(problem: Problem, attributions: Tensor) -> Tensor:
    """Mean absolute attribution of each feature's elements, `[n, features]`."""
    return problem.per_feature(attributions.abs())


def _truth(problem: Problem) -> Tensor:
    if problem.truth is None:
        raise ValueError(f"problem {problem.name} has no known true features; use a measure of faithfulness")
    return problem.truth


def true_positive_rate(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Share of true features in the top k, in percent."""
    return {"TPR@k": 100 * metrics.true_positive_rate(influence(problem, attributions), _truth(problem))}


def precision_at_k(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Share of the true features among the top k, where each row has k of them."""
    truth = _truth(problem)
    return {f"P@{int(truth[0].sum())}": metrics.true_positive_rate(influence(problem, attributions), truth)}


def median_rank(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Median rank of the true features."""
    return {"median rank": metrics.median_rank(influence(problem, attributions), _truth(problem))}


def average_precision(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Average precision of the order of the features."""
    return {"AP": metrics.average_precision(influence(problem, attributions), _truth(problem))}


def areas(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """AUP, AUR and AUPRC."""
    found = metrics.areas(influence(problem, attributions), _truth(problem))
    return {"AUP": found.precision, "AUR": found.recall, "AUPRC": found.precision_recall}


def precision_recall(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Area under precision against recall: AP in the mean over examples, AUPRC of all examples together."""
    scores, truth = influence(problem, attributions), _truth(problem)
    return {
        "AP": metrics.average_precision(scores, truth),
        "AUPRC": metrics.areas(scores, truth).precision_recall,
    }


def unseen_above(problem: Problem, attributions: Tensor, unseen: Tensor) -> dict[str, float]:
    """How often features that the model cannot see outrank true ones.

    Args:
        problem: whose truth is compared.
        attributions: in the shape of the inputs.
        unseen: features that have no effect, bool `[features]`.

    Returns:
        "unseen first": share of the pairs of an unseen and a true feature in which the unseen one is first;
        "any unseen": share of the examples in which an unseen one is before the last true one.
    """
    places, truth = metrics.ranks(influence(problem, attributions)), _truth(problem)
    first = (places[:, unseen].unsqueeze(2) < places.unsqueeze(1)) & truth.unsqueeze(1)
    pairs = int(unseen.sum()) * truth.sum(1)
    return {
        "unseen first": float((first.sum((1, 2)) / pairs).mean()),
        "any unseen": float(first.any(2).any(1).float().mean()),
    }


def curves(problem: Problem, attributions: Tensor) -> metrics.Curves:
    """Probability of the explained class along the order of the features, from and to the zero baseline."""

    def evaluate(kept: Tensor, which: Tensor) -> Tensor:
        with torch.no_grad():
            score = problem.score(problem.masked(kept, which), which)
        return score if problem.link is None else problem.link(score)

    return metrics.curves(problem.per_feature(attributions), evaluate)


def insertion_deletion(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Mean probability while features are inserted into, and removed from, the picture in order."""
    found = curves(problem, attributions)
    insertion, deletion = float(found.kept.mean()), float(found.removed.mean())
    return {"ins": insertion, "del": deletion, "ins-del": insertion - deletion}


def smallest_sets(problem: Problem, attributions: Tensor) -> dict[str, float]:
    """Mean size of the smallest sufficient and of the smallest necessary top k."""
    found = metrics.smallest_sets(curves(problem, attributions))
    return {"suff": found.sufficient, "nec": found.necessary}


def selection(problem: Problem, probabilities: Tensor) -> dict[str, float]:
    """Active probability > 0.5 as a selector, in percent; for gates only."""
    found = metrics.selection(problem.per_feature(probabilities) > 0.5, _truth(problem))
    return {"TPR": 100 * found.true_positive_rate, "FDR": 100 * found.false_discovery_rate}
