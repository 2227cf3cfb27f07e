"""The probability that a feature is active, averaged over how much of the output is kept."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["averaged"]

_BEYOND = 1.0  # logarithm of the factor by which a level lies beyond the first or the last feature


def averaged(worth: Tensor, n_open: Tensor, retained: Tensor, missing: Tensor) -> Tensor:
    r"""Active probabilities averaged over the share of the output that is kept, [batch, gates].

        p_g = mean_r  w_g / (w_g + l_r)

    For each share r, the smallest number of features k_r that keeps it is read from a measured curve, with
    straight lines between its points. The level l_r lies between the worths of the features k_r and k_r + 1
    in the order of worth, so that a feature of just this worth is active half of the time. Small changes of
    the worths and of the curve make small changes of the result.

    Args:
        worth: how much each feature matters, at least 0, [batch, gates]; one of 0 is never active.
        n_open: the sizes of the sets that were measured, ascending, long [batch, points].
        retained: the shares that they keep, [batch, points].
        missing: the shares 1 - r to average over, in (0, 1), [levels].

    Returns:
        In [0, 1]; NaN for examples whose curve or whose worths were not measured.
    """
    log_worth = worth.log()
    order = log_worth.sort(dim=1, descending=True).values  # -inf for features of no worth, which are last
    most = (worth > 0).sum(1, keepdim=True)
    size = _sizes(n_open, retained, 1 - missing.to(worth)).minimum(most)
    whole = size.floor()
    part = size - whole
    level = (1 - part) * _between(order, whole.long(), most) + part * _between(order, whole.long() + 1, most)
    probability = torch.sigmoid(log_worth.unsqueeze(2) - level.unsqueeze(1)).mean(2)
    known = retained.isfinite().all(1, keepdim=True) & worth.isfinite().all(1, keepdim=True)
    return torch.where(worth > 0, probability, 0.0).masked_fill(~known, torch.nan)


def _sizes(n_open: Tensor, retained: Tensor, share: Tensor) -> Tensor:
    """The smallest size that keeps each share, between measured points, [batch, levels]."""
    kept = retained.to(share.dtype).nan_to_num().cummax(1).values
    last = kept.shape[1] - 1
    right = torch.searchsorted(kept, share.expand(len(kept), -1).contiguous()).clamp_max(last)
    left = (right - 1).clamp_min(0)
    low, high = kept.gather(1, left), kept.gather(1, right)
    small, large = (n_open.gather(1, at).to(share.dtype) for at in (left, right))
    way = torch.where(high > low, (share - low) / (high - low), 1.0)  # a share that none keeps takes them all
    return small + way.clamp(0, 1) * (large - small)


def _between(order: Tensor, n: Tensor, most: Tensor) -> Tensor:
    """The logarithm of a worth below the first n features and above the others, [batch, levels]."""
    n = n.minimum(most)
    inside = order.gather(1, (n - 1).clamp_min(0))
    outside = order.gather(1, n.clamp_max(order.shape[1] - 1))
    inside, outside = torch.where(n > 0, inside, outside), torch.where(n < most, outside, inside)
    return (inside + outside) / 2 + _BEYOND * ((n == 0).to(order.dtype) - (n >= most).to(order.dtype))
