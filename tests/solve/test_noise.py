"""Noise: a function of seed, step, sample and gate; antithetic; uniform; private."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.gates import Blend, FeatureGroups
from stg_attr.solve import Noise
from tests.examples import examples


def _order(n):
    x = torch.zeros(1, 2)
    return Blend((x,), (torch.zeros(n, 1, 2),), FeatureGroups.from_mask(None, (x,))).reference_order


@given(st.integers(-(10**9), 10**9), st.integers(0, 1000), st.integers(1, 9), st.integers(1, 40))
@examples(25)
def test_more_gates_change_nothing_for_those_that_were_there(seed, step, samples, gates):
    few, many = (Noise(seed).uniform(step, samples, n) for n in (gates, gates + 7))
    assert few.shape == (samples, 1, gates)
    assert torch.equal(few, many[:, :, :gates])


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_samples_come_in_pairs_that_mirror_each_other(samples):
    u = Noise(0).uniform(0, samples, 1000)
    half = (samples + 1) // 2
    torch.testing.assert_close(u[: samples - half] + u[half:], torch.ones(samples - half, 1, 1000))


def test_noise_is_uniform_and_inside_the_open_interval():
    u = torch.cat([Noise(3).uniform(step, 4, 1000) for step in range(50)]).flatten()  # 200,000 numbers
    assert bool(((u > 0) & (u < 1)).all())
    assert bool(torch.logit(u).isfinite().all())
    share = torch.histc(u, 10, 0, 1) / u.numel()
    # standard error of a bin: sqrt(.1 * .9 / 100,000 pairs) = .00095; five of them
    torch.testing.assert_close(share, torch.full((10,), 0.1), rtol=0, atol=0.005)


def test_gates_samples_and_steps_are_uncorrelated():
    u = torch.stack([Noise(5).uniform(step, 4, 3)[:2, 0].flatten() for step in range(5000)])  # [steps, 6]
    correlation = torch.corrcoef(u.T) - torch.eye(6)
    assert float(correlation.abs().max()) < 5 / 5000**0.5
    assert abs(float(torch.corrcoef(torch.stack([u[1:, 0], u[:-1, 0]]))[0, 1])) < 5 / 5000**0.5


@pytest.mark.parametrize("drawn", [0.0, 1 - 2.0**-24])
def test_the_ends_of_the_interval_are_never_reached(monkeypatch, drawn):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, drawn))
    assert bool(torch.logit(Noise(0).uniform(0, 4, 3)).isfinite().all())


def test_seeds_and_steps_differ():
    drawn = [Noise(seed).uniform(step, 2, 50) for seed in (0, 1, 2) for step in (0, 1, 2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_one_seed_gives_one_result_and_the_global_state_is_not_touched():
    before = torch.random.get_rng_state()
    torch.rand(3)
    after = torch.random.get_rng_state()
    first, second = (Noise(-7).uniform(2, 5, 9) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), after)
    torch.random.set_rng_state(before)


def test_every_reference_is_shown_before_one_is_shown_again():
    noise = Noise(0)
    order = _order(10)
    assert sorted(order.tolist()) == list(range(10))
    assert torch.equal(_order(10), order)  # it depends on no seed
    shown = torch.cat([noise.references(step, 4, order) for step in range(5)])
    assert shown[:10].tolist() == shown[10:].tolist() == order.tolist()


@pytest.mark.parametrize("samples", [1, 3, 7])
def test_a_step_goes_on_with_the_references_where_the_last_one_stopped(samples):
    noise = Noise(4)
    order = _order(5)
    shown = torch.cat([noise.references(step, samples, order) for step in range(6)])
    assert shown.tolist() == [int(order[i % 5]) for i in range(6 * samples)]


def test_the_sweep_starts_somewhere_in_the_unit_interval():
    starts = [Noise(seed).start() for seed in range(200)]
    assert all(0 <= start < 1 for start in starts)
    assert len(set(starts)) == 200


@given(samples=st.integers(1, 7), gates=st.integers(1, 5), first=st.integers(0, 40), steps=st.integers(1, 5))
def test_noise_of_several_steps_is_that_of_each(samples: int, gates: int, first: int, steps: int) -> None:
    together = Noise(2).uniform(first, samples, gates, steps)
    each = [Noise(2).uniform(step, samples, gates) for step in range(first, first + steps)]
    assert torch.equal(together, torch.cat(each))
