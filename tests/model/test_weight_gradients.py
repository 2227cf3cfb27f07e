"""Large models keep nothing for gradients of their weights, and nobody notices."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stg_attr import StochasticGates
from stg_attr.model.isolation import DetachedWeights, may_detach_weights
from tests.models import seeded

TOKENS = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(8).reshape(1, 8, 1)


class Encoder(nn.Module):
    def __init__(self, checkpointed=False):
        super().__init__()
        with seeded():
            layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 3)
        self.checkpointed = checkpointed
        self.eval()

    def forward(self, x):
        if self.checkpointed:
            return self.head(checkpoint(self.body, x, use_reentrant=False).mean(1))
        return self.head(self.body(x).mean(1))


def _convolutional():
    with seeded():
        return nn.Sequential(
            nn.Conv1d(8, 4, 3),
            nn.BatchNorm1d(4),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(56, 3),
        ).eval()


MODELS = {
    "transformer": Encoder,
    "checkpointed": lambda: Encoder(checkpointed=True),
    "convolutions": _convolutional,
    "weight norm": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(128, 3))
    ),
}


def _saved(model, monkeypatch, large):
    """Bytes that a solve keeps for its backward passes, without parameters; attributions."""
    monkeypatch.setattr("stg_attr.model.isolation._LARGE", large)
    parameters, kept = {p.data_ptr() for p in model.parameters()}, []

    def keep(tensor):
        if tensor.data_ptr() not in parameters:
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = StochasticGates(model).attribute(TOKENS, feature_mask=MASK, target=1, n_steps=3)
    return sum(kept), found


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_result_is_the_same_to_the_last_bit_and_no_flag_is_touched(make, monkeypatch):
    model = make()
    before, expected = _saved(model, monkeypatch, 10**9)
    after, found = _saved(model, monkeypatch, 0)
    assert torch.equal(found, expected)
    assert after <= before or getattr(model, "checkpointed", False)  # tried, and done again without
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_transformer_keeps_as_little_as_with_frozen_parameters(monkeypatch):
    before, _ = _saved(Encoder(), monkeypatch, 10**9)
    after, _ = _saved(Encoder(), monkeypatch, 0)
    frozen, _ = _saved(Encoder().requires_grad_(False), monkeypatch, 10**9)
    assert after == frozen < 0.9 * before


def test_other_threads_train_the_same_model_meanwhile(monkeypatch):
    monkeypatch.setattr("stg_attr.model.isolation._LARGE", 0)
    model, learned = Encoder(), []

    def forward(self, x):
        def train():
            loss = Encoder.forward(model, TOKENS).sum()
            learned.extend(torch.autograd.grad(loss, list(model.parameters())))

        if x.requires_grad and not learned:
            thread = threading.Thread(target=train)
            thread.start()
            thread.join()
        return Encoder.forward(self, x)

    watched = type("Watched", (Encoder,), {"forward": forward})()
    StochasticGates(watched).attribute(TOKENS, feature_mask=MASK, target=1, n_steps=1)
    assert len(learned) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("model", "detached"),
    [
        (nn.Linear(8, 8), False),
        (nn.Linear(1024, 1024), True),
        (nn.Linear(1024, 1024).requires_grad_(False), False),
        (lambda x: x, False),
    ],
)
def test_only_the_weights_of_large_models_are_detached(model, detached):
    assert may_detach_weights(model) is detached


def test_detached_weights_are_in_no_graph():
    def output():
        return nn.functional.linear(torch.ones(2), nn.Parameter(torch.ones(1, 2)))

    assert output().requires_grad
    with DetachedWeights():
        assert not output().requires_grad
