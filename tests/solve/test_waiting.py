"""No step of a solve reads a value of a tensor, which would wait for a GPU; seen on the CPU.

`tests/test_cuda.py` asserts the same on a GPU, where the driver says so.
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stg_attr import Hybrid, OutputMatch, Preserve, StochasticGates
from stg_attr.solve import Solver

from ..models import seeded

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique")


class Reads(TorchDispatchMode):
    """Notes every operator whose result the CPU must wait for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name.startswith(READS):
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_a_read():
    with Reads() as watch:
        bool(torch.ones(1) > 0)
        torch.ones(3).nonzero()
    assert watch.found == ["aten::_local_scalar_dense", "aten::nonzero"]


@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch())], ids=repr)
@pytest.mark.parametrize("baselines", [None, ROWS], ids=["zero", "rows"])
@pytest.mark.parametrize("per_call", [None, 2])
def test_no_step_reads_a_value(objective, baselines, per_call, monkeypatch):
    """But for the first, which looks up who is explained."""
    with seeded():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).eval()
    step, found = Solver._step, []

    def watched(*args):
        with Reads() as watch:
            step(*args)
        found.append(watch.found)

    monkeypatch.setattr(Solver, "_step", watched)
    StochasticGates(net, objective=objective).attribute(
        X, baselines, target=1, n_steps=5, perturbations_per_eval=per_call
    )
    assert len(found) == 5
    assert found[1:] == [[]] * 4
