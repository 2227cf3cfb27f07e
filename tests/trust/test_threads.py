"""Threads: solves at once on one model give what they give one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from stg_attr import LayerStochasticGates, StochasticGates
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
