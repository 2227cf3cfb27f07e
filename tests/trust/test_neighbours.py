"""Unusual models and inputs that a stranger brings: the right features and scores, or an error that helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stg_attr import ArgumentError, ScoreFunction, Status, StochasticGates

X = torch.tensor([[3.0, 1.0, 0.5], [1.0, 2.0, 3.0]])
WANTED = [
    [True, False, False],
    [True, True, False],
]  # of `linear`: 9 of 10 in the first row, 3 + 2 in the second


def linear(x):
    return 3 * x[:, 0] + x[:, 1] + 0 * x[:, 2]


class Signs(torch.autograd.Function):
    """x + 2 sign(x), whose gradient is wrongly 0."""

    @staticmethod
    def forward(ctx, x):
        return x + 2 * x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


class Rounded(torch.autograd.Function):
    """Rounding with the gradient of the identity, as in training of quantised nets."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def doubled_in_place(x):
    x.mul_(2)
    return linear(x) / 2


def of_arrays(x):
    return linear(torch.as_tensor(np.asarray(x.detach()))).numpy()


def under_inference_mode(make):
    with torch.inference_mode():
        return make()


INPUTS = {
    "requires a gradient": lambda: X.clone().requires_grad_(),
    "made in inference mode": lambda: under_inference_mode(X.clone),
    "columns first in memory": lambda: X.t().contiguous().t(),
    "every second row of more": lambda: X.repeat_interleave(2, 0)[::2],
    "half precision": X.half,
    "bfloat16": X.bfloat16,
    "double": X.double,
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("inside", [False, True], ids=["", "inside inference mode"])
def test_inputs_in_any_memory_and_precision(make, inside):
    x, stg = make(), StochasticGates(linear)
    before = x.clone()
    found = under_inference_mode(lambda: stg.explain(x)) if inside else stg.explain(x)
    assert found.selected.tolist() == WANTED
    assert found.scores.full.tolist() == [10.0, 5.0]
    assert torch.equal(x, before)
    assert x.grad is None or not bool(x.grad.any())


def test_rows_that_share_their_memory():
    found = StochasticGates(linear).explain(X[:1].expand(3, 3))
    assert found.selected.tolist() == [WANTED[0]] * 3


MODELS = {
    "in place": (doubled_in_place, {}, WANTED),
    "a wrong gradient of zero": (lambda x: Signs.apply(x).sum(1), {}, [[True] * 3, [True] * 3]),
    "a straight-through gradient": (
        lambda x: Rounded.apply(x)[:, 0] * 2 + x[:, 1], {}, [[True, True, False]] * 2,
    ),
    "the largest by sorting": (
        lambda x: x.sort(1).values[:, -1], {}, [[True, False, False], [False, False, True]],
    ),
    "an index that is computed": (
        lambda x: x.gather(1, (x[:, :1] > 2).long()).squeeze(1) + 9 * x[:, 2], {},
        [[True, True, True], [False, False, True]],
    ),
    "arrays": (of_arrays, {"estimator": ScoreFunction()}, WANTED),
    "numbers of Python": (lambda x: of_arrays(x).tolist(), {"estimator": ScoreFunction()}, WANTED),
    "scores near the largest": (lambda x: 1e30 * linear(x), {}, WANTED),
    "scores near the smallest": (lambda x: 1e-30 * linear(x), {}, WANTED),
    "scores that are subnormal": (lambda x: 1e-42 * linear(x), {}, WANTED),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_of_any_kind(name):
    model, parts, wanted = MODELS[name]
    found = StochasticGates(model, **parts).explain(X)
    assert found.selected.tolist() == wanted
    assert set(found.status) == {Status.CONVERGED}
    torch.testing.assert_close(found.scores.full, torch.as_tensor(model(X.clone())).to(found.scores.full))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int16, torch.bool])
def test_whole_numbers_and_flags_without_slopes(dtype):
    x = X > 0.9 if dtype == torch.bool else X.to(dtype)
    found = StochasticGates(lambda x: linear(x.float()), estimator=ScoreFunction()).explain(x)
    assert found.selected.tolist() == ([[True, True, False]] * 2 if dtype == torch.bool else WANTED)


LAST = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])


def test_a_negative_target_counts_from_the_end_and_one_beyond_is_refused():
    stg = StochasticGates(lambda x: x @ LAST)
    torch.testing.assert_close(stg.attribute(X, target=-1), stg.attribute(X, target=1))
    for target in (2, -3, [0, 5]):
        with pytest.raises(ValueError, match=r"target: .*shape \(2,\)"):
            stg.attribute(X, target=target)


DEPENDENT = {
    "numbers of NumPy": lambda x: linear(x) + torch.from_numpy(np.random.default_rng().normal(size=len(x))),
    "sums over the rows before": lambda x: linear(x).cumsum(0),
    "the first row as reference": lambda x: linear(x - x[:1]),
    "the last row as reference": lambda x: linear(x - x[-1:]),
    "its own seed": lambda x: linear(x) + torch.randn(len(x), generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("name", DEPENDENT)
@pytest.mark.filterwarnings("ignore:.*Not reproducible")
def test_scores_that_depend_on_more_than_their_row_are_refused_or_named(name, batch):
    x = torch.cat([X, X.flip(1)])[:batch]
    try:
        said = str(StochasticGates(DEPENDENT[name]).explain(x).status)
    except ArgumentError as error:
        said = str(error)
    assert "NOT_REPRODUCIBLE" in said or "any examples of the batch" in said
