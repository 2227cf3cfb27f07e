"""Contributions corrected towards Shapley values by the scores of pairs of complementary sets."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference_effects import ReferenceEffects

__all__ = ["adjusted"]

_RATIOS = (-6, 6, 49)  # powers of ten of noise over signal: the first, the last, and how many
_FREE = 1e3  # a variance that leaves a coefficient free, over that of the differences


def adjusted(
    start: Tensor,
    scale: Tensor,
    pairs: Tensor,
    difference: Tensor,
    effects: ReferenceEffects | None = None,
) -> Tensor:
    r"""Correct contributions by a regression on the scores of sets and of their complements.

        s(x_S) - s(x_{not S}) = sum_i d_i (phi_i + c start_i) + noise,  d_i = 1 if i is in S, else -1
        phi ~ N(start, v scale^2 | sum of phi = sum of start)

    The mean of phi given all pairs. With many pairs it is the paired KernelSHAP estimate (Lundberg, Lee,
    2017), https://arxiv.org/abs/1705.07874 (Covert, Lee, 2021), https://arxiv.org/abs/2012.01536; with few it
    stays at `start`. The ratio of the noise to v is the one under which the differences are most likely.

    c is free where there are fewer than two pairs for each feature, and 0 elsewhere. A score that saturates,
    such as a probability, differs by more than the contributions say, for all pairs alike; without c, a few
    pairs would change the contributions of single features to explain that.

    Args:
        start: contributions to begin with, [batch, gates].
        scale: how wrong each of them may be, in proportion, [batch, gates]; 0 for those that are right.
        pairs: the sets S, bool [pairs, batch, gates], drawn with the weights of KernelSHAP.
        difference: s(x_S) - s(x_{not S}), [pairs, batch].
        effects: what the reference of each pair shows, h, with a column e for something of feature i(e); None
            for one reference. The differences, to which the mean of d times the difference of the
            reference's own score has been added, then also hold

                sum_e (mean(d) - d_i(e)) h_e b_e,  b_e ~ N(0, v scale_i(e)^2),

            which is exact where the score is a sum of linear functions of features.

    Returns:
        Contributions with the sums of `start`, [batch, gates].
    """
    # On the CPU, since some devices have no eigenvalues. In double precision: of few features the same sets
    # come again and again, most eigenvalues are 0, and their rounding would decide the ratio.
    first, spread, said = (part.cpu().double() for part in (start, scale, difference.T))
    inside = pairs.transpose(0, 1).cpu().double() * 2 - 1  # [batch, pairs, gates]
    inside = inside * (spread != 0).unsqueeze(1)
    tiny = torch.finfo(first.dtype).tiny
    variance = (spread / spread.amax(1, keepdim=True).clamp_min(tiny)).square()
    guess = inside @ first.unsqueeze(2)  # of the differences, [batch, pairs, 1]
    left = said - guess.squeeze(2)
    # the covariance of the prior given the sum is diag(variance) - variance variance' / sum(variance)
    weighted = inside * variance.unsqueeze(1)
    sums = weighted.sum(2, keepdim=True)
    total = variance.sum(1).clamp_min(tiny).reshape(-1, 1, 1)
    spread_over = weighted - sums * variance.unsqueeze(1) / total  # [batch, pairs, gates]
    covariance = spread_over @ inside.transpose(1, 2)
    few = (inside.shape[1] < 2 * (spread != 0).sum(1)).reshape(-1, 1, 1)
    guess = guess / guess.abs().amax(1, keepdim=True).clamp_min(tiny) * few
    size = covariance.diagonal(dim1=1, dim2=2).mean(1).reshape(-1, 1, 1)
    covariance = covariance + _FREE * size * (guess @ guess.transpose(1, 2))
    if effects is not None:
        known = (spread != 0).unsqueeze(1)
        balance = inside.sum(2, keepdim=True) / known.sum(2, keepdim=True).clamp_min(1)
        of, shown = effects.gate, effects.columns.to(inside)
        part = ((inside - balance) * known)[:, :, of] * shown
        covariance = covariance + (part * variance[:, of].unsqueeze(1)) @ part.transpose(1, 2)
    # scores that are not finite say nothing
    finite = left.isfinite().all(1, keepdim=True) & covariance.isfinite().all(2).all(1, keepdim=True)
    covariance, left = covariance.where(finite.unsqueeze(2), 0.0), left.where(finite, 0.0)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0)
    seen = (vectors.transpose(1, 2) @ left.unsqueeze(2)).squeeze(2)
    ratio = _likeliest_ratio(values, seen)
    weights = vectors @ (seen / (values + ratio.unsqueeze(1)).clamp_min(tiny)).unsqueeze(2)
    spread_over = spread_over.where(finite.unsqueeze(2), 0.0)
    correction: Tensor = (spread_over.transpose(1, 2) @ weights).squeeze(2)
    return start + correction.to(start.dtype).to(start.device)


def _likeliest_ratio(values: Tensor, seen: Tensor) -> Tensor:
    """The variance of the noise over v under which the differences are most likely, [batch].

    Args:
        values: eigenvalues of the covariance of the differences without noise, over v, [batch, pairs].
        seen: the differences in terms of its eigenvectors, [batch, pairs].
    """
    tiny = torch.finfo(values.dtype).tiny
    size = values.mean(1, keepdim=True).clamp_min(tiny)
    ratios = size * torch.logspace(*_RATIOS, dtype=values.dtype, device=values.device)  # [batch, ratios]
    variance = values.unsqueeze(1) + ratios.unsqueeze(2)  # [batch, ratios, pairs]
    scale = (seen.square().unsqueeze(1) / variance).mean(2).clamp_min(tiny)
    cost = scale.log() + variance.log().mean(2)  # -2 / pairs times the log likelihood
    return ratios.gather(1, cost.argmin(1, keepdim=True)).squeeze(1)
