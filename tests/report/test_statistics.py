"""Intervals against SciPy, published figures and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from stg_attr.report import ReportSettings
from stg_attr.report.cohorts import class_of, cohort_of_each, in_order
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


@pytest.mark.parametrize(
    ("values", "cohorts"),
    [
        (
            np.arange(1000.0, 9000.0, 1000),
            ["below 2,750", "2,750 to 4,500", "4,500 to 6,250", "6,250 or more"],
        ),
        (np.array([True, False, True]), ["False", "True"]),
        (np.array(["b", "a", None], dtype=object), ["a", "b", "missing"]),
        (np.ma.array([10, 2, 3], mask=[False, False, True]), ["2", "10", "missing"]),
        (np.array(["b", "a", "c", "d", "e"] + ["big"] * 5), ["a", "b", "big", "all other values"]),
        (
            np.array([-4.0, np.nan, -3, -2, -1, 0]),
            ["below -3", "-3 to -2", "-2 to -1", "-1 or more", "missing"],
        ),
    ],
)
def test_cohorts_of_columns_of_any_kind_are_in_order(values, cohorts):
    found = cohort_of_each(values, ReportSettings(values=4, parts=4))
    assert len(found) == len(values)
    assert in_order(found) == cohorts


def test_a_value_is_in_the_range_that_names_it():
    values = np.random.default_rng(0).normal(size=200) * 10_000
    for value, name in zip(values, cohort_of_each(values, ReportSettings()), strict=True):
        ends = [float(part.replace(",", "")) for part in name.split() if part[-1].isdigit()]
        slack = 1  # ends are rounded
        assert name.endswith("or more") or value <= ends[-1] + slack
        assert name.startswith("below") or value >= ends[0] - slack


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (1, "1"),
        (1.0, "1"),
        (True, "1"),
        ("1", "1"),
        (None, ""),
        (float("nan"), ""),
        ("yes", "yes"),
    ],
    ids=str,
)
def test_a_label_is_the_number_of_its_class_whatever_its_type(label, name):
    assert class_of(label) == name


def test_numbers_with_the_same_first_digits_are_cut_into_ranges():
    near = 10_000 + np.arange(120) / 100
    found = cohort_of_each(near, ReportSettings())
    assert len(set(found)) > 2
    two = cohort_of_each(np.array([52.52001, 52.52002] * 4), ReportSettings())
    assert two == ["52.52001", "52.52002"] * 4
