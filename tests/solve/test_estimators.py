"""Estimators: unbiased against gradients by quadrature, and what one estimate must say."""

import pytest
import torch

from stg_attr.gates import Bernoulli, BinaryConcrete, Gaussian
from stg_attr.solve import Noise, Reparameterized, ScoreFunction

from .reference import AskedLoss, expectation, expectation_over_coins

PATHWISE = [
    (Reparameterized(), BinaryConcrete()),
    (Reparameterized(), BinaryConcrete(0.99)),
    (Reparameterized(), Gaussian()),
]
PAIRS = [*PATHWISE, (ScoreFunction(), Bernoulli())]  # every estimator, with gates that go with it
DRAWS = 40_000  # gate samples of each unbiasedness test
PARAMETER = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
LOSSES = {
    "linear": lambda z: 2 * z[..., 0] - z[..., 1],
    "quadratic": lambda z: (z[..., 0] + z[..., 1] - 0.5) ** 2,
    "product": lambda z: z[..., 0] * z[..., 1],
}


def _estimate(estimator, gates, loss, parameter, uniform):
    parameter = parameter.expand(len(uniform), *parameter.shape)
    uniform = uniform.to(parameter.dtype).expand(parameter.shape)
    return estimator.estimate(gates, parameter, uniform, AskedLoss(loss))


def _exact_gradient(gates, loss):
    """Of E[loss] in the parameters: central differences of a sum over coins, or of an integral over noise."""

    def expected(parameter):
        if isinstance(gates, Bernoulli):
            return float(expectation_over_coins(loss, gates.active_probability(parameter)))
        return float(expectation(lambda u: loss(gates.sample(parameter, u)), 2))

    step = 1e-3
    return torch.tensor(
        [
            (expected(PARAMETER[0] + step * unit) - expected(PARAMETER[0] - step * unit)) / (2 * step)
            for unit in torch.eye(2, dtype=torch.float64)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("estimator", "gates"), PAIRS, ids=repr)
def test_an_estimate_is_unbiased(estimator, gates, loss):
    """Within five standard errors of 40,000 draws, and these are below 0.01."""
    uniform = Noise(0).uniform(0, DRAWS, 2)
    gradient = _estimate(estimator, gates, loss, PARAMETER, uniform).gradient[:, 0]
    pairs = gradient.reshape(2, DRAWS // 2, 2).mean(0)  # antithetic pairs are the independent draws
    error = pairs.std(0) / (DRAWS // 2) ** 0.5
    assert float(error.max()) < 0.01
    grid = 1e-3  # what the quadrature itself is off by, at the kinks of the clamp
    assert bool(((pairs.mean(0) - _exact_gradient(gates, loss)).abs() <= 5 * error + grid).all())


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(("estimator", "gates"), PAIRS, ids=repr)
def test_everything_is_detached_and_has_the_stated_shape(estimator, gates, samples):
    uniform = Noise(2).uniform(0, samples, 2)
    estimate = _estimate(estimator, gates, LOSSES["linear"], PARAMETER.expand(3, 2), uniform)
    assert estimate.gradient.shape == estimate.slope.shape == (samples, 3, 2)
    assert estimate.loss.shape == (samples, 3)
    assert not any(value.requires_grad for value in vars(estimate).values())


@pytest.mark.parametrize(("estimator", "gates"), PATHWISE, ids=repr)
def test_a_gate_that_the_model_does_not_react_to_has_no_slope(estimator, gates):
    uniform = Noise(2).uniform(0, 4, 2)
    estimate = _estimate(estimator, gates, lambda z: z[..., 0] ** 2, PARAMETER, uniform)
    assert torch.equal(estimate.slope[..., 1], torch.zeros(4, 1, dtype=torch.float64))
    assert torch.equal(estimate.gradient[..., 1], torch.zeros(4, 1, dtype=torch.float64))
    assert bool((estimate.slope[..., 0] != 0).any())


@pytest.mark.parametrize(("estimator", "gates"), PAIRS, ids=repr)
def test_rows_do_not_depend_on_each_other_also_where_the_loss_is_not_finite(estimator, gates):
    uniform = Noise(3).uniform(0, 6, 2)

    def failing(z):
        factor = torch.tensor([1.0, torch.nan, 1.0], dtype=z.dtype)
        return LOSSES["quadratic"](z) * factor

    parameter = PARAMETER * torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    whole = _estimate(estimator, gates, LOSSES["quadratic"], parameter, uniform)
    broken = _estimate(estimator, gates, failing, parameter, uniform)
    assert torch.equal(broken.gradient[:, [0, 2]], whole.gradient[:, [0, 2]])
    assert bool(broken.gradient.isfinite().all() and broken.slope.isfinite().all())
    assert torch.equal(broken.gradient[:, 1], torch.zeros(6, 2, dtype=torch.float64))


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_infinite_slope_of_a_finite_loss_says_nothing(sign):
    """The root of a closed gate."""
    uniform = torch.tensor([[[0.01, 0.6]]])
    estimate = _estimate(
        Reparameterized(), BinaryConcrete(), lambda z: sign * z.sqrt().sum(2), PARAMETER * 0, uniform
    )
    assert estimate.slope[0, 0, 0] == 0
    assert bool((estimate.slope[0, 0, 1] * sign > 0).all())


def test_estimators_say_which_gates_they_can_learn():
    for gates in (BinaryConcrete(), Gaussian(), Bernoulli()):
        assert Reparameterized().fits(gates) != isinstance(gates, Bernoulli)
        assert ScoreFunction().fits(gates) == isinstance(gates, Bernoulli)
    for estimator in (Reparameterized(), ScoreFunction()):
        assert estimator.fits(estimator.gates)


def test_parameters_of_a_model_get_no_gradient():
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    uniform = Noise(0).uniform(0, 2, 2)
    _estimate(Reparameterized(), BinaryConcrete(), lambda z: (z * weight).sum(2), PARAMETER, uniform)
    assert weight.grad is None
