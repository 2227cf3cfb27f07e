"""Reason codes against a linear model, whose contributions are known."""

from dataclasses import replace

import pytest
import torch

from stg_attr import StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.report import reason_codes

WEIGHTS = torch.tensor([5.0, -4.0, 0.0, 2.0])


@pytest.fixture(scope="module")
def explanation():
    rows = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, -1.0]])
    names = ["income", "debt", "noise", "<b>age</b>"]
    return StochasticGates(lambda x: x @ WEIGHTS).explain(
        rows, baselines=torch.zeros(1, 4), feature_names=names
    )


def test_reasons_are_the_largest_contributions_of_what_was_selected(explanation):
    everything = replace(explanation, selected=torch.ones_like(explanation.selected))
    found = [(r.row, r.rank, r.name, r.value, r.direction) for r in reason_codes(everything, n=2)]
    assert found == [
        (0, 1, "income", "1", "raises"),
        (0, 2, "debt", "1", "lowers"),
        (1, 1, "income", "2", "raises"),
        (1, 2, "<b>age</b>", "-1", "lowers"),
    ]
    sizes = [r.contribution for r in reason_codes(everything, n=2)]
    assert sizes == pytest.approx([5, -4, 10, -2], abs=1e-3)


def test_what_was_not_selected_or_has_no_effect_is_no_reason(explanation):
    nothing = replace(explanation, selected=torch.zeros_like(explanation.selected))
    assert reason_codes(nothing) == []
    everything = replace(explanation, selected=torch.ones_like(explanation.selected))
    assert all(r.name != "noise" for r in reason_codes(everything, n=4))


def test_an_explanation_without_contributions_is_refused(explanation):
    with pytest.raises(ArgumentError, match="contributions of the features"):
        reason_codes(replace(explanation, contributions=None))


def test_columns_that_share_an_id_are_one_reason():
    rows = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    found = StochasticGates(lambda x: x @ WEIGHTS).explain(
        rows, baselines=torch.zeros(1, 4), feature_mask=torch.tensor([[0, 0, 0, 1]])
    )
    everything = replace(found, selected=torch.ones_like(found.selected))
    reasons = [(r.feature, r.value, r.direction) for r in reason_codes(everything)]
    assert reasons == [(1, "1", "raises"), (0, "", "raises")]
    assert [r.contribution for r in reason_codes(everything)] == pytest.approx([2, 1], abs=1e-3)
