"""Models and inputs of every precision: gates stay in float32 or float64, and the answer stays the same."""

import contextlib

import pytest
import torch
from torch import nn

from stg_attr import (
    Budget,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ScoreFunction,
    StochasticGates,
)
from stg_attr.metrics import budget_curves
from tests.models import mlp, seeded

HALVES = [torch.bfloat16, torch.float16]
DTYPES = [torch.float64, torch.float32, *HALVES]
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


def three_columns():
    """A net that uses the first three columns; the first decides most."""
    net = mlp(8, 16, 2)
    with torch.no_grad():
        net[0].weight[:, 3:] = 0
        net[0].weight[:, 0] *= 4
    return net


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded():
            self.net = nn.Sequential(
                nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.GELU(), nn.Flatten()
            )
            self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 2), nn.Softmax(1))
        self.eval()

    def forward(self, x):
        return self.head(self.net(x[:, None]))


OBJECTIVES = [None, Preserve(OutputMatch())]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["by score", "by match"])
def test_models_and_inputs_of_one_precision(dtype, objective, untouched):
    net, x = three_columns().to(dtype), X.to(dtype)
    with untouched(net, x):
        found = StochasticGates(net, objective=objective).explain(x)
    gates = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.attributions.dtype == found.log_alpha.dtype == found.scores.full.dtype == gates
    assert found.inputs[0].dtype == found.baselines[0].dtype == dtype
    assert not bool(found.selected[:, 3:].any())
    assert bool(found.selected.any(1).all())
    scores = net(x).detach().to(gates).gather(1, found.target).squeeze(1)
    torch.testing.assert_close(found.scores.full, scores, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float64, *HALVES], ids=str)
def test_the_selection_is_that_of_single_precision(dtype):
    mostly = {torch.float64: 1.0, torch.float16: 0.95, torch.bfloat16: 0.9}[dtype]
    for net in (three_columns(), Convolutional()):
        stg = {"sparsity": Budget(0.25)}
        expected = StochasticGates(net, **stg).explain(X).selected
        found = StochasticGates(net.to(dtype), **stg).explain(X.to(dtype)).selected
        assert (found == expected).float().mean() >= mostly


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_models_may_be_given_single_inputs_that_they_convert(dtype):
    net = three_columns().to(dtype)
    found = StochasticGates(lambda x: net(x.to(dtype))).explain(X)
    assert found.attributions.dtype == torch.float32
    assert not bool(found.selected[:, 3:].any())


def test_single_models_may_be_given_double_inputs_that_they_convert():
    net = three_columns()
    found = StochasticGates(lambda x: net(x.float())).explain(X.double())
    expected = StochasticGates(net).explain(X)
    assert found.log_alpha.dtype == torch.float64
    assert torch.equal(found.selected, expected.selected)
    torch.testing.assert_close(found.attributions.float(), expected.attributions, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("where", ["around the call", "in the forward"])
def test_autocast(dtype, where, untouched):
    net = three_columns()
    inside = where == "in the forward"

    def forward(x):
        with torch.autocast("cpu", dtype) if inside else contextlib.nullcontext():
            return net(x)

    with untouched(net, X), contextlib.nullcontext() if inside else torch.autocast("cpu", dtype):
        found = StochasticGates(forward).explain(X)
    assert found.log_alpha.dtype == torch.float32
    assert not bool(found.selected[:, 3:].any())
    with torch.autocast("cpu", dtype):
        scores = net(X).detach().float()
    torch.testing.assert_close(found.scores.full, scores.gather(1, found.target).squeeze(1))


@pytest.mark.parametrize("estimator", [None, ScoreFunction()], ids=["slopes", "coins"])
def test_autocast_around_the_call_reaches_the_model_alone(estimator):
    """It gives the bits of autocast in the forward; and where the model turns it off, those of none."""
    net = three_columns()
    stg = StochasticGates(net, estimator=estimator)
    expected = StochasticGates(_under_autocast(net, True), estimator=estimator).explain(X)
    plain = stg.explain(X)
    with torch.autocast("cpu", torch.bfloat16):
        found = stg.explain(X)
        single = StochasticGates(_under_autocast(net, False), estimator=estimator).explain(X)
        assert torch.is_autocast_enabled("cpu")
    for one, other in ((found, expected), (single, plain)):
        assert torch.equal(one.attributions, other.attributions)
        assert torch.equal(one.curve.kept, other.curve.kept)
        assert one.status == other.status
    assert not torch.equal(plain.scores.full, expected.scores.full)  # the model itself was run in bfloat16


def _under_autocast(net, enabled):
    def forward(x):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return net(x)

    return forward


def test_an_explanation_asks_its_model_again_as_it_was_asked_first():
    """With autocast if it was on then, wherever `minimal` is called; and curves of metrics, too."""
    net = three_columns()
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = (
            StochasticGates(net).explain(X),
            StochasticGates(_under_autocast(net, False)).explain(X),
        )
        curves = budget_curves(net, X, found.attributions)
        again = plain.minimal()
    expected = net(torch.where(again.selected, X, 0.0)).detach().gather(1, plain.target).squeeze(1)
    torch.testing.assert_close(again.scores.kept, expected)
    kept = torch.where(found.minimal().selected, X, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        expected = net(kept).detach().float().gather(1, found.target).squeeze(1)
    assert torch.equal(found.minimal().scores.kept, expected)
    assert torch.equal(curves.full, found.scores.full)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_autocast_and_layers(dtype):
    net = three_columns()
    with torch.autocast("cpu", dtype):
        found = LayerStochasticGates(net, net[0]).explain(X)
    assert found.inputs[0].dtype == dtype
    assert found.log_alpha.dtype == torch.float32


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_gradients_of_small_and_large_scores_survive_half_precision(dtype, scale):
    expected = StochasticGates(three_columns()).explain(X)
    net = three_columns().to(dtype)
    found = StochasticGates(lambda x: scale * net(x)).explain(X.to(dtype))
    assert bool(found.loss_trace.isfinite().all())
    torch.testing.assert_close(found.influence / scale, expected.influence, rtol=0.1, atol=0.02)
    assert (found.selected == expected.selected).float().mean() > 0.95


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_baselines_and_reference_rows_are_converted(dtype):
    net, x = three_columns().to(dtype), X.to(dtype)
    for baseline in (0.25, X[:1], X[1:5].double(), lambda x: x * 0):
        found = StochasticGates(net).explain(x, baselines=baseline)
        assert found.baselines[0].dtype == dtype
        assert not bool(found.selected[:, 3:].any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_precisions_on_cuda(dtype):
    net = three_columns().to("cuda", dtype)
    found = StochasticGates(net).explain(X.to("cuda", dtype))
    assert not bool(found.selected[:, 3:].any())
    if dtype != torch.float64:
        with torch.autocast("cuda", torch.float16):
            cast = StochasticGates(three_columns().cuda()).explain(X.cuda())
        assert not bool(cast.selected[:, 3:].any())
