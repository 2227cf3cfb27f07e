"""Intervals of shares and means, and of the difference of two shares."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Array", "exact_interval", "mean_interval", "score_difference", "score_interval"]

Array = NDArray[Any]

_STEPS = 60  # halvings of [0, 1]: more than a double can tell apart


def exact_interval(count: int, n: int, confidence: float) -> tuple[float, float]:
    """The exact interval of a share: all p whose two binomial tails at `count` of `n` are large enough.

    The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial (Clopper, Pearson, 1934),
    https://doi.org/10.1093/biomet/26.4.404.

    Example:
        >>> low, high = exact_interval(10, 10, 0.95)
        >>> round(low, 3), high
        (0.692, 1.0)
    """
    if not n:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else 1 - _largest(n - count, n, tail)
    return low, 1.0 if count == n else _largest(count, n, tail)


def _largest(count: int, n: int, tail: float) -> float:
    """The p at which P(X <= count) is `tail`, X binomial with n and p."""
    k = torch.arange(count + 1, dtype=torch.float64, device="cpu")
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        p = (low + high) / 2
        inside = float((ways + k * math.log(p) + (n - k) * math.log1p(-p)).exp().sum()) > tail
        low, high = (p, high) if inside else (low, p)
    return (low + high) / 2


def score_interval(count: Array, n: Array | int, confidence: float) -> tuple[Array, Array]:
    """Wilson's score interval of shares, elementwise; see `stg_attr.explanation.Restarts.interval`."""
    q, total = NormalDist().inv_cdf((1 + confidence) / 2), np.maximum(n, 1)
    share = count / total
    centre = share + q * q / (2 * total)
    width = q * np.sqrt(share * (1 - share) / total + q * q / (4 * total**2))
    scale = 1 + q * q / total
    # rounding may leave 1e-17 where the share is 0
    low = np.where(count == 0, 0.0, (centre - width) / scale)
    return low.clip(0, 1), np.where(count == n, 1.0, (centre + width) / scale).clip(0, 1)


def score_difference(
    count: Array, n: Array | int, other: Array, n_other: Array | int, confidence: float
) -> tuple[Array, Array]:
    """The interval of the difference of two shares of independent rows, `count / n - other / n_other`.

    It is method 10 of Interval estimation for the difference between independent proportions (Newcombe,
    1998), https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I
    """
    p, p_other = count / np.maximum(n, 1), other / np.maximum(n_other, 1)
    (low, high), (low_other, high_other) = (
        score_interval(count, n, confidence),
        score_interval(other, n_other, confidence),
    )
    down = np.sqrt((p - low) ** 2 + (high_other - p_other) ** 2)
    up = np.sqrt((high - p) ** 2 + (p_other - low_other) ** 2)
    return p - p_other - down, p - p_other + up


def mean_interval(values: Array, confidence: float) -> tuple[float, float, float]:
    """A mean and its interval by the normal distribution; NaN without values, and around a single one."""
    n = len(values)
    if not n:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    width = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return mean, mean - width, mean + width
