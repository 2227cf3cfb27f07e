"""Intervals against SciPy, published figures and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from stg_attr.report.statistics import exact_interval, mean_interval, score_difference, score_interval
from stg_attr.report.words import percent


@pytest.mark.parametrize(
    ("count", "n"), [(0, 7), (7, 7), (3, 7), (1, 1), (9_995, 10_000), (312, 10_000), (0, 10_000)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9999])
def test_the_exact_interval_is_that_of_scipy(count, n, confidence):
    expected = binomtest(count, n).proportion_ci(confidence, "exact")
    assert exact_interval(count, n, confidence) == pytest.approx(tuple(expected), abs=1e-9)


def test_nothing_is_known_of_no_rows():
    assert exact_interval(0, 0, 0.95) == (0.0, 1.0)
    assert all(np.isnan(mean_interval(np.zeros(0), 0.95)))


def test_the_score_interval_is_that_of_scipy():
    count = np.array([0, 3, 12, 40])
    low, high = score_interval(count, 40, 0.95)
    for k, a, b in zip(count.tolist(), low, high, strict=True):
        assert (a, b) == pytest.approx(tuple(binomtest(k, 40).proportion_ci(0.95, "wilson")), abs=1e-9)


def test_the_difference_is_that_of_newcombe():
    # 56 of 70 and 48 of 80, table II of the paper, method 10
    low, high = score_difference(np.array([56]), 70, np.array([48]), 80, 0.95)
    assert (low[0], high[0]) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_difference_covers_the_truth():
    drawn = np.random.default_rng(0)
    a, b = drawn.binomial(60, 0.3, 20_000), drawn.binomial(90, 0.5, 20_000)
    low, high = score_difference(a, 60, b, 90, 0.95)
    assert ((low <= -0.2) & (high >= -0.2)).mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.841, "84.1 %"),
        (0.95, "95 %"),
        (0.9999, "> 99.9 %"),
        (1e-5, "< 0.1 %"),
        (None, "not known"),
    ],
)
def test_shares_are_never_rounded_to_certainty(share, text):
    assert percent(share) == text
