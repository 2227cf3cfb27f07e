"""`torch.set_default_device` is the user's: whatever it is, everything stays on the device of the model.

The meta device has no values, so that a tensor which lands there by default is an error soon.
"""

from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor, nn

from stg_attr import (
    Bernoulli,
    Budget,
    FixedWeight,
    Gaussian,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ScoreFunction,
    StochasticGates,
    references,
    superpixel_mask,
)
from stg_attr.metrics import agreement, budget_curves, under_noise

EFFORT = {"n_steps": 3, "n_samples": 4}
CELLS = torch.arange(64).reshape(1, 1, 8, 8) // 8


def _seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


IMAGES, DATA = _seeded(3, 1, 8, 8), _seeded(20, 1, 8, 8)
TOKENS = torch.tensor([[1, 2, 3, 4, 5], [8, 0, 1, 1, 2]])
TARGETS = torch.tensor([0, 1, 0])
with torch.random.fork_rng():
    torch.manual_seed(0)
    NET = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).eval()
    READER = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)).eval()


def _explain(baselines=None, target=0, feature_mask=CELLS, effort=EFFORT, **parts):
    gates = StochasticGates(NET, **parts)
    return gates.explain(IMAGES, baselines, target=target, feature_mask=feature_mask, **effort)


def _read_tokens(**references_of):
    return LayerStochasticGates(READER, READER[0]).explain(TOKENS, target=0, **references_of, **EFFORT)


EXPLAINED = _explain()
CALLS = {
    "explain": _explain,
    "attribute": lambda: StochasticGates(NET).attribute(IMAGES, target=1, **EFFORT),
    "match": lambda: _explain(objective=Preserve(OutputMatch())),
    "budget": lambda: _explain(sparsity=Budget(0.2)),
    "price": lambda: _explain(sparsity=FixedWeight(0.01)),
    "normal gates": lambda: _explain(gates=Gaussian()),
    "coins": lambda: _explain(estimator=ScoreFunction(), gates=Bernoulli()),
    "numpy": lambda: StochasticGates(lambda x: x.numpy().sum((1, 2, 3)), estimator=ScoreFunction()).explain(
        IMAGES, feature_mask=CELLS, **EFFORT
    ),
    "a target for each": lambda: _explain(target=TARGETS),
    "a list of targets": lambda: _explain(target=[0, 1, 0]),
    "the predicted class": lambda: _explain(target=None),
    "max_evals": lambda: _explain(effort={"max_evals": 80}),
    "restarts": lambda: _explain(effort={"n_restarts": 2, **EFFORT}),
    "resume": lambda: _explain(effort={"n_steps": 4, "n_samples": 4, "resume": EXPLAINED}),
    "superpixels": lambda: _explain(feature_mask=superpixel_mask(IMAGES, 9)),
    "layer": lambda: LayerStochasticGates(NET, NET[0]).explain(IMAGES, target=0, **EFFORT),
    "tokens": lambda: _read_tokens(layer_baselines=references.token(READER[0], 0)),
    "mean": lambda: _explain(references.mean(DATA)),
    "blur": lambda: _explain(references.blur(2.0)),
    "noise": lambda: _explain(references.noise(1.0)),
    "sample": lambda: _explain(references.sample(DATA, 5)),
    "permuted": lambda: _explain(references.permuted(DATA, 5)),
    "opposite": lambda: _explain(references.opposite(DATA, NET, 3)),
    "another budget": lambda: EXPLAINED.at(budget=0.25),
    "minimal": EXPLAINED.minimal,
    "sufficient sets": EXPLAINED.sufficient_sets,
    "curves": lambda: budget_curves(NET, IMAGES, EXPLAINED.attributions, target=0, feature_mask=CELLS),
    "noisy": lambda: torch.stack(under_noise(lambda x: x, IMAGES)),
    "agreement": lambda: agreement([EXPLAINED.attributions, EXPLAINED.attributions + 1]),
}


def _tensors(value):
    """All tensors within a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        return [tensor for f in fields(value) for tensor in _tensors(getattr(value, f.name))]
    return [t for one in value for t in _tensors(one)] if isinstance(value, (list, tuple)) else []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_default_device_changes_nothing(call):
    expected = _tensors(call())
    with torch.device("meta"):
        found = _tensors(call())
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
