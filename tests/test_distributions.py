"""Gate distributions: probabilities, inverses and slopes, each against an independent reckoning."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.distributions import Bernoulli, BinaryConcrete, GateDistribution, Gaussian

RELAXED = [
    BinaryConcrete(),
    BinaryConcrete(temperature=0.99),
    BinaryConcrete(temperature=0.1, lower_bound=-0.5, upper_bound=2.0),
    Gaussian(),
    Gaussian(std=1.5),
]
ALL = [*RELAXED, Bernoulli()]
PARAMETERS = torch.tensor([-4.0, -1.0, -0.2, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)

relaxed = pytest.mark.parametrize("gates", RELAXED, ids=repr)
every = pytest.mark.parametrize("gates", ALL, ids=repr)


def uniform(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator, dtype=torch.float64).clamp(2.0**-24, 1 - 2.0**-24)


@every
def test_active_probability_is_the_share_of_samples_above_zero(gates):
    n = 100_000
    active = gates.active_probability(PARAMETERS)
    share = (gates.sample(PARAMETERS, uniform(n, len(PARAMETERS))) > 0).double().mean(0)
    error = (active * (1 - active) / n).sqrt()
    assert bool(((share - active).abs() <= 4 * error + 1 / n).all())


@every
@given(probability=st.floats(1e-6, 1 - 1e-6))
def test_parameter_at_is_the_inverse_of_the_active_probability(gates, probability):
    wanted = torch.tensor(probability, dtype=torch.float64)
    torch.testing.assert_close(
        gates.active_probability(gates.parameter_at(wanted)), wanted, rtol=1e-9, atol=0
    )


@every
@given(parameter=st.floats(-2, 2))
def test_the_active_probability_is_the_inverse_of_parameter_at(gates, parameter):
    there = torch.tensor(parameter, dtype=torch.float64)
    torch.testing.assert_close(
        gates.parameter_at(gates.active_probability(there)), there, rtol=1e-9, atol=1e-9
    )


@every
def test_a_larger_parameter_is_more_often_open(gates):
    grid = torch.linspace(-3, 3, 200, dtype=torch.float64)
    assert bool((gates.active_probability(grid).diff() > 0).all())
    opened = gates.sample(grid, uniform(50, 1).expand(50, 200))
    assert bool((opened.diff(dim=1) >= 0).all())


@every
@given(
    parameter=st.floats(-1e4, 1e4, width=32),
    noise=st.floats(2.0**-24, 1 - 2.0**-24, width=32),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_samples_and_probabilities_stay_in_the_unit_interval(gates, parameter, noise, dtype):
    a, u = torch.tensor(parameter, dtype=dtype), torch.tensor(noise, dtype=dtype)
    for value in (gates.sample(a, u), gates.active_probability(a), gates.value(a)):
        assert 0 <= float(value) <= 1  # a NaN fails this
        assert value.dtype == dtype


@every
def test_samples_are_not_rounded_away_from_single_precision(gates):
    a, u = PARAMETERS.float(), uniform(1000, len(PARAMETERS)).float()
    single, double = gates.sample(a, u), gates.sample(a.double(), u.double())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)  # 24 bits, divided by T = 0.1


@relaxed
def test_autograd_agrees_with_finite_differences(gates):
    a = PARAMETERS.clone().requires_grad_()
    u = uniform(20, len(PARAMETERS))
    assert torch.autograd.gradcheck(lambda a: gates.sample(a, u), (a,))
    assert torch.autograd.gradcheck(gates.active_probability, (a,))
    inside = a.detach()[1:-1].clamp(0.1, 0.9).requires_grad_()  # away from the corners of the clamp
    assert torch.autograd.gradcheck(gates.value, (inside,))


@relaxed
def test_the_mean_slope_of_samples_is_the_slope_of_their_mean(gates):
    """Unbiased to 1e-3 of a slope near 0.2, by the midpoint rule over the noise."""
    n, h = 200_000, 1e-3
    u = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    a = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(gates.sample(a, u).mean(0).sum(), a)
    with torch.no_grad():
        difference = (gates.sample(a + h, u).mean(0) - gates.sample(a - h, u).mean(0)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=0, atol=2e-4)


def test_slope_of_the_active_probability_of_hard_concrete_gates():
    """sigma'(a - T log(-lo / hi)), by hand."""
    gates = BinaryConcrete(temperature=0.5, lower_bound=-0.2, upper_bound=1.4)
    a = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    gates.active_probability(a).backward()
    p = 1 / (1 + math.exp(-(0.3 - 0.5 * math.log(0.2 / 1.4))))
    assert math.isclose(float(a.grad), p * (1 - p), rel_tol=1e-12)


@pytest.mark.parametrize("gates", [BinaryConcrete(), Gaussian(std=1.5)], ids=repr)
def test_relaxed_gates_close_and_open_fully_and_show_values_between(gates):
    z = gates.sample(torch.tensor(0.0, dtype=torch.float64), uniform(10_000))
    assert bool((z == 0).any())
    assert bool((z == 1).any())
    assert bool(((z > 0) & (z < 1)).any())


def test_coins_are_exactly_zero_or_one_and_carry_no_gradient():
    a = PARAMETERS.clone().requires_grad_()
    z = Bernoulli().sample(a, uniform(500, len(PARAMETERS)))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert not z.requires_grad


def test_value_of_a_hard_concrete_gate_ignores_the_temperature():
    """sigmoid(a) (hi - lo) + lo, cut to [0, 1] unless told not to."""
    a = torch.tensor([-9.0, 0.0, 9.0], dtype=torch.float64)
    raw = torch.sigmoid(a) * 1.2 - 0.1
    for temperature in (0.1, 0.9):
        gates = BinaryConcrete(temperature)
        torch.testing.assert_close(gates.value(a, clamp=False), raw)
        torch.testing.assert_close(gates.value(a), raw.clamp(0, 1))


def test_raw_value_of_a_gaussian_gate_does_not_share_its_parameter():
    mu = torch.tensor([-0.5, 0.25, 3.0])
    Gaussian().value(mu, clamp=False).zero_()
    assert mu.tolist() == [-0.5, 0.25, 3.0]
    assert Gaussian().value(mu).tolist() == [0.0, 0.25, 1.0]


def test_small_probabilities_of_gaussian_gates_do_not_cancel_to_zero():
    mu = torch.tensor([-2.0, -4.0, -6.0])
    expected = [0.5 * math.erfc(4 * k / math.sqrt(2)) for k in (1, 2, 3)]
    found = Gaussian().active_probability(mu).tolist()
    assert all(math.isclose(p, q, rel_tol=1e-5) for p, q in zip(found, expected, strict=True))


@every
def test_a_solve_starts_where_samples_differ(gates):
    start = torch.tensor(gates.start, dtype=torch.float64)
    assert float(gates.sample(start, uniform(1000)).std()) > 0.1


class Plain(GateDistribution):
    """A gate that someone wrote without formulas for its derivatives."""

    def sample(self, parameter, uniform):
        return (uniform + parameter).clamp(0, 1)

    def active_probability(self, parameter):
        return (1 + parameter).clamp(0, 1) ** 2

    def value(self, parameter, clamp=True):
        return parameter

    def parameter_at(self, probability):
        return probability.sqrt() - 1

    def __repr__(self):
        return "Plain()"


@pytest.mark.parametrize(
    "gate", [BinaryConcrete(), BinaryConcrete(1.3, -0.3, 1.2), Gaussian(), Plain()], ids=repr
)
def test_derivatives_are_those_of_autograd(gate):
    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(5, 1, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(5, 3, 4, generator=generator, dtype=torch.float64).clamp(0.01, 0.99)
    expanded = parameter.expand(5, 3, 4)
    z = gate.sample(expanded, uniform)
    (expected,) = torch.autograd.grad(z.sum(), expanded)
    found, slope = gate.sample_with_slope(parameter.detach(), uniform)
    assert torch.equal(found, z.detach())
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-14)
    (expected,) = torch.autograd.grad(gate.active_probability(parameter).sum(), parameter)
    torch.testing.assert_close(gate.openness(parameter.detach()), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gates", [BinaryConcrete(0.5), Gaussian(0.7), Bernoulli()], ids=repr)
def test_a_pickle_that_names_the_former_file_loads(gates):
    text = pickle.dumps(gates, protocol=0)
    assert b"stg_attr.distributions" in text
    assert pickle.loads(text.replace(b"stg_attr.distributions", b"stg_attr.gates.distributions")) == gates
