"""Scores of features against the features that matter, and model scores along the order they give.

Higher score = more important. Ties are broken at random with a fixed seed, so a constant attribution scores
as chance does and nobody gains from the order of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Retained = Callable[[Tensor, Tensor], Tensor]


def ranks(scores: Tensor, seed: int = 0) -> Tensor:
    """Rank of every feature in its row, 1 = highest, ties in random order, `[n, features]`."""
    generator = torch.Generator().manual_seed(seed)
    shuffle = torch.rand(scores.shape, generator=generator).argsort(1)
    order = shuffle.gather(1, scores.gather(1, shuffle).argsort(dim=1, descending=True, stable=True))
    places = torch.arange(1, scores.shape[1] + 1).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def true_positive_rate(scores: Tensor, truth: Tensor) -> float:
    """Mean over rows of the share of true features among the top k, k = the row's number of true features."""
    n_true = truth.sum(1)
    hits = ((ranks(scores) <= n_true.unsqueeze(1)) & truth).sum(1)
    return float((hits / n_true).mean())


def median_rank(scores: Tensor, truth: Tensor) -> float:
    """Mean over rows of the median rank of the true features; best is (k + 1) / 2."""
    found = ranks(scores).to(torch.float64).masked_fill(~truth, torch.nan)
    return float(found.nanquantile(0.5, dim=1).mean())


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Mean over rows of the mean, over true features, of the precision at the feature's rank."""
    order = ranks(scores).argsort(1)
    hit = truth.gather(1, order).to(torch.float64)
    precision = hit.cumsum(1) / torch.arange(1, hit.shape[1] + 1)
    return float(((precision * hit).sum(1) / hit.sum(1)).mean())


class Selection(NamedTuple):
    """Mean over rows of the share of true features found, and of found features that are false."""

    true_positive_rate: float
    false_discovery_rate: float


def selection(selected: Tensor, truth: Tensor) -> Selection:
    """How well a set of features matches the true one; an empty set has discovered nothing false."""
    hits = (selected & truth).sum(1)
    false = (selected & ~truth).sum(1)
    return Selection(
        float((hits / truth.sum(1)).mean()),
        float((false / selected.sum(1).clamp(min=1)).mean()),
    )


class Areas(NamedTuple):
    """Precision and recall averaged over thresholds, and the area under precision against recall."""

    precision: float
    recall: float
    precision_recall: float


def areas(scores: Tensor, truth: Tensor) -> Areas:
    """AUP, AUR and AUPRC over all rows at once.

    Scores are stretched to [0, 1] within each row; with P(t) and R(t) the precision and recall of {score >=
    t},

        AUP = integral of P(t) over t in (0, 1],  AUR = integral of R(t) over t in (0, 1],

    integrated exactly, as both only change at scores that occur. (time_interpret integrates the same points
    by the trapezoid rule, which agrees for many distinct scores and punishes scores of exactly 0 and 1.)
    AUP and AUR depend on the scale of the scores, AUPRC, the average precision, on their order alone.

    Explaining Time Series Predictions with Dynamic Masks (Crabbé, van der Schaar 2021,
    https://arxiv.org/abs/2106.05303).
    """
    flat = _stretched(scores.to(torch.float64)).flatten()
    true = truth.flatten()
    levels, place = flat.unique(return_inverse=True)
    selected = _at_least(torch.bincount(place, minlength=len(levels)))
    hits = _at_least(torch.bincount(place[true], minlength=len(levels)))
    width = levels.diff(prepend=levels.new_zeros(1))  # of the thresholds that select just these; 0 at level 0
    return Areas(
        float((width * hits / selected).sum()),
        float((width * hits / true.sum()).sum()),
        average_precision(flat.unsqueeze(0), true.unsqueeze(0)),
    )


def _stretched(scores: Tensor) -> Tensor:
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return (scores - low) / (high - low).clamp(min=torch.finfo(scores.dtype).tiny)


def _at_least(counts: Tensor) -> Tensor:
    """Number of scores at or above each level, from the number at each."""
    return counts.flip(0).cumsum(0).flip(0)


class Curves(NamedTuple):
    """Scores with the top k features kept, and removed, for k = 0 ... features; each `[n, features + 1]`."""

    kept: Tensor
    removed: Tensor


def curves(scores: Tensor, evaluate: Retained, chunk: int = 256) -> Curves:
    """Scores along the order that the attribution gives.

    Args:
        scores: of the features, `[n, features]`.
        evaluate: (features to keep `[rows, features]`, index of each row's example `[rows]`) -> scores.
        chunk: rows evaluated at once.
    """
    place = ranks(scores)
    n, n_features = place.shape
    top = place.unsqueeze(1) <= torch.arange(n_features + 1)[:, None]  # [n, k, features]
    which = torch.arange(n).repeat_interleave(n_features + 1)
    kept, removed = (
        torch.cat(
            [
                evaluate(rows, index)
                for rows, index in zip(keep.flatten(0, 1).split(chunk), which.split(chunk), strict=True)
            ]
        )
        for keep in (top, ~top)
    )
    return Curves(kept.reshape(n, -1), removed.reshape(n, -1))


class SmallestSets(NamedTuple):
    """Mean sizes of the smallest top k that suffices, and of the smallest that is necessary."""

    sufficient: float
    necessary: float


def smallest_sets(found: Curves, retain: float = 0.9) -> SmallestSets:
    """Smallest k that retains `retain` of the score, and whose removal leaves `1 - retain`; means over rows.

    The retained score is v = (s - s(b)) / (s(x) - s(b)), s(x) and s(b) being the ends of the curves.
    """
    empty, full = found.kept[:, :1], found.kept[:, -1:]
    kept = (found.kept - empty) / (full - empty)
    removed = (found.removed - empty) / (full - empty)
    # the last point of both curves always satisfies its condition; rounding may say otherwise
    enough = torch.cat([kept[:, :-1] >= retain, torch.ones_like(kept[:, :1], dtype=torch.bool)], 1)
    gone = torch.cat([removed[:, :-1] <= 1 - retain, torch.ones_like(kept[:, :1], dtype=torch.bool)], 1)
    return SmallestSets(*(float(reached.int().argmax(1).float().mean()) for reached in (enough, gone)))


def jaccard(selections: Tensor) -> float:
    """Mean over rows and pairs of |A and B| / |A or B|; two empty sets agree.

    Args:
        selections: sets selected by several runs, `[runs, n, features]`.
    """
    first, second = torch.triu_indices(len(selections), len(selections), offset=1)
    both = (selections[first] & selections[second]).sum(-1)
    either = (selections[first] | selections[second]).sum(-1)
    return float(torch.where(either > 0, both / either.clamp(min=1), 1.0).mean())


def rank_correlation(places: Tensor) -> float:
    """Spearman's, mean over rows and pairs of runs.

    Args:
        places: ranks given by several runs, all different within a row, `[runs, n, features]`.
    """
    n = places.shape[-1]
    first, second = torch.triu_indices(len(places), len(places), offset=1)
    squares = (places[first] - places[second]).square().sum(-1)
    return float((1 - 6 * squares / (n * (n**2 - 1))).mean())
