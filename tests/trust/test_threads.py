"""Threads: solves at once on one model give what they give one after the other."""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from stg_attr import Budget, FixedWeight, LayerStochasticGates, StochasticGates, Sweep
from stg_attr.gates.references import noise, permuted
from tests.models import mlp


class Noisy(nn.Module):
    """Draws from torch's global generator at every call, and lets other threads in between."""

    def __init__(self):
        super().__init__()
        self.net = mlp(6, 16, 3)
        self.pause = threading.Event()

    def forward(self, x):
        noise = torch.randn(3)
        self.pause.wait(0.001)
        return self.net(x) + 0.1 * noise


def _explain(stg, x, seed):
    explanation = stg.explain(x, seed=seed, n_steps=6, n_samples=4)
    return explanation.log_alpha, explanation.scores.kept, explanation.curve.removed


@pytest.mark.filterwarnings("ignore:.*Not reproducible")
def test_solves_at_once_are_solves_one_after_the_other(untouched):
    stg = StochasticGates(Noisy())
    jobs = [(stg, torch.randn(2, 6, generator=torch.Generator().manual_seed(i)), i) for i in range(4)]
    alone = [_explain(*job) for job in jobs]
    with untouched(stg.forward_func, *(job[1] for job in jobs)), ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda job: _explain(*job), jobs))
    for one, other in zip(alone, at_once, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_solve_within_a_solve_does_not_wait_for_itself():
    """A model may ask for attributions of its own parts."""
    inner = StochasticGates(lambda x: x[:, 0])

    def model(x):
        found = inner.attribute(torch.ones(1, 2), n_steps=1, n_samples=2)
        return x.sum(1) * found[0, 0]

    found = []
    thread = threading.Thread(
        target=lambda: found.append(
            StochasticGates(model).attribute(torch.ones(1, 2), n_steps=1, n_samples=2)
        ),
        daemon=True,
    )
    thread.start()
    thread.join(60)
    assert len(found) == 1


def test_an_error_in_one_thread_lets_the_next_one_in():
    def failing(x):
        raise RuntimeError("the model's own error")

    def attempt(model):
        try:
            return StochasticGates(model).attribute(torch.ones(1, 3), n_steps=1)
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(attempt, [failing, lambda x: x.sum(1)])
    assert first == "the model's own error"
    assert second.shape == (1, 3)


def test_gates_on_a_layer_and_on_the_input_of_one_model_do_not_meet():
    """The hook of one solve must not change what another one sees."""
    model = mlp(6, 8, 3)
    at_layer, at_input = LayerStochasticGates(model, model[0]), StochasticGates(model)
    jobs = [
        (method, torch.randn(2, 6, generator=torch.Generator().manual_seed(i)), i)
        for i in range(3)
        for method in (at_layer, at_input)
    ]
    alone = [_explain(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda job: _explain(*job), jobs))
    for one, other in zip(alone, at_once, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _slow(x):
    """A model during which other threads run, and which draws nothing."""
    time.sleep(0.002)
    return torch.tanh(x.sum(1))


def test_a_thread_that_draws_meanwhile_never_gets_the_same_numbers_twice():
    """Nothing seeds the generator that all threads share, unless the model draws from it."""
    seen, stop = [], threading.Event()

    def draw():
        while not stop.is_set():
            seen.append(tuple(torch.rand(4).tolist()))
            time.sleep(0.001)

    thread = threading.Thread(target=draw)
    with torch.random.fork_rng():
        thread.start()
        for _ in range(4):
            StochasticGates(_slow).attribute(torch.ones(2, 3), n_steps=4)
        stop.set()
        thread.join()
    assert len(seen) > 20
    assert len(set(seen)) == len(seen)


class Jittered(nn.Module):
    """Noise from an operation that draws, beside one that has a generator of its own and one that rests."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, x):
        torch.rand(2, generator=torch.Generator().manual_seed(0))
        shown = x.reshape(len(x), 1, 2, 3)
        attended = nn.functional.scaled_dot_product_attention(shown, shown, shown).flatten(1)
        return (attended + self.noise(attended)).sum(1)


@pytest.mark.parametrize(
    ("noise", "draws"),
    [
        (lambda x: 0, False),
        (nn.Dropout(0.0), False),
        (nn.RReLU().eval(), False),
        (nn.RReLU().train(), True),
        (lambda x: torch.randn(x.shape[1]), True),
        (lambda x: nn.functional.dropout(x, 0.1), True),
        (lambda x: torch.empty(x.shape[1]).uniform_(), True),
        (nn.functional.gumbel_softmax, True),
    ],
)
def test_torch_is_seeded_just_where_the_model_draws(noise, draws, untouched, monkeypatch):
    seeded = []
    monkeypatch.setattr(
        "stg_attr.model.randomness.torch.random.fork_rng",
        lambda devices: seeded.append(devices) or contextlib.nullcontext(),
    )
    x = torch.ones(2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        StochasticGates(Jittered(noise)).attribute(x, n_steps=1, n_samples=2)
        assert bool(seeded) is draws
        monkeypatch.undo()
        with untouched(Jittered(noise), x):
            found = [StochasticGates(Jittered(noise)).attribute(x, n_steps=2) for _ in range(2)]
    assert torch.equal(*found)


def test_a_baseline_that_draws_gets_the_numbers_of_the_seed(untouched):
    stg, x = StochasticGates(mlp(6, 8, 2)), torch.ones(2, 6)
    noisy = lambda x: torch.randn(20, *x.shape)  # noqa: E731
    with untouched(stg.forward_func, x):
        found = [stg.explain(x, noisy, seed=seed, n_steps=2).scores.baseline for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def _explain_in_a_child():
    StochasticGates(_slow).attribute(torch.ones(1, 3), n_steps=1, n_samples=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_during_a_solve_explains_too():
    begun, go_on = threading.Event(), threading.Event()

    def held(x):
        begun.set()
        go_on.wait(60)
        return x.sum(1)

    thread = threading.Thread(target=lambda: StochasticGates(held).attribute(torch.ones(1, 3), n_steps=1))
    thread.start()
    begun.wait(60)
    child = multiprocessing.get_context("fork").Process(target=_explain_in_a_child)
    child.start()
    child.join(60)
    code = child.exitcode
    if code is None:
        child.kill()
    go_on.set()
    thread.join()
    assert code == 0


@pytest.mark.slow
def test_no_thread_is_left_behind():
    code = (
        "import threading, torch, stg_attr\n"
        "stg_attr.StochasticGates(lambda x: x.sum(1)).attribute(torch.ones(1, 3), n_steps=1)\n"
        "print([thread.name for thread in threading.enumerate()])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "['MainThread']"


@pytest.mark.parametrize(
    "sparsity", [Sweep(), FixedWeight(0.01), Budget(0.3)], ids=lambda sparsity: type(sparsity).__name__
)
def test_the_default_dtype_is_not_another_seed(sparsity):
    net, x = mlp(40, 8, 2), torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    stg, references = StochasticGates(net, sparsity=sparsity), [noise(1.0)(x), permuted(x.repeat(9, 1)).rows]
    found = stg.explain(x)
    torch.set_default_dtype(torch.float64)
    try:
        again, others = stg.explain(x), [noise(1.0)(x), permuted(x.repeat(9, 1)).rows]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found.attributions, again.attributions)
    assert torch.equal(found.curve.n_open, again.curve.n_open)
    assert all(torch.equal(a, b) for a, b in zip(references, others, strict=True))
