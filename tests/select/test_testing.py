"""Sequential tests: wrong claims are as rare as they say, right ones are found, however often one looks."""

import math

import pytest
import torch

from stg_attr.errors import ArgumentError
from stg_attr.select import CertificateSettings, OnAverage, OnMost, Sweep
from stg_attr.select.testing import least_rows, log_wealth, lower_bound

SETTINGS = CertificateSettings()
REPEATS = 4000


def _drawn(kind, mean, n=200):
    """Margins in units of a share whose true mean is `mean`, [n, REPEATS]; floors at -0.9."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(n, REPEATS, generator=generator, dtype=torch.float64)
    if kind == "two points":  # all is kept, or nothing
        return torch.where(uniform < (mean + 0.9), 0.1, -0.9)
    if kind == "rare disasters":
        rate = (0.1 - mean) / 1.0
        return torch.where(uniform < rate, -0.9, 0.1)
    if kind == "even":
        return mean + 0.4 * (uniform - 0.5)
    if kind == "long upper tail":  # exponential: no upper bound
        return mean + 0.2 * (-uniform.log() - 1)
    raise ValueError(kind)


@pytest.mark.parametrize("kind", ["two points", "rare disasters", "even", "long upper tail"])
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_a_wrong_claim_is_ever_certified_with_no_more_than_the_stated_probability(kind, delta):
    """At the worst case, a mean of exactly 0, with a look after every reference."""
    reached = (log_wealth(_drawn(kind, 0.0), -0.9, SETTINGS) >= -math.log(delta)).any(0)
    error = math.sqrt(delta * (1 - delta) / REPEATS)
    assert float(reached.double().mean()) <= delta + 3 * error


@pytest.mark.parametrize("kind", ["two points", "even", "long upper tail"])
def test_a_right_claim_is_certified(kind):
    margins = _drawn(kind, 0.085)
    reached = (log_wealth(margins, -0.9, SETTINGS) >= -math.log(0.05)).any(0)
    assert float(reached.double().mean()) > 0.95


@pytest.mark.parametrize("kind", ["two points", "even", "long upper tail"])
def test_a_lower_bound_is_below_the_mean_as_often_as_it_says(kind):
    margins = _drawn(kind, 0.05, n=60)[:, :1000]
    delta, floor = torch.full((1000,), 0.1), torch.full((1000,), -0.9, dtype=torch.float64)
    bound = lower_bound(margins, -0.9, floor, delta, SETTINGS)
    assert float((bound > 0.05).double().mean()) <= 0.1 + 3 * math.sqrt(0.09 / 1000)
    assert float(bound.median()) > -0.2  # and not far below


def test_the_bound_says_what_the_test_says():
    margins = _drawn("even", 0.03, n=60)[:, :300]
    delta, floor = torch.full((300,), 0.05), torch.full((300,), -0.9, dtype=torch.float64)
    passed = (log_wealth(margins, -0.9, SETTINGS) >= -math.log(0.05)).any(0)
    assert 0 < int(passed.sum()) < 300
    assert torch.equal(lower_bound(margins, -0.9, floor, delta, SETTINGS) >= 0, passed)


def test_what_comes_after_the_last_reference_of_an_example_does_not_count():
    margins = _drawn("even", 0.05, n=60)[:, :50]
    short = margins.clone()
    short[30:] = torch.nan
    delta, floor = torch.full((50,), 0.05), torch.full((50,), -0.9, dtype=torch.float64)
    alone = lower_bound(margins[:30], -0.9, floor, delta, SETTINGS)
    assert torch.equal(lower_bound(short, -0.9, floor, delta, SETTINGS), alone)


def test_margins_below_the_floor_count_as_the_floor():
    margins = torch.tensor([[0.1], [-5.0], [0.1]], dtype=torch.float64)
    cut = torch.tensor([[0.1], [-0.9], [0.1]], dtype=torch.float64)
    assert torch.equal(log_wealth(margins, -0.9, SETTINGS), log_wealth(cut, -0.9, SETTINGS))


@pytest.mark.parametrize(("target", "delta"), [(0.9, 0.05), (0.9, 0.02), (0.5, 0.05)])
def test_the_least_rows_are_those_after_which_perfect_sets_pass(target, delta):
    n = least_rows(target, delta, SETTINGS)
    perfect = torch.full((n, 1), 1 - target, dtype=torch.float64)
    wealth = log_wealth(perfect, -target, SETTINGS)
    assert float(wealth[-1]) >= -math.log(delta) > float(wealth[-2] if n > 1 else -1)
    # no test of a mean can do with fewer: perfect rows have this probability where the mean is the target
    assert n >= math.log(delta) / math.log(target)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan"), "0.9"])
def test_a_confidence_is_between_none_and_all(confidence):
    for kind in (OnAverage, OnMost):
        with pytest.raises(ArgumentError, match="confidence: expected a number in"):
            kind(confidence=confidence)


@pytest.mark.parametrize("share", [0, 1, 50])
def test_most_is_a_share(share):
    with pytest.raises(ArgumentError, match="share: expected a number in"):
        OnMost(share=share)


def test_a_claim_is_an_object():
    with pytest.raises(ArgumentError, match=r"claim: expected an instance.*OnAverage\(\)"):
        Sweep(claim="average")
