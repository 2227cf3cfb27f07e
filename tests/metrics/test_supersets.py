"""Superset stability: shares by enumeration, seeds, groups and references."""

import itertools

import pytest
import torch

from stg_attr import ArgumentError, ReferenceSet, StochasticGates
from stg_attr.metrics import superset_stability

X = torch.ones(1, 4)


def _two_classes(score):
    return lambda x: torch.stack([score(x), torch.zeros(len(x))], 1)


def test_shares_are_those_of_all_supersets():
    """The class is kept unless the second column is shown without the third."""
    model = _two_classes(lambda x: x[:, 0] - 2 * x[:, 1] + 2 * x[:, 2])
    selected = torch.tensor([[True, False, False, False]])
    found = superset_stability(model, X, selected, target=0, n_draws=1000)
    assert found.n_added.tolist() == [[0, 1, 2, 3]]
    for n, share in zip(found.n_added[0].tolist(), found.share[0].tolist(), strict=True):
        kept = [1 not in more or 2 in more for more in itertools.combinations((1, 2, 3), n)]
        assert share == pytest.approx(sum(kept) / len(kept), abs=3 * 0.5 / 1000**0.5)


def test_the_whole_input_keeps_its_class():
    net = torch.nn.Linear(6, 3)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    explanation = StochasticGates(net).explain(x)
    found = superset_stability(net, x, explanation.selected, n_draws=7)
    assert found.share[:, -1].tolist() == [1.0] * 5
    assert torch.equal(found.n_added[:, -1], 6 - explanation.n_selected)
    again = superset_stability(net, x, explanation.selected, n_draws=7)
    assert torch.equal(found.share, again.share)


def test_groups_and_references_are_used():
    """Two groups of columns; with every other reference the class is another one."""
    model = _two_classes(lambda x: x.sum(1) - 2.5)
    mask = torch.tensor([[0, 0, 5, 5]])
    rows = ReferenceSet(torch.tensor([[0.0] * 4, [1.0] * 4]))
    selected = torch.tensor([[True, False]])
    found = superset_stability(model, X, selected, rows, 0, feature_mask=mask, n_draws=10)
    assert found.n_added.tolist() == [[0, 1]]
    assert found.share.tolist() == [[0.5, 1.0]]


def test_what_cannot_be_measured_is_refused():
    selected = torch.tensor([[True, False, False, False]])
    with pytest.raises(ArgumentError, match=r"forward_func: expected outputs \[rows, classes\]"):
        superset_stability(lambda x: x.sum(1), X, selected)
    with pytest.raises(ArgumentError, match="selected: expected a bool tensor"):
        superset_stability(_two_classes(lambda x: x.sum(1)), X, selected[:, :2])
    with pytest.raises(ArgumentError, match="selected: expected a bool tensor"):
        superset_stability(_two_classes(lambda x: x.sum(1)), X, [0])
    with pytest.raises(ArgumentError, match="n_draws: expected a whole number"):
        superset_stability(_two_classes(lambda x: x.sum(1)), X, selected, n_draws=0)


def test_a_model_that_fails_says_so():
    def failing(x):
        if len(x) and float(x.sum()) == 1:
            raise RuntimeError("out of order")
        return torch.stack([x.sum(1), torch.zeros(len(x))], 1)

    with pytest.raises(RuntimeError, match="out of order"):
        superset_stability(failing, X, torch.tensor([[True, False, False, False]]), target=0)
