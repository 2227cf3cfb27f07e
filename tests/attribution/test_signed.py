"""The signed reading, and the order of what is not selected, where the answer is known."""

import pytest
import torch

from stg_attr import (
    Delete,
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    Settings,
    Status,
    StochasticGates,
)
from stg_attr.model import ProfileSettings

WORTH = torch.tensor([4.0, -3.0, 2.0, -1.0, 0.0])


def _linear(x):
    return (x * WORTH).sum(1)


def test_features_for_and_against_a_linear_score_have_their_sign_and_their_size():
    """The retained score of a linear model has the slopes worth / sum(worth), whatever else is shown."""
    explanation = StochasticGates(_linear).explain(torch.ones(2, 5))
    expected = (WORTH / 4).expand(2, 5)
    torch.testing.assert_close(explanation.signed, expected, rtol=0, atol=1e-5)
    effect = 2 * WORTH / WORTH.sum()  # of both views
    torch.testing.assert_close(explanation.effect, effect.expand(2, 5), rtol=0, atol=1e-5)


def test_signed_has_the_structure_of_the_inputs_and_the_features_of_the_mask():
    masks = (torch.tensor([[0, 0, 1]]), torch.tensor([[-1, 1]]))
    inputs = (torch.ones(3, 3), torch.ones(3, 2))
    stg = StochasticGates(lambda a, b: a.sum(1) - 5 * (a[:, 2] + b[:, 1]) + b[:, 0])
    first, second = stg.explain(inputs, feature_mask=masks).signed
    assert first.shape == (3, 3)
    assert second[:, 0].eq(0).all()
    assert torch.equal(first[:, 2], second[:, 1])
    assert first[:, 2].abs().eq(1).all()
    assert (first[:, 0] * first[:, 2] < 0).all()


def test_without_anything_to_explain_nothing_has_a_sign():
    assert StochasticGates(lambda x: x.sum(1) * 0).explain(torch.ones(2, 4)).signed.eq(0).all()


def test_what_cancels_out_comes_before_what_does_nothing_when_the_output_is_matched():
    """Features 1 and 2 cancel: no set needs them, but the model uses them; feature 3 it hardly uses."""
    worth = torch.tensor([1.0, 0.5, -0.5, 0.001])
    stg = StochasticGates(lambda x: (x * worth).sum(1), objective=Preserve(OutputMatch()))
    explanation = stg.explain(torch.ones(1, 4))
    assert explanation.attributions[0].argsort(descending=True)[-1] == 3


def test_in_a_score_the_rest_stays_in_the_order_of_the_solve():
    """Evidence against a class comes last, however much it matters."""
    worth = torch.tensor([4.0, 2.0, -3.0, 0.01])
    stg = StochasticGates(lambda x: (x * worth).sum(1), objective=Hybrid())
    assert stg.attribute(torch.ones(1, 4))[0].argmin() == 2


@pytest.mark.parametrize("objective", [Hybrid(), Preserve(), Delete(), Preserve(OutputMatch())], ids=str)
@pytest.mark.parametrize("x", [(1.0, 2.0), (1.0, -2.0), (-3.0, 1.0)])
def test_signs_and_ratios_are_those_of_the_contributions_below_the_baseline_too(objective, x):
    """x0 + 2 x1 contributes (x0, 2 x1), whichever side of its baseline the input is on."""
    rows = torch.tensor([x])
    stg = StochasticGates(lambda r: r[:, 0] + 2 * r[:, 1], objective=objective)
    worth = torch.tensor([[x[0], 2 * x[1]]])
    expected = worth / worth.abs().amax()
    torch.testing.assert_close(stg.explain(rows).signed, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "estimator", "least"),
    [
        (Hybrid(), Reparameterized(), 0.999),
        (Preserve(OutputMatch()), Reparameterized(), 0.999),
        (Hybrid(), ScoreFunction(), 0.5),  # its slopes are estimates
    ],
    ids=str,
)
def test_a_linear_regression_has_the_signs_of_its_shapley_values_above_and_below_the_mean(
    objective, estimator, least
):
    """Shapley values of a linear score are weight (x - mean); a wrong sign gives a correlation of -1."""
    generator = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(24, 5, generator=generator), torch.tensor([1.0, 0.8, -0.6, 0.4, -0.2])
    mean = rows.mean(0, keepdim=True)
    explanation = StochasticGates(lambda r: r @ weight, objective=objective, estimator=estimator).explain(
        rows, baselines=mean
    )
    below = explanation.scores.full < explanation.scores.baseline
    assert 4 < below.sum() < 20
    shapley = weight * (rows - mean)
    for row, (found, expected) in enumerate(zip(explanation.effect, shapley, strict=True)):
        correlation = torch.corrcoef(torch.stack([found, expected]))[0, 1]
        assert correlation > least, (row, bool(below[row]))


def test_scores_in_double_precision_leave_the_effects_of_single_inputs_single():
    explanation = StochasticGates(lambda x: x.double().sum(1)).explain(torch.ones(1, 3))
    assert explanation.effect.dtype == torch.float32


@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch()), Delete()], ids=str)
@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=str)
def test_signs_agree_with_shapley_values_on_both_sides_of_the_baseline(objective, estimator):
    """Of a linear score they are worth times difference, also where the input scores below the baseline."""
    inputs = torch.tensor([[1.0, -2.0, 1.0, 0.5, 1.0], [-1.0, 2.0, -1.0, 0.5, 1.0]])
    references = torch.tensor([[0.0, 0.5, 0.0, 0.0, 0.0], [0.0, -0.5, 0.0, 0.0, 0.0]])
    expected = inputs * WORTH  # the mean of the references is 0
    assert expected.sum(1).sign().tolist() == [1, -1]
    stg = StochasticGates(_linear, objective=objective, estimator=estimator)
    for baselines in (None, ReferenceSet(references)):
        found = stg.explain(inputs, baselines)
        # each forward of a black box sees one reference: a standard error of 1.5 / sqrt(96 pairs)
        sampled = baselines is not None and isinstance(estimator, ScoreFunction)
        error = 3 * 1.5 / 96**0.5 if sampled else 0.05
        torch.testing.assert_close(found.contributions, expected, rtol=0, atol=error)
        shares = expected / expected.abs().amax(1, keepdim=True)
        torch.testing.assert_close(found.signed, shares, rtol=0, atol=error / 4)


@pytest.mark.parametrize("estimator", [None, ScoreFunction()], ids=["slopes", "scores"])
def test_features_that_cancel_out_have_their_contributions(estimator):
    """Input and baseline score the same, so no set is reported; yet no feature is said to add nothing."""
    x = torch.tensor([[1.0, 1.0, 1.0, 5.0], [1.0, 0.0, 1.0, 2.0]])
    gates = StochasticGates(lambda x: 3 * x[:, 0] - 2 * x[:, 1] - x[:, 2], estimator=estimator)
    found = gates.explain(x)
    assert found.status[0] is Status.NOTHING_TO_EXPLAIN
    assert not bool(found.selected[0].any())
    expected = torch.tensor([[3.0, -2.0, -1.0, 0.0], [3.0, 0.0, -1.0, 0.0]])
    torch.testing.assert_close(found.contributions, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("estimator", [None, ScoreFunction()], ids=["slopes", "scores"])
def test_a_model_that_ignores_its_input_has_contributions_of_zero(estimator):
    found = StochasticGates(lambda x: 0 * x[:, 0] + 1, estimator=estimator).explain(torch.rand(2, 4))
    torch.testing.assert_close(found.contributions, torch.zeros(2, 4), atol=1e-5, rtol=0)


def test_more_of_max_evals_for_the_contributions_makes_them_more_exact():
    """All sets of seven features are 126 evaluations: more than a quarter of 300, less than two thirds."""
    x = torch.linspace(-1.5, 2.0, 14).reshape(2, 7)
    triples, last = x[:, 0:6:3] * x[:, 1:6:3] * x[:, 2:6:3], x[:, 6:]
    shares = torch.cat([triples.repeat_interleave(3, 1) / 3, last], 1)  # of a product, by symmetry
    errors = []
    for share in (0.25, 2 / 3):
        gates = StochasticGates(
            lambda x: (x[:, 0:6:3] * x[:, 1:6:3] * x[:, 2:6:3]).sum(1) + x[:, 6],
            estimator=ScoreFunction(),
            settings=Settings(profile=ProfileSettings(share=share)),
        )
        found = gates.explain(x, max_evals=300)
        assert int(found.n_evaluations.max()) <= 300
        errors.append(float((found.contributions - shares).abs().max()))
    assert errors[1] < 1e-5 < errors[0]
