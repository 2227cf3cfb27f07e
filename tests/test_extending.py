"""A gate, a fidelity, an estimator and a picture from outside the package, as the page on them shows."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from stg_attr import Hybrid, OutputMatch, Preserve, StochasticGates, Sweep
from tests.models import mlp

PAGE = (Path(__file__).parents[1] / "docs" / "project" / "extending.md").read_text(encoding="utf-8")
WEIGHTS = torch.tensor([3.0, 2.0, -1.0, 0.0, 0.5])


@pytest.fixture
def part(monkeypatch):
    """The names that a block of the page defines."""

    def read(title):
        (block,) = [
            b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if b.startswith(f"# {title}\n")
        ]
        module = types.ModuleType("outside")
        monkeypatch.setitem(sys.modules, "outside", module)
        exec(compile(block, f"extending.md, {title}", "exec"), vars(module))
        return module

    return read


def linear(x):
    return x @ WEIGHTS


def inputs():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def keeps_the_laws(stg, x):
    """In [0, 1], what is claimed can be recomputed, and an example is the same alone."""
    explanation = stg.explain(x)
    assert bool(((explanation.attributions >= 0) & (explanation.attributions <= 1)).all())
    shown = torch.where(explanation.selected, x, torch.zeros_like(x))
    scores = stg.forward_func(shown)
    scores = scores if scores.dim() == 1 else scores.gather(1, explanation.target).squeeze(1)
    torch.testing.assert_close(scores, explanation.scores.kept, rtol=0, atol=1e-5)
    torch.testing.assert_close(stg.attribute(x)[1:2], stg.attribute(x[1:2]), rtol=0, atol=1e-4)
    return explanation


def test_a_gate_from_outside(part):
    gate = part("a gate").Logistic()
    p = torch.linspace(0.02, 0.98, 25)
    torch.testing.assert_close(gate.active_probability(gate.parameter_at(p)), p)
    u = torch.rand(20000, 1, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    share = (gate.sample(gate.parameter_at(p), u) > 0).float().mean(0)
    torch.testing.assert_close(share, p, rtol=0, atol=0.02)  # four standard errors of 20,000 draws
    explanation = keeps_the_laws(StochasticGates(linear, gates=gate), torch.ones(3, 5))
    assert not bool(explanation.selected[:, 3].any())
    assert explanation.selected[0, :2].tolist() == [True, True]


def test_a_fidelity_from_outside(part):
    at_least = part("a fidelity").AtLeast(0.4)
    for objective in (Preserve(at_least), Hybrid(at_least)):
        net = torch.nn.Sequential(mlp(5, 12, 3), torch.nn.Softmax(1)).eval()
        stg = StochasticGates(net, objective=objective, sparsity=Sweep(retain=1.0))
        explanation = keeps_the_laws(stg, inputs())
        reachable = explanation.scores.full >= 0.4
        assert bool(reachable.any())
        assert bool((explanation.scores.kept[reachable] >= 0.4 - 1e-5).all())


def test_an_estimator_from_outside(part):
    x = torch.ones(2, 5)

    def without_gradient(rows):
        return linear(rows.detach())

    stg = StochasticGates(
        without_gradient, objective=Preserve(OutputMatch()), estimator=part("an estimator").Differences()
    )
    explanation = keeps_the_laws(stg, x)
    assert not bool(explanation.selected[:, 3].any())
    assert explanation.active_probabilities[0].argmax() == 0
    assert explanation.n_evaluations[0] > 12 * 16  # two for each gate and sample, and they are counted


def test_a_picture_from_outside(part, tmp_path):
    pytest.importorskip("matplotlib")
    explanation = StochasticGates(linear).explain(torch.ones(1, 5))
    picture = part("a picture").scatter(explanation)
    assert explanation.describe() in picture.alt
    assert "data:image/png;base64" in picture._repr_html_()
    picture.save(tmp_path / "dots.svg")
    assert picture.ax.get_ylim() == (-0.05, 1.05)
