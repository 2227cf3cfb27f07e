"""Axioms of attributions: those that hold for a reading, and counterexamples of those that do not.

The page `docs/project/captum_proposal.md` names these tests.
"""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from stg_attr import StochasticGates

X = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 0.5, 1.0]])


def _contributions(model, x=X):
    return StochasticGates(model).explain(x).contributions


def test_contributions_add_up():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).requires_grad_(False)
    found = StochasticGates(net).explain(X, target=1)
    gained = (net(X) - net(torch.zeros_like(X)))[:, 1]
    torch.testing.assert_close(found.contributions.sum(1), gained)


def test_attributions_do_not_add_up():
    found = StochasticGates(lambda x: 10 * x.sum(1)).attribute(X)
    assert (found.sum(1) <= 4).all()


def test_a_feature_that_alone_makes_the_difference_has_all_of_it():
    base = torch.tensor([[1.0, 0.0, 0.5, 1.0]])
    found = StochasticGates(lambda x: x[:, 1] * x[:, 0]).explain(X[1:], base)
    torch.testing.assert_close(found.contributions, torch.tensor([[0.0, 2.0, 0.0, 0.0]]), atol=1e-4, rtol=0)
    assert found.selected.tolist() == [[False, True, False, False]]


def test_contributions_of_equal_features_are_equal():
    found = _contributions(lambda x: (x[:, 0] * x[:, 1]).sqrt() + x[:, 2], X[:1])
    torch.testing.assert_close(found[:, 0], found[:, 1], atol=1e-4, rtol=0)


def test_attributions_of_equal_features_need_not_be_equal():
    """One of two features that do the same suffices."""
    found = StochasticGates(lambda x: torch.maximum(x[:, 0], x[:, 1])).explain(X[:1])
    assert found.selected[0, :2].sum() == 1
    assert found.attributions[0, 0] != found.attributions[0, 1]


def test_contributions_are_linear_in_the_model():
    first, second = (lambda x: x[:, 0] * x[:, 1] + x[:, 2]), (lambda x: (x[:, 1] + x[:, 3]).square())
    both = _contributions(lambda x: 2 * first(x) - second(x))
    expected = 2 * _contributions(first) - _contributions(second)
    torch.testing.assert_close(both, expected, atol=1e-3, rtol=1e-3)


def test_attributions_are_not_linear_in_the_model():
    def attributions(model):
        return StochasticGates(model).attribute(X[:1])

    doubled = attributions(lambda x: 2 * (3 * x[:, 0] + x[:, 1]))
    assert not torch.allclose(doubled, 2 * attributions(lambda x: 3 * x[:, 0] + x[:, 1]), atol=0.1)


@pytest.mark.parametrize("reading", ["attributions", "contributions", "influence"])
def test_two_ways_to_compute_one_function_are_explained_alike(reading):
    """Sums in another order differ in rounding only."""
    weight = torch.tensor([3.0, 1.0, -2.0, 0.5])
    ways = (
        lambda x: torch.tanh(x @ weight / 4),
        lambda x: 2 * torch.sigmoid(sum(w * column for w, column in zip(weight / 2, x.T, strict=True))) - 1,
    )
    one, other = (getattr(StochasticGates(way).explain(X), reading) for way in ways)
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def test_the_page_names_tests_that_exist():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "project" / "captum_proposal.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    assert len(named) > 20
    for path, name in named:
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, name)
