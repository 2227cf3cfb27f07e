"""Isolation: a model's buffers are put back, and layers that add noise are known by name."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from stg_attr import StochasticGates
from stg_attr.model import disturbing_layers
from tests.models import mlp

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Counting(nn.Module):
    """A buffer that is written to, and one that is replaced, at every call."""

    def __init__(self):
        super().__init__()
        self.net = mlp(6, 8, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.last = x.detach().sum(1)
        return self.net(x)


def _normalised(layer):
    return nn.Sequential(
        nn.Linear(6, 8), nn.Unflatten(1, (4, 2)), layer, nn.Flatten(), nn.Linear(8, 2)
    ).train()


def _traced(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(net, X, check_trace=False)


MODELS = {
    "counter": Counting().eval(),
    "batch normalisation": _normalised(nn.BatchNorm1d(4)),
    "instance normalisation": _normalised(nn.InstanceNorm1d(4, track_running_stats=True)),
    "spectral normalisation": parametrizations.spectral_norm(nn.Linear(6, 2)).train(),
    "its older form": spectral_norm(nn.Linear(6, 2)).train(),
    "traced": _traced(_normalised(nn.BatchNorm1d(4))),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.filterwarnings("ignore:The model is in training mode", "ignore:.*Not reproducible")
def test_buffers_are_as_they_were(model, fails):
    before = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    stg = StochasticGates(model)
    if fails:
        with pytest.raises(KeyError):
            stg.attribute(X, target=0, on_step=lambda *_: {}["nothing"])
    else:
        stg.explain(X, target=0, n_steps=3)
    after = dict(model.named_buffers())
    assert before
    assert all(torch.equal(after[name], values) for name, (_, values) in before.items())
    assert all(after[name] is buffer for name, (buffer, _) in before.items())


class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob


class StochasticDepth(nn.Module):
    pass


NOISY = [
    nn.Dropout(0.1),
    nn.Dropout2d(0.1),
    nn.AlphaDropout(0.1),
    nn.BatchNorm2d(3),
    nn.RReLU(),
    nn.MultiheadAttention(4, 2, dropout=0.1),
    nn.LSTM(4, 4, 2, dropout=0.1),
    nn.GRU(4, 4, 2, dropout=0.1),
    DropPath(0.1),
    StochasticDepth(),
    parametrizations.spectral_norm(nn.Linear(3, 2)),
    spectral_norm(nn.Linear(3, 2)),
]
QUIET = [
    nn.MultiheadAttention(4, 2),
    nn.LSTM(4, 4),
    DropPath(0.0),
    nn.InstanceNorm1d(3, track_running_stats=True),
    nn.LayerNorm(3),
    nn.ReLU(),
]


@pytest.mark.parametrize("layer", NOISY, ids=lambda layer: type(layer).__name__)
def test_noisy_layers_are_known_by_name(layer):
    net = nn.Sequential(nn.Linear(3, 3), layer)
    assert disturbing_layers(net.train())
    assert not disturbing_layers(net.eval())


@pytest.mark.parametrize("layer", QUIET, ids=lambda layer: type(layer).__name__)
def test_layers_whose_rows_depend_on_nothing_else_are_not_warned_of(layer):
    assert not disturbing_layers(nn.Sequential(nn.Linear(3, 3), layer).train())
