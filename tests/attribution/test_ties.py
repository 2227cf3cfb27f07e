"""Gates with equal parameters: what is selected, reported and read again is one set, and its own scores."""

import warnings
from dataclasses import replace

import pytest
import torch

from stg_attr import Reparameterized, ScoreFunction, StochasticGates

WEIGHT = torch.tensor([1.0, 1, 1, 1, 2, 0, 0, -1])


def _model(x):
    return x @ WEIGHT + x[:, 0] * x[:, 1]


@pytest.mark.parametrize("effort", [{"n_steps": 1, "n_samples": 1}, {"n_steps": 2, "n_samples": 2}], ids=str)
@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=str)
@pytest.mark.quick_cases(1)
def test_what_is_above_one_half_is_selected_and_has_the_scores_that_are_reported(estimator, effort):
    """Few samples leave many gates with equal parameters."""
    for seed in range(20):
        explanation = StochasticGates(_model, estimator=estimator).explain(
            torch.ones(2, 8), seed=seed, **effort
        )
        for reading in [explanation, *explanation.readings(), explanation.at(budget=0.5)]:
            assert torch.equal(reading.attributions > 0.5, reading.selected)
            shown = reading.selected.float()
            torch.testing.assert_close(reading.scores.kept, _model(shown))
            torch.testing.assert_close(reading.scores.removed, _model(1 - shown))
        sizes = torch.stack([reading.n_selected for reading in explanation.readings()], 1)
        assert torch.equal(sizes, explanation.curve.n_open)
        some = explanation.readings()[5]
        assert [torch.equal(a.selected, b.selected) for a, b in _pairs(some, explanation)] == [True] * 13


def _pairs(one, other):
    return zip(one.readings(), other.readings(), strict=True)


def test_a_share_that_is_not_a_number_is_not_enough():
    """The scores of some sets are NaN: the smallest set that was measured to keep 90 % is read."""
    weight = torch.tensor([5.0, 3, 2, 1, 1, 1])

    def gappy(x):
        score = x @ weight
        return torch.where((score > 4) & (score < 9), torch.nan, score)

    explanation = StochasticGates(gappy).explain(torch.ones(1, 6)).at(retain=0.9)
    assert explanation.n_selected.tolist() == [5]
    assert explanation.scores.kept.tolist() == [12.0]


def test_after_a_failure_no_set_was_measured_to_keep_enough():
    weight, calls = torch.arange(6.0), []

    def failing(x):
        calls.append(1)
        if len(calls) > 20:
            raise RuntimeError("gone")
        return x @ weight

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = StochasticGates(failing).explain(torch.ones(1, 6))
    for reading in (explanation.at(retain=0.9), explanation.at(budget=0.5)):
        assert reading.n_selected.tolist() == [0]
        assert reading.scores.kept.isnan().all()
        assert "not measured" in reading.describe(0)


def test_where_no_set_keeps_enough_the_largest_measured_one_is_read():
    """The scores of large sets are NaN, and that of a set of three is infinite."""
    explanation = StochasticGates(lambda x: x @ torch.arange(1.0, 7)).explain(torch.ones(1, 6))
    curve = explanation.curve
    last, infinite = curve.n_open >= 5, curve.n_open == 3
    retained = curve.retained.masked_fill(last, torch.nan).masked_fill(infinite, torch.inf)
    changed = replace(explanation, curve=replace(curve, retained=retained))
    assert changed.at(retain=1.0).n_selected.tolist() == [4]
    assert changed.at(budget=1.0).n_selected.tolist() == [4]
    assert changed.at(budget=0.5).n_selected.tolist() == [2]
