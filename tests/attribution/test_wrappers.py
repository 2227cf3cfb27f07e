"""Models behind wrappers: traced, scripted, compiled, exported, replicated, recurrent, in training mode."""

import pytest
import torch
from torch import nn

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates
from stg_attr.model.isolation import differentiable_recurrence
from tests.models import mlp, seeded

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def exported(net):
    rows = torch.export.Dim("rows", min=1)
    return torch.export.export(net, (X,), dynamic_shapes=({0: rows},)).module()


GRAPHS = {
    "traced": lambda net: torch.jit.trace(net, X),
    "scripted": torch.jit.script,
    "exported": exported,
}
COMPILERS = ["eager", "aot_eager"]
# torch warns itself when it compiles for an input that is not a leaf
compiles = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


# TorchScript is deprecated in some releases of torch, and says so
scripts = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@scripts
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_give_what_their_model_gives(name):
    net = mlp(6, 8, 3)
    found = StochasticGates(GRAPHS[name](net)).explain(X)
    expected = StochasticGates(net).explain(X)
    assert torch.equal(found.selected, expected.selected)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-4)


@scripts
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("owner", ["the model", "the graph"])
def test_layers_inside_graphs_are_refused(name, owner, untouched):
    net = mlp(6, 8, 3)
    graph = GRAPHS[name](net)
    layer = getattr(net if owner == "the model" else graph, "0")
    message = "layer: expected a module.*(inside a scripted or exported graph|not a scripted one)"
    with untouched(net, X), pytest.raises(ArgumentError, match=message):
        LayerStochasticGates(graph, layer).attribute(X)


@compiles
@pytest.mark.parametrize("backend", COMPILERS)
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.quick_cases(1)
def test_compiled_models_give_what_they_give_uncompiled(backend, warm):
    net = mlp(6, 8, 3)
    compiled = torch.compile(net, backend=backend)
    if warm:
        compiled(X)
    found = StochasticGates(compiled).attribute(X)
    torch.testing.assert_close(found, StochasticGates(net).attribute(X), rtol=0, atol=1e-4)


def inside(net):
    """A model a part of which is compiled."""
    last = torch.compile(nn.Sequential(nn.Tanh(), net[2]), backend="eager")
    return lambda x: last(net[0](x))


COMPILED = {
    "model": lambda net: torch.compile(net, backend="eager"),
    "part": inside,
    "function": lambda net: torch.compile(lambda x: net(x), backend="eager"),
}


@compiles
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("warm", [False, True])
def test_layers_of_compiled_models_are_gated(name, warm, untouched):
    net = mlp(6, 8, 3)
    compiled = COMPILED[name](net)
    if warm:
        compiled(X)
    with untouched(net, X):
        found = LayerStochasticGates(compiled, net[0]).attribute(X)
    assert torch.equal(found, LayerStochasticGates(net, net[0]).attribute(X))
    torch.testing.assert_close(compiled(X), net(X))  # it is still compiled, and still right


def test_data_parallel_models_run_where_they_are():
    net = mlp(6, 8, 3)
    for make in (StochasticGates, lambda model: LayerStochasticGates(model, net[0])):
        assert torch.equal(make(nn.DataParallel(net)).attribute(X), make(net).attribute(X))


@needs_cuda
def test_data_parallel_models_on_cuda():
    net = mlp(6, 8, 3)
    replicated = nn.DataParallel(mlp(6, 8, 3).cuda())
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(
        StochasticGates(replicated).attribute(X), StochasticGates(net).attribute(X), **close
    )
    found = LayerStochasticGates(replicated, replicated.module[0]).attribute(X)
    torch.testing.assert_close(found.cpu(), LayerStochasticGates(net, net[0]).attribute(X), **close)


# ---------------------------------------------------------------- recurrent networks


class Recurrent(nn.Module):
    """Reads the third step of a sequence, of 6 steps, with an LSTM."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        with seeded():
            self.recurrent, self.head = kind(2, 4, batch_first=True), nn.Linear(4, 2)
        self.eval()

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, 2])


SERIES = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_recurrent_networks_in_eval_mode(kind, device):
    net = Recurrent(kind).to(device)
    for stg in (StochasticGates(net), StochasticGates(net.forward)):
        influence = stg.explain(SERIES.to(device)).influence.reshape(3, 6, 2)
        assert bool((influence[:, :3] > 0).all())
        assert not bool(influence[:, 3:].any())
    layer = LayerStochasticGates(net, net.recurrent)
    assert layer.attribute(SERIES.to(device), attribute_to_layer_input=True).shape == SERIES.shape
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize(
    ("net", "device", "enabled"),
    [
        (Recurrent(), "cuda", False),
        (Recurrent().train(), "cuda", True),
        (Recurrent(), "cpu", True),
        (mlp(6, 8, 3), "cuda", True),
        (None, "cuda", True),
    ],
)
def test_cudnn_is_left_out_only_where_it_refuses_the_backward_pass(net, device, enabled):
    with differentiable_recurrence(net, torch.device(device)):
        assert torch.backends.cudnn.enabled is enabled
    assert torch.backends.cudnn.enabled


# ---------------------------------------------------------------- training mode


@pytest.mark.parametrize("noisy", [nn.Dropout(0.2), nn.BatchNorm1d(4)])
@pytest.mark.parametrize("at_layer", [False, True])
def test_training_mode_is_left_and_warned_of(noisy, at_layer):
    net = nn.Sequential(
        nn.Linear(6, 8), nn.Unflatten(1, (4, 2)), noisy, nn.Flatten(), nn.Linear(8, 2)
    ).train()
    stg = LayerStochasticGates(net, net[0]) if at_layer else StochasticGates(net)
    with pytest.warns(UserWarning, match="training mode") as caught:
        stg.attribute(X)
    assert len(caught) == 1
    assert net.training
    assert noisy.training
