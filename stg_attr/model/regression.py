"""Contributions corrected towards Shapley values by the scores of pairs of complementary sets."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adjusted"]

_RATIOS = (-8, 8, 65)  # powers of ten of noise over signal: the first, the last, and how many


def adjusted(start: Tensor, scale: Tensor, pairs: Tensor, difference: Tensor) -> Tensor:
    r"""Correct contributions by a regression on the scores of sets and of their complements.

        s(x_S) - s(x_{not S}) = sum_i d_i phi_i + noise,  d_i = 1 if i is in S, else -1
        phi ~ N(start, v scale^2 | sum of phi = sum of start)

    The mean of phi given all pairs. With many pairs it is the paired KernelSHAP estimate (Lundberg, Lee,
    2017), https://arxiv.org/abs/1705.07874 (Covert, Lee, 2021), https://arxiv.org/abs/2012.01536; with few it
    stays at `start`. The ratio of the noise to v is the one under which the differences are most likely.

    Args:
        start: contributions to begin with, [batch, gates].
        scale: how wrong each of them may be, in proportion, [batch, gates]; 0 for those that are right.
        pairs: the sets S, bool [pairs, batch, gates], drawn with the weights of KernelSHAP.
        difference: s(x_S) - s(x_{not S}), [pairs, batch].

    Returns:
        Contributions with the sums of `start`, [batch, gates].
    """
    inside = pairs.transpose(0, 1).to("cpu", torch.float64) * 2 - 1  # [batch, pairs, gates]
    first, spread = start.to("cpu", torch.float64), scale.to("cpu", torch.float64)
    inside = inside * (spread != 0).unsqueeze(1)
    variance = (spread / spread.amax(1, keepdim=True).clamp_min(1e-300)).square()
    left = difference.T.to("cpu", torch.float64) - (inside @ first.unsqueeze(2)).squeeze(2)
    # the covariance of the prior given the sum is diag(variance) - variance variance' / sum(variance)
    weighted = inside * variance.unsqueeze(1)
    sums = weighted.sum(2, keepdim=True)
    total = variance.sum(1).clamp_min(1e-300).reshape(-1, 1, 1)
    spread_over = weighted - sums * variance.unsqueeze(1) / total  # [batch, pairs, gates]
    values, vectors = torch.linalg.eigh(spread_over @ inside.transpose(1, 2))
    values = values.clamp_min(0)
    seen = (vectors.transpose(1, 2) @ left.unsqueeze(2)).squeeze(2)
    ratio = _likeliest_ratio(values, seen)
    weights = vectors @ (seen / (values + ratio.unsqueeze(1)).clamp_min(1e-300)).unsqueeze(2)
    found: Tensor = start + (spread_over.transpose(1, 2) @ weights).squeeze(2).to(start)
    return found


def _likeliest_ratio(values: Tensor, seen: Tensor) -> Tensor:
    """The variance of the noise over v under which the differences are most likely, [batch].

    Args:
        values: eigenvalues of the covariance of the differences without noise, over v, [batch, pairs].
        seen: the differences in terms of its eigenvectors, [batch, pairs].
    """
    size = values.mean(1, keepdim=True).clamp_min(1e-300)
    ratios = size * torch.logspace(*_RATIOS, dtype=torch.float64, device=values.device)  # [batch, ratios]
    variance = values.unsqueeze(1) + ratios.unsqueeze(2)  # [batch, ratios, pairs]
    scale = (seen.square().unsqueeze(1) / variance).mean(2).clamp_min(1e-300)
    cost = scale.log() + variance.log().mean(2)  # -2 / pairs times the log likelihood
    return ratios.gather(1, cost.argmin(1, keepdim=True)).squeeze(1)
