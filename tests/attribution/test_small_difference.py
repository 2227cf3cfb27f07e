"""Input and baseline that score nearly the same, while masked inputs score very differently."""

import pytest
import torch

from stg_attr import (
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    Status,
    StochasticGates,
)
from stg_attr.gates import Blend, FeatureGroups

# contributions of 5 and less that add up to .005
WORTH = torch.tensor([5.0, -4.0, 3.0, -2.0, 1.0, -2.995], dtype=torch.float64)


def _cancels(x):
    return 3.247 + x @ WORTH


@pytest.mark.parametrize(("times", "plus"), [(1, 0), (1e-6, 0), (1e6, 0), (-1, 0), (1, 100)])
@pytest.mark.parametrize("objective", [Hybrid(), Preserve(), Preserve(OutputMatch())], ids=str)
@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=str)
def test_a_difference_of_nothing_is_not_read_in_shares(estimator, objective, times, plus):
    """In any unit of the score: no percentage, no certificate."""
    stg = StochasticGates(
        lambda x: times * (_cancels(x) + plus), estimator=estimator, objective=objective, smoothness=0
    )
    explanation = stg.explain(torch.ones(2, 6, dtype=torch.float64))
    assert set(explanation.status) == {Status.SMALL_DIFFERENCE}
    assert not explanation.certificate.holds.any()
    assert "% of the score" not in explanation.describe(0)
    assert "%" not in explanation.describe(0)
    assert not explanation.minimal().certificate.holds.any()
    direction = torch.sign(WORTH) * (1 if times > 0 else -1)
    if isinstance(estimator, Reparameterized) and objective == Hybrid():
        assert torch.equal(explanation.signed[0].sign(), direction.to(explanation.effect.dtype))


def _rows(n=12):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _saturated(x):
    """Probabilities between .998 and .999."""
    return 0.998 + 0.001 * torch.sigmoid(x.sum(1) - 3)


ORDINARY = {
    "a sum": lambda x: x.abs().sum(1),
    "a probability near one": _saturated,
    "logits": lambda x: 12 * torch.tanh(x.abs().sum(1)) + 3,
    "a product": lambda x: (x.abs() + 0.1).prod(1),
}


@pytest.mark.parametrize(("times", "plus"), [(1, 0), (1e-6, 0), (1e6, 0), (1, 1e3)])
@pytest.mark.parametrize("model", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch())], ids=str)
def test_a_small_difference_that_is_all_there_is_is_explained(objective, model, times, plus):
    stg = StochasticGates(lambda x: times * (model(x) + plus), objective=objective)
    explanation = stg.explain(_rows().abs())
    assert Status.SMALL_DIFFERENCE not in explanation.status
    assert Status.NOTHING_TO_EXPLAIN not in explanation.status


def test_agreement_with_the_output_is_measured_against_the_spread_of_the_references():
    """The mean of the references scores as the input does, but each of them does not."""
    references = torch.cat([torch.eye(6), -torch.eye(6)]).double() + 1
    explanation = StochasticGates(lambda x: x @ WORTH.abs(), objective=Preserve(OutputMatch()))
    found = explanation.explain(torch.ones(1, 6, dtype=torch.float64), baselines=ReferenceSet(references))
    assert found.status[0] is not Status.SMALL_DIFFERENCE


@pytest.mark.parametrize("n_references", [12, 60])
def test_nothing_to_explain_is_not_said_where_other_references_score_otherwise(n_references):
    """One reference in twelve scores otherwise, and it is none of the five that sets are measured on."""
    rows = torch.zeros(n_references, 3)
    x = (torch.zeros(1, 3),)
    order = Blend.of(x, ReferenceSet(rows), FeatureGroups.from_mask(None, x)).reference_order
    rows[order[6::12], 0] = 5.0
    found = StochasticGates(lambda x: x[:, 0] + x[:, 1], estimator=ScoreFunction()).explain(
        torch.zeros(1, 3), baselines=ReferenceSet(rows)
    )
    assert found.status == (Status.REFERENCE_DEPENDENT,)
    assert not bool(found.selected.any())
    assert float(found.contributions[0, 0]) < -0.1  # it takes away what the others have
    assert "others do not" in found.describe(0)
    assert "Nothing to explain" not in found.describe(0)
