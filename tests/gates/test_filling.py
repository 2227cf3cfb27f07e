"""Baselines that see what is shown: the model is given what the function says, for every selection."""

from __future__ import annotations

import itertools

import pytest
import torch

from stg_attr import ArgumentError, FillIn, LayerStochasticGates, ScoreFunction, StochasticGates, references
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.metrics import budget_curves
from tests.models import mlp

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
MODEL = mlp(4, 8, 2)


def _mean_of_shown(x, shown):
    return ((x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp_min(1.0)).expand(x.shape)


def _by_hand(x, z, fill):
    return z * x + (1 - z) * fill(x * (z > 0), z)


@pytest.mark.parametrize("estimator", [None, ScoreFunction()], ids=["slopes", "values"])
def test_scores_of_all_sets_equal_those_by_hand(estimator):
    stg = StochasticGates(MODEL, estimator=estimator)
    found = stg.explain(X, FillIn(_mean_of_shown), target=0)
    sets = torch.tensor(list(itertools.product([False, True], repeat=4)))
    scores = found.score_of(sets.unsqueeze(1).expand(-1, 3, -1))
    for z, score in zip(sets.float(), scores, strict=True):
        expected = MODEL(_by_hand(X, z.expand(3, 4), _mean_of_shown))[:, 0]
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.scores.baseline, scores[0])
    torch.testing.assert_close(found.scores.full, scores[-1])
    kept = (scores - scores[0]) / (scores[-1] - scores[0])
    for i in range(3):
        enough = int(sets.sum(1)[kept[:, i] >= 0.9].min())
        assert int(found.n_selected[i]) == enough
    assert bool((found.inputs[0] == X).all())
    assert bool((found.baselines[0] == 0).all())


def test_slopes_go_through_what_is_filled_in():
    """The derivative in the gates has that of the function in it."""
    x = X[:1].double()
    groups = FeatureGroups.from_mask(None, (x,))
    blend = Blend.of((x,), FillIn(_mean_of_shown), groups)

    def score(z):
        return blend(z.reshape(1, 1, 4), torch.zeros(1, dtype=torch.long))[0].square().sum()

    z = torch.full((4,), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(score, z)


def test_each_sample_uses_the_reference_that_is_drawn_for_it():
    fill = FillIn(lambda x, shown: torch.stack([x * 0 + k for k in (10.0, 20.0, 30.0)]))
    blend = Blend.of((X,), fill, FeatureGroups.from_mask(None, (X,)))
    assert blend.n_references == 3
    gates, draws = torch.zeros(4, 3, 4), torch.tensor([2, 0, 1, 1])
    shown = blend(gates, draws)[0].reshape(4, 3, 4)
    assert shown[:, 0, 0].tolist() == [30.0, 10.0, 20.0, 20.0]
    gates[0, 1, 2] = 1.0
    assert blend(gates, draws)[0].reshape(4, 3, 4)[0, 1].tolist() == [30.0, 30.0, float(X[1, 2]), 30.0]


def test_the_function_does_not_see_what_is_hidden():
    seen = []

    def fill(x, shown):
        seen.append((x, shown))
        return torch.zeros_like(x)

    StochasticGates(MODEL, estimator=ScoreFunction()).explain(X, FillIn(fill), target=0)
    assert len(seen) > 10
    assert all(bool((x[shown == 0] == 0).all()) for x, shown in seen)
    assert all(bool(((shown == 0) | (shown == 1)).all()) for _, shown in seen)


def test_a_copied_column_is_needed_less_than_with_independent_rows():
    """The second column repeats the first: each tells the other, so one of them suffices for both."""
    generator = torch.Generator().manual_seed(0)
    a, c = torch.randn(2, 400, 1, generator=generator)
    data = torch.cat([a, a, c], 1)
    row = torch.tensor([[1.5, 1.5, 0.3]])

    def model(x):
        return x[:, 0] + x[:, 1] + 0.1 * x[:, 2]

    stg = StochasticGates(model, estimator=ScoreFunction())
    alike = stg.explain(row, references.nearest(data, n=8))
    apart = stg.explain(row, references.sample(data, n=8))
    assert alike.n_selected.tolist() == [1]
    assert apart.selected[0, :2].all()


def test_measures_use_it_too():
    attributions = torch.tensor([[0.9, 0.5, 0.4, 0.1]]).expand(3, 4)
    curves = budget_curves(
        MODEL, X, attributions, FillIn(_mean_of_shown), target=0, counts=torch.tensor([[0, 2, 4]] * 3)
    )
    z = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(3, 4)
    expected = MODEL(_by_hand(X, z, _mean_of_shown))[:, 0]
    torch.testing.assert_close(curves.kept[:, 1], expected, rtol=1e-5, atol=1e-6)


def test_inputs_of_their_own():
    """One input is filled in, another has a number as its baseline."""
    model = lambda a, b: a.sum(1) + 2 * b.sum(1)  # noqa: E731
    found = StochasticGates(model).explain((X, X[:, :2]), (FillIn(lambda x, s: torch.ones_like(x)), 0))
    torch.testing.assert_close(found.scores.baseline, torch.full((3,), 4.0))


def test_layers_take_it_as_layer_baselines():
    layer = MODEL[0]
    found = LayerStochasticGates(MODEL, layer).explain(X, layer_baselines=FillIn(_mean_of_shown), target=0)
    assert found.attributions.shape == (3, 8)
    with pytest.raises(ArgumentError, match="layer_baselines"):
        LayerStochasticGates(MODEL, layer).explain(X, FillIn(_mean_of_shown), target=0)


@pytest.mark.parametrize(
    ("fill", "found"),
    [(lambda x, s: x[:, :1], r"\(3, 1\)"), (lambda x, s: 0.0, "float")],
    ids=["shape", "kind"],
)
def test_what_cannot_be_filled_in(fill, found):
    with pytest.raises(ArgumentError, match=f"baselines: expected .*{found}.*Return a tensor"):
        StochasticGates(MODEL).explain(X, FillIn(fill), target=0)


def test_functions_and_rows_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match=r"fill: .*inputs.*too many"):
        FillIn(lambda x: x)
    with pytest.raises(ArgumentError, match=r"fill: .*inputs.*share"):
        FillIn(torch.zeros(3))
    assert FillIn(torch.mul)  # a function that does not say what it takes
    with pytest.raises(ArgumentError, match=r"baselines: .*\(3,\); found \(2,\)"):
        StochasticGates(torch.nn.Linear(3, 1)).explain(torch.ones(1, 3), references.nearest(torch.rand(9, 2)))
