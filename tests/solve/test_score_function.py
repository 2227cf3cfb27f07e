"""The score function: unbiased while it learns, less noisy for it, each example and each gate for itself."""

import pytest
import torch

from stg_attr import StochasticGates
from stg_attr.gates import Bernoulli
from stg_attr.solve import Noise, ScoreFunction
from stg_attr.solve.noise import partners

from .reference import expectation_over_coins, score_function

GATES = Bernoulli()
REPLICATES = 20_000


def _noise(samples, batch, gates, seed):
    """Antithetic pairs, another one for every example."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand((samples + 1) // 2, batch, gates, generator=generator, dtype=torch.float64)
    return torch.cat([half, 1 - half])[:samples]


def _bent(z):
    """Neither additive nor the same at every level."""
    return (z[..., 0] * z[..., 1] + z.mean(-1)) ** 2 + 3


def _steps(loss, parameters, n_samples, seed=0, batch=REPLICATES):
    """Gradients of consecutive steps of one solve, one for each example, [steps, batch, gates]."""
    gates = parameters.shape[-1]
    run = ScoreFunction().begin(torch.ones(1, gates, dtype=torch.bool))
    found = []
    for step, parameter in enumerate(parameters):  # [samples, gates]
        level = parameter[:, None].expand(n_samples, batch, gates)
        uniform = _noise(n_samples, batch, gates, 1000 * seed + step)
        estimate = run.estimate(GATES, level, uniform, loss)
        found.append(estimate.gradient.mean(0))
    return torch.stack(found)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_gates", [3, ScoreFunction().most_slopes + 1], ids=["own slopes", "mean slopes"])
def test_every_step_is_unbiased_against_enumeration_also_after_the_control_variate_has_learned(
    n_samples, n_gates
):
    """Three gates that count, at three steps and levels: within five standard errors of 20,000 solves."""
    batch = REPLICATES if n_gates == 3 else 2000
    levels = torch.tensor([[0.0, 0.0, 0.0], [0.5, -1.0, 2.0], [-1.5, 0.3, 0.8]], dtype=torch.float64)
    parameters = torch.zeros(3, n_samples, n_gates, dtype=torch.float64)
    parameters[..., :3] = levels[:, None] + torch.linspace(-1, 1, n_samples).double()[:, None]

    def loss(z):
        return _bent(z[..., :3])

    found = _steps(loss, parameters, n_samples, batch=batch)[..., :3]
    for step, parameter in enumerate(parameters[..., :3]):
        leaf = parameter.clone().requires_grad_()
        expected = sum(expectation_over_coins(loss, torch.sigmoid(one)) for one in leaf)
        (exact,) = torch.autograd.grad(expected, leaf)
        error = found[step].std(0) / batch**0.5
        assert bool(((found[step].mean(0) - exact.mean(0)).abs() <= 5 * error).all()), step


@pytest.mark.parametrize("n_samples", [2, 4, 8])
@pytest.mark.parametrize(
    "n_gates", [3, ScoreFunction().most_slopes + 1, 1], ids=["own slopes", "mean slopes", "one gate"]
)
def test_gradients_are_those_of_a_regression_written_out(n_samples, n_gates):
    """Two examples at once; levels differ by sample and step, and some gates are open almost always."""
    run, steps = ScoreFunction().begin(torch.ones(1, n_gates, dtype=torch.bool)), ([], [])
    generator = torch.Generator().manual_seed(1)
    found = []
    for step in range(5):
        level = 2 * torch.randn(n_samples, 2, n_gates, generator=generator, dtype=torch.float64)
        level[..., 0] += 6 * (step == 3)
        uniform = _noise(n_samples, 2, n_gates, step)
        z, p = GATES.sample(level, uniform), torch.sigmoid(level)
        loss = (z[..., 0] + z.mean(-1)) ** 2 + torch.tensor([1.0, 5.0])
        found.append(run.estimate(GATES, level, uniform, lambda z, loss=loss: loss).gradient)
        for example in range(2):
            steps[example].append((p[:, example], z[:, example], loss[:, example]))
    for example in range(2):
        written_out = score_function(steps[example], ScoreFunction())
        for mine, expected in zip(found, written_out, strict=True):
            torch.testing.assert_close(mine[:, example], expected, rtol=1e-6, atol=1e-6)


def test_the_control_variate_takes_noise_away():
    """On a sum, all of it: after one step of 32 samples the slopes of 4 gates are known."""
    worth = torch.tensor([3.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    variance = _steps(lambda z: z @ worth + 7, torch.zeros(8, 32, 4).double(), 32, batch=500).var(1).sum(1)
    assert float(variance[1]) < 0.2 * float(variance[0])
    assert float(variance[7]) < 0.01 * float(variance[0])


def test_a_constant_makes_no_difference_once_it_has_been_seen():
    parameters = torch.zeros(4, 8, 3).double()
    plain, shifted = (_steps(lambda z, c=c: _bent(z) + c, parameters, 8, batch=50) for c in (0.0, 50.0))
    assert float((plain[3] - shifted[3]).abs().max()) < 0.02


def _one_solve(batch, rows=None, loss=None, n_gates=3, exists=None):
    exists = torch.ones(1, n_gates, dtype=torch.bool) if exists is None else exists
    run, found = ScoreFunction().begin(exists), []
    scale = torch.arange(1.0, batch + 1, dtype=torch.float64)
    for step in range(4):
        if rows is not None and step == 2:
            run, scale = run.rows(rows), scale[rows]
        uniform = Noise(0).uniform(step, 8, n_gates).double().expand(8, len(scale), n_gates)
        factor = scale
        found.append(
            run.estimate(
                GATES,
                torch.zeros_like(uniform),
                uniform,
                lambda z, factor=factor: (loss or _bent)(z[..., :3]) * factor,
            ).gradient
        )
    return found


def test_examples_that_leave_take_their_memory_with_them():
    whole, part = _one_solve(4), _one_solve(4, rows=torch.tensor([1, 3]))
    for step in (2, 3):
        torch.testing.assert_close(part[step], whole[step][:, [1, 3]], rtol=1e-10, atol=1e-10)


def test_gates_that_do_not_exist_change_nothing():
    exists = torch.tensor([[True, True, True, False, False]])
    plain, padded = _one_solve(2), _one_solve(2, n_gates=5, exists=exists)
    for a, b in zip(plain, padded, strict=True):
        torch.testing.assert_close(b[..., :3], a, rtol=1e-9, atol=1e-9)
        assert not bool(b[..., 3:].any())


def test_samples_without_a_loss_say_nothing():
    def failing(z):
        return torch.where(z.sum(-1) == 2, torch.nan, _bent(z))

    assert all(bool(gradient.isfinite().all()) for gradient in _one_solve(3, loss=failing))
    nothing = _one_solve(3, loss=lambda z: torch.full_like(z[..., 0], torch.inf))
    assert not any(bool(gradient.any()) for gradient in nothing)


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_partners_share_their_noise(samples):
    uniform = Noise(3).uniform(0, samples, 6)
    pairs = partners(uniform)
    alone = torch.zeros(samples, dtype=torch.bool)
    if samples % 2:
        alone[samples // 2] = True
    torch.testing.assert_close(pairs[~alone], torch.ones_like(pairs[~alone]))
    assert torch.equal(pairs[alone], uniform[alone])


def test_examples_that_are_solved_together_take_bounded_memory():
    """The normal equations of an example grow with the square of its gates."""
    estimator = ScoreFunction()
    assert estimator.most_together(256) * (256 + estimator.n_powers) ** 2 <= estimator.most_fitted
    assert estimator.most_together(257) > 100_000  # one term for all slopes
    x = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    forward = lambda rows: rows @ torch.arange(12.0)  # noqa: E731
    whole, parts = (
        StochasticGates(forward, estimator=ScoreFunction(most_fitted=n)).explain(x, n_steps=3)
        for n in (2**22, 2 * 16**2)
    )
    torch.testing.assert_close(whole.attributions, parts.attributions)
    assert torch.equal(whole.selected, parts.selected)
