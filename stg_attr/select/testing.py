"""Sequential tests: how many fresh references it takes to be sure that a mean is above a value."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .settings import CertificateSettings
from .sparsity import Sparsity

__all__ = ["held_out", "hopeless", "least_rows", "log_wealth", "lower_bound"]


def log_wealth(
    margins: Tensor, floor: Tensor | float, settings: CertificateSettings, shift: float = 0.0
) -> Tensor:
    r"""Logarithm of the wealth of a bettor against "the mean margin is at most `shift`".

        W_n = prod_i (1 + l_i (x_i - m)),   l_i = (mu_i - m) / (var_i + (mu_i - m)^2)  cut to [0, c / (m -
        floor)]

    with mu_i and var_i the mean and variance of the margins before the i-th and of some made-up first ones.
    If the mean is at most m, W is a nonnegative supermartingale that starts at 1, so it ever reaches 1 /
    delta with a probability of at most delta (Ville): one may look after every reference, and stop whenever
    one likes. Estimating means of bounded random variables by betting (Waudby-Smith, Ramdas, 2020),
    https://arxiv.org/abs/2010.09686. No upper bound of the margins is needed for this side; smaller margins
    than `floor` count as `floor`.

    Args:
        margins: of fresh references one after the other, [references, ...].
        floor: the smallest value that a margin counts as, below `shift`; one, or one for each example.
        settings: the prior, and c.
        shift: m.

    Returns:
        The logarithm after each reference, [references, ...].
    """
    lowest = torch.as_tensor(floor, dtype=torch.float64, device=margins.device)
    x = margins.double().maximum(lowest)
    n = torch.arange(len(x), dtype=torch.float64, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
    weight = settings.prior_rows
    first = weight * settings.prior_mean, weight * (settings.prior_mean**2 + settings.prior_sd**2)
    mean = (first[0] + x.cumsum(0) - x) / (weight + n)
    square = (first[1] + x.square().cumsum(0) - x.square()) / (weight + n)
    variance = (square - mean.square()).clamp_min(1e-4)
    above = mean - shift
    bet = (above / (variance + above.square())).clamp_min(0).minimum(settings.largest_bet / (shift - lowest))
    return torch.log1p(bet * (x - shift)).cumsum(0)


def lower_bound(
    margins: Tensor, lowest: float, floor: Tensor, delta: Tensor, settings: CertificateSettings
) -> Tensor:
    """A lower confidence bound of the mean margin, [examples]: the largest value that the test rules out.

    Args:
        margins: [references, examples]; NaN after an example's last.
        lowest: where values begin, at least all of `floor`.
        floor: as for `log_wealth`, [examples].
        delta: probability of being wrong, [examples].
        settings: as for `log_wealth`; and how fine the grid of values is.
    """
    known = ~margins.isnan()
    x, bound = margins.where(known, torch.zeros_like(margins)), torch.full_like(delta, lowest)
    highest = max(settings.grid_step, float(x.max()) if x.numel() else 0.0)
    for step in range(1, math.ceil((highest - lowest) / settings.grid_step)):
        value = lowest + step * settings.grid_step
        value = 0.0 if abs(value) < settings.grid_step / 2 else value  # what is claimed is among the values
        reached = log_wealth(x, floor, settings, value) >= -delta.double().log()
        ruled_out = (reached & known).any(0)
        bound = torch.where(ruled_out, value, bound)
        if not bool(ruled_out.any()):
            break
    return bound


def hopeless(margins: Tensor, wealth: Tensor, needed: float, n_rows: int, last: Tensor) -> Tensor:
    """Whether tests will probably fail, bool [examples].

    Args:
        margins: of the references that were measured, [references, examples].
        wealth: its logarithm so far, [examples].
        needed: what it must reach.
        n_rows: number of references that there are.
        last: tests that go on while the claim may be true, since no other set follows, bool [examples].
    """
    n, mean = len(margins), margins.mean(0)
    highest = mean + 2 * margins.std(0) / n**0.5
    rows_left = (needed - wealth) / (wealth / n).clamp_min(1e-9)  # that it would take at the present rate
    return torch.where(last, highest < 0, (mean < 0) | (rows_left > n_rows - n))


def least_rows(target: float, delta: float, settings: CertificateSettings) -> int:
    """References that it takes to certify a set that keeps everything.

    Where it takes more than `most_rows`, which is the most that a test uses, the answer is `most_rows` + 1.
    """
    # `log_wealth` in plain numbers: this runs before every solve, which makes no tensors in double precision
    largest, margin = settings.largest_bet / target, 1 - target
    weight, mean, square = (
        settings.prior_rows,
        settings.prior_mean,
        settings.prior_mean**2 + settings.prior_sd**2,
    )
    wealth, n = 0.0, 0
    while wealth < -math.log(delta) and n <= settings.most_rows:
        now = (weight * mean + n * margin) / (weight + n)
        variance = max((weight * square + n * margin**2) / (weight + n) - now**2, 1e-4)
        wealth += math.log1p(min(now / (variance + now**2), largest) * margin)
        n += 1
    return n


def held_out(n: int, sparsity: Sparsity, settings: CertificateSettings) -> int:
    """How many of n references are kept for a certificate: none where they are too few for one.

    Args:
        n: number of references.
        sparsity: what is claimed.
        settings: how it is tested.
    """
    if sparsity.claim is None:
        return 0
    rows = min(int(settings.held_out * n), settings.most_rows)
    delta = (1 - sparsity.claim.confidence) * settings.first_weight
    return rows if rows >= least_rows(sparsity.claim.target(sparsity.retain), delta, settings) else 0
