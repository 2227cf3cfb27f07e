"""Features whose value is that of the baseline: they change nothing, and nothing is spent on them."""

import pytest
import torch

from stg_attr import (
    Budget,
    FixedWeight,
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    StochasticGates,
)

ESTIMATORS = [Reparameterized(), ScoreFunction()]
WEIGHT = torch.randn(40, generator=torch.Generator().manual_seed(0))


def _model(x):
    return torch.tanh(x * WEIGHT).sum(1)


def _rows():
    """Four rows of which only the first six columns differ from zero."""
    rows = torch.randn(4, 40, generator=torch.Generator().manual_seed(1))
    rows[:, 6:] = 0
    return rows


@pytest.mark.parametrize("effort", [{}, {"max_evals": 60}, {"n_steps": 1, "n_samples": 2}], ids=str)
@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch())], ids=str)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_a_value_equal_to_that_of_the_baseline_is_never_selected(estimator, objective, effort):
    explanation = StochasticGates(_model, estimator=estimator, objective=objective).explain(_rows(), **effort)
    for reading in [explanation, *explanation.readings(), explanation.minimal()]:
        assert not reading.selected[:, 6:].any()
        assert (reading.attributions[:, 6:] <= 0.5).all()
    assert explanation.selected.any(1).all()
    assert not explanation.visible[:, 6:].any()
    assert explanation.curve.n_open.max() == 6


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_what_equals_the_baseline_comes_after_what_raises_the_score(estimator):
    """And before what lowers it: 12 of 60 weights lower it, and 200 columns equal the baseline."""
    weight = torch.arange(-12.0, 48.0)
    row = torch.zeros(1, 260)
    row[0, :60] = 1
    explanation = StochasticGates(lambda x: x[:, :60] @ weight, estimator=estimator).explain(row)
    found = explanation.attributions[0]
    raises, equal = found[:60].sort(descending=True).values[:47], found[60:]
    assert equal.max() < raises.min()
    assert (found[:60] < equal.min()).sum() >= 6


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("sparsity", [Budget(0.5), FixedWeight(0.0)], ids=str)
def test_no_sparsity_asks_for_more_features_than_can_change_something(estimator, sparsity):
    explanation = StochasticGates(_model, estimator=estimator, sparsity=sparsity).explain(_rows())
    assert (explanation.n_selected <= 6).all()
    assert torch.equal(explanation.curve.n_open.amax(1), explanation.visible.sum(1))


def test_a_solve_without_slopes_is_that_of_the_features_that_differ():
    """The gates of equal features are not learned: the others are learned as if these were not there."""
    rows = _rows()
    alone = StochasticGates(lambda x: torch.tanh(x * WEIGHT[:6]).sum(1), estimator=ScoreFunction())
    among = StochasticGates(_model, estimator=ScoreFunction())
    one, other = alone.explain(rows[:, :6]), among.explain(rows)
    assert torch.equal(one.selected, other.selected[:, :6])
    torch.testing.assert_close(one.log_alpha, other.log_alpha[:, :6], rtol=1e-4, atol=1e-4)
    assert torch.equal(one.n_evaluations, other.n_evaluations)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_with_references_only_what_equals_all_of_them_is_left_out(estimator):
    """Column 0 equals every reference, column 1 all but the last one, which is shown to no search."""
    rows = torch.ones(2, 4)
    references = torch.zeros(9, 4)
    references[:, 0] = 1
    references[:-1, 1] = 1
    baselines = ReferenceSet(references)
    explanation = StochasticGates(lambda x: x.sum(1) + x[:, 2] * x[:, 3], estimator=estimator).explain(
        rows, baselines=baselines
    )
    assert not explanation.visible[:, 0].any()
    assert explanation.selected[:, 2:].all()
    blend = explanation.question.blend
    assert blend.differs.tolist() == [[False, True, True, True]] * 2


def test_a_group_differs_where_one_of_its_elements_does_in_any_input():
    inputs = (torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), torch.tensor([[0, 3]]))
    masks = (torch.tensor([[[0, 0], [1, 2]]]), torch.tensor([[1, 2]]))
    stg = StochasticGates(lambda a, b: a.sum((1, 2)) + b.sum(1), estimator=ScoreFunction())
    explanation = stg.explain(inputs, feature_mask=masks)
    assert explanation.question.blend.differs.tolist() == [[True, False, True]]
    assert not explanation.selected[:, 1].any()


def test_an_input_that_is_its_baseline_has_nothing_to_explain():
    explanation = StochasticGates(_model, estimator=ScoreFunction()).explain(torch.zeros(2, 40))
    assert not explanation.selected.any()
    assert [status.name for status in explanation.status] == ["NOTHING_TO_EXPLAIN"] * 2
