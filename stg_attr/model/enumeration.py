"""Shapley values of few features, from the scores of all their sets."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

__all__ = ["coalitions", "every_pair", "n_every_pair", "shapley_values"]


def n_every_pair(n_features: int) -> int:
    """How many pairs of a set and its complement there are, without that of all features and none.

    More than 40 features count as 40, so that the number fits into a tensor; nobody enumerates so many.
    """
    return max(0, 2 ** (min(n_features, 40) - 1) - 1) if n_features else 0


def every_pair(among: Tensor) -> Tensor:
    """One set of each pair of complementary sets of features, bool [pairs, batch, gates].

    Args:
        among: the features, equally many of each example, bool [batch, gates].
    """
    n = int(among[0].sum())
    code = torch.arange(1, n_every_pair(n) + 1, device=among.device).reshape(-1, 1, 1)
    place = (among.cumsum(1) - 1).clamp_min(0)
    # the last feature is in no set, so no set is the complement of another
    return ((code >> place) & 1).bool() & among & (place < n - 1)


def shapley_values(among: Tensor, pairs: Tensor, difference: Tensor, span: Tensor) -> Tensor:
    r"""Shapley values, [batch, gates], from the differences between the scores of complementary sets.

        phi_i = span / n + sum_S w_|S| (s(x_S) - s(x_{not S})),  w_k = 1 / (n C(n - 1, k - 1))

    The sum is over all sets S that hold i, except the set of all features. It is the formula of Shapley
    (1953), in which each set without i is the complement of a set with i of the same weight.

    Args:
        among: the features, equally many of each example, bool [batch, gates].
        pairs: one set of each pair, from `every_pair`.
        difference: s(x_S) - s(x_{not S}), [pairs, batch].
        span: score of all features less that of none, [batch].
    """
    n = int(among[0].sum())
    weight = torch.tensor([0.0, *(1 / (n * comb(n - 1, k)) for k in range(n))], device="cpu").to(difference)
    size = pairs.sum(2)  # [pairs, batch]
    inside = (weight[size] * difference).unsqueeze(2)
    outside = (weight[n - size] * difference).unsqueeze(2)
    found = torch.where(pairs, inside, -outside).sum(0) + (span / max(n, 1)).unsqueeze(1)
    return found.masked_fill(~among, 0.0)


def coalitions(noise: Tensor, among: Tensor, level: Tensor) -> Tensor:
    """Random sets of features, of sizes as KernelSHAP weighs them, bool [pairs, batch, gates].

    A set of k of n features is drawn with probability in proportion to 1 / (k (n - k)), and each set of that
    size with the same.

    Args:
        noise: in (0, 1), [pairs, 1 or batch, gates].
        among: the features, bool [batch, gates].
        level: numbers in (0, 1) that choose the sizes, [pairs].
    """
    place = torch.where(among, noise, 2.0).argsort(2).argsort(2)
    sizes = torch.empty(len(level), len(among), dtype=torch.long, device="cpu")
    counts = among.sum(1).cpu()
    for n in set(counts.tolist()):
        k = torch.arange(1, max(n, 2), dtype=torch.float32, device="cpu")
        weight = 1 / (k * (n - k).clamp_min(0.5))
        chosen = torch.searchsorted((weight / weight.sum()).cumsum(0), level.float()).clamp_max(len(k) - 1)
        sizes[:, counts == n] = (chosen + 1).unsqueeze(1)
    return (place < sizes.to(place.device).unsqueeze(2)) & among
