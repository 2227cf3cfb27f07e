"""What a solve costs, in counts: calls of the model, rows, and tensor operations; never in seconds."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stg_attr import FixedWeight, Hybrid, Preserve, ScoreFunction, StochasticGates, Sweep
from stg_attr.model.regression import adjusted
from stg_attr.solve import Solver
from tests.measured import OPERATIONS_OF_AN_UPDATE
from tests.models import Counted, mlp

X = torch.randn(16, 30, generator=torch.Generator().manual_seed(0))


class Operations(TorchDispatchMode):
    """Counts operations, and notes those that make tensors of double precision."""

    def __init__(self):
        super().__init__()
        self.count, self.double = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count += 1
        if isinstance(out, torch.Tensor) and out.dtype in (torch.float64, torch.complex128):
            self.double.append(str(func))
        return out


def _net():
    return mlp(30, 64, 2, activation=nn.ReLU)


def _bare(net, rows):
    leaf = rows.detach().requires_grad_()
    torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)


METHODS = {"default": {}, "a fixed weight": {"objective": Preserve(), "sparsity": FixedWeight()}}


def operations_of_updates(n_steps=4, **parts):
    """Operations of each update, less those of the bare model."""
    operations, marks, advance = Operations(), [], Solver._step
    net = _net()

    def counted(*args):
        before = operations.count
        advance(*args)
        marks.append(operations.count - before)

    with Operations() as alone:
        _bare(net, X)
    with mock.patch.object(Solver, "_step", counted), operations:
        StochasticGates(net, **parts).attribute(X, target=0, n_steps=n_steps)
    return [mark - alone.count for mark in marks]


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_around_the_model_is_short(method):
    """About 120 operations of two or three microseconds: nothing beside a model that takes milliseconds."""
    steps = operations_of_updates(**METHODS[method])
    assert len(steps) == 4
    # The first looks up the data of the examples. Twelve more operations than measured are still few.
    assert max(steps[1:]) <= OPERATIONS_OF_AN_UPDATE[method] + 12


def test_operations_of_a_step_do_not_depend_on_how_much_there_is():
    few, many = operations_of_updates(), operations_of_updates(sparsity=Sweep(share=0.7))
    assert few[1] == few[2] == many[1]


def _calls(objective, estimator=None, **effort):
    """Rows of each call, and whether it was differentiated."""
    counted = Counted(_net())
    kwargs = {} if estimator is None else {"estimator": estimator}
    StochasticGates(counted, objective=objective, **kwargs).attribute(X, target=0, **effort)
    return list(zip(counted.rows, counted.differentiated, strict=True))


@pytest.mark.parametrize("objective", [Hybrid(), Preserve()], ids=repr)
def test_a_step_is_one_call_of_the_model(objective):
    rows = _calls(objective, n_steps=3, n_samples=8)
    assert [n for n, differentiated in rows if differentiated] == [16 * 8 * objective.n_views] * 3


def test_without_gradients_nothing_is_differentiated():
    assert not any(differentiated for _, differentiated in _calls(Hybrid(), ScoreFunction(), n_steps=3))


def test_a_reading_takes_fewer_rows_than_three_updates():
    rows = _calls(Hybrid(), n_steps=1)
    reading = sum(n for n, differentiated in rows if not differentiated)
    assert reading / len(X) <= 96


def test_settled_examples_cost_nothing():
    rows = [n for n, differentiated in _calls(Hybrid(), n_steps=60) if differentiated]
    assert rows == sorted(rows, reverse=True)
    assert sum(rows) <= 0.5 * 60 * rows[0]


class InSingle(Sweep):
    """Budgets, which are worked out in double precision on the CPU, without the counting of operations."""

    def budgets(self, first, n, start):
        with torch.utils._python_dispatch._disable_current_modes():
            return super().budgets(first, n, start).float()


def _on_the_cpu(*given):
    """The regression of contributions, which is in double precision on the CPU, without the counting."""
    with torch.utils._python_dispatch._disable_current_modes():
        found = adjusted(*given)
    assert found.dtype == torch.float32
    return found


@pytest.mark.parametrize("baseline", [None, 0.5, X[:3], lambda x: x.mean(0, keepdim=True).expand_as(x)])
def test_no_double_precision_on_the_device_of_a_single_precision_solve(baseline, monkeypatch):
    """Some devices, as Apple's, have none."""
    monkeypatch.setattr("stg_attr.model.profile.adjusted", _on_the_cpu)
    operations = Operations()
    with operations:
        StochasticGates(_net(), sparsity=InSingle()).explain(X, target=0, baselines=baseline, n_steps=8)
    assert operations.double == []
