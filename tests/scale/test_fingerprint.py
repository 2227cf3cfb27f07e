"""A fingerprint is the same in every process, and differs if anything differs that changes a result."""

import functools
import sys

import numpy as np
import pytest
import torch
from torch import nn

from stg_attr import FixedWeight, Preserve, ReferenceSet
from stg_attr.scale.fingerprint import described, digest

SCALE = 2.0


def doubled(x):
    return SCALE * x


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x


class Called:
    def __init__(self, net):
        self.net = net

    def __call__(self, x):
        return self.net(x)


def _filled(value):
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.fill_(value)
        net.bias.zero_()
    return net


def _closure(net):
    return lambda x: net(x)


PAIRS = {
    "numbers": (1, 1.0),
    "tensors": (torch.zeros(3), torch.tensor([0.0, 0.0, 1e-40])),
    "dtypes": (torch.zeros(3), torch.zeros(3).double()),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "arrays": (np.array([1, 2]), np.array([2, 1])),
    "arrays of objects": (np.array(["a", None]), np.array(["a", "b"], dtype=object)),
    "weights": (_filled(1.0), _filled(1.0 + 1e-6)),
    "plain attributes of a module": (Scaled(1.0), Scaled(2.0)),
    "activations": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
    "nets in a closure": (_closure(_filled(1.0)), _closure(_filled(2.0))),
    "nets in an object": (Called(_filled(1.0)), Called(_filled(2.0))),
    "bound methods": (_filled(1.0).forward, _filled(2.0).forward),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "partial": (functools.partial(doubled, 1), functools.partial(doubled, 2)),
    "settings": (FixedWeight(0.1), FixedWeight(0.2)),
    "objectives": (Preserve(), FixedWeight(0.1)),
    "references": (ReferenceSet(torch.zeros(2, 3)), ReferenceSet(torch.ones(2, 3))),
    "sets": ({1, 2}, {1, 3}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_has_another_fingerprint(name):
    one, other = PAIRS[name]
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_a_number_that_a_function_reads_counts(monkeypatch):
    before = digest(doubled)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert digest(doubled) != before


def test_equal_things_have_one_fingerprint():
    assert digest(_filled(1.0)) == digest(_filled(1.0))
    assert digest(_closure(_filled(1.0))) == digest(_closure(_filled(1.0)))
    net = _filled(1.0)
    before = digest(net)
    net(torch.ones(1, 3)).sum().backward()  # a gradient is not part of a model
    assert digest(net) == before


def test_a_thing_that_holds_itself_has_one():
    loop = []
    loop.append(loop)
    assert len(digest(loop)) == 16


CODE = """
import torch, sys
from torch import nn
from stg_attr import Hybrid, Sweep
from stg_attr.scale.fingerprint import digest
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
print(digest((net, Hybrid(), Sweep(), {"b": 1, "a": {"x", "y", "z"}}, lambda x: net(x).softmax(1))))
"""


def test_another_process_finds_the_same(python):
    processes = [python("-c", CODE, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    found = [process.communicate(timeout=60)[0] for process in processes]
    assert found[0] == found[1] != ""


def test_short_values_are_readable():
    assert described(3) == "3"
    assert described(("a", 2)) == "('a', 2)"
    assert described(torch.zeros(3)).startswith("Tensor ")
