"""On a GPU: the same answers as on the CPU, and no step that waits for the device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stg_attr import Hybrid, OutputMatch, Preserve, StochasticGates
from stg_attr.solve import Solver
from tests.models import seeded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CELLS = (torch.arange(256).reshape(16, 16) // 64 * 4 + torch.arange(16) // 4).reshape(1, 1, 16, 16)
ROWS = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def _net():
    with seeded():
        layers = [nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)]
        return nn.Sequential(*layers).eval()


@pytest.fixture
def _full_precision():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_full_precision")
@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch())], ids=repr)
@pytest.mark.parametrize("baselines", [None, ROWS], ids=["zero", "rows"])
def test_it_agrees_with_the_cpu(objective, baselines):
    arguments = {"inputs": X, "baselines": baselines, "feature_mask": CELLS, "target": 1}
    here = StochasticGates(_net(), objective=objective).explain(**arguments)
    there = StochasticGates(_net().cuda(), objective=objective).explain(**arguments)
    assert there.attributions.device == X.device
    torch.testing.assert_close(there.attributions, here.attributions, rtol=0, atol=1e-3)
    torch.testing.assert_close(there.scores.kept, here.scores.kept, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("_full_precision")
@pytest.mark.parametrize("baselines", [None, ROWS], ids=["zero", "rows"])
@pytest.mark.parametrize("per_call", [None, 2])
def test_no_step_waits_for_the_device(baselines, per_call, monkeypatch):
    """From the second step on; the first looks up who is explained, the sixth who has settled."""
    advance, steps = Solver._step, []

    def watched(*args):
        advance(*args)
        steps.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(steps) < 5 else "default")

    monkeypatch.setattr(Solver, "_step", watched)
    try:
        StochasticGates(_net().cuda()).attribute(
            X.cuda(),
            None if baselines is None else baselines.cuda(),
            target=1,
            feature_mask=CELLS.cuda(),
            n_steps=5,
            perturbations_per_eval=per_call,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 5
