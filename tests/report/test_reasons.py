"""Reason codes against a linear model, whose contributions are known."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from stg_attr import Status, StochasticGates
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


def test_groups_by_terms_of_the_business_are_named_as_such():
    frame = pd.DataFrame({"street": ["a"], "town": ["x"], "pay": [1.0]})

    def model(rows):
        town, street = rows["town"] == "x", rows["street"] == "a"
        return torch.tensor((3.0 * town + 2.0 * street - rows["pay"]).to_numpy())

    groups, usual = {"address": ["street", "town"]}, {"street": "b", "town": "y", "pay": 4.0}
    found = StochasticGates(model).explain(frame, baselines=usual, feature_mask=groups, max_evals=600)
    everything = replace(found, selected=torch.ones_like(found.selected))
    reasons = [(r.name, r.value, r.direction) for r in reason_codes(everything)]
    assert reasons == [("address", "a, x", "raises"), ("pay", "1", "raises")]
    assert [r.contribution for r in reason_codes(everything)] == pytest.approx([5, 3], abs=1e-3)


def test_cells_of_a_table_are_written_as_they_are():
    frame = pd.DataFrame(
        {"job": ["none", None, "<i>cook</i>"] * 20, "since": pd.to_datetime(["2020-02-03"] * 60)}
    )

    def model(rows):
        return torch.tensor((rows["job"].isna() * 2.0 - (rows["job"] == "none")).to_numpy())

    found = StochasticGates(model).explain(frame.iloc[:3], baselines=frame, max_evals=400)
    reasons = {r.row: r for r in reason_codes(found, n=1)}
    assert {row: (r.name, r.value, r.direction) for row, r in reasons.items()} == {
        0: ("job", "none", "lowers"),
        1: ("job", "missing", "raises"),
        2: ("job", "<i>cook</i>", "lowers"),
    }


def test_only_reasons_of_certified_sets_are_certified(explanation):
    rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    found = StochasticGates(lambda x: x @ WEIGHTS).explain(rows[:4], baselines=rows)
    holds = torch.tensor([True, False, True, False])
    found = replace(found, certificate=replace(found.certificate, holds=holds))
    for reason in reason_codes(found):
        assert reason.certified == bool(holds[reason.row])
    assert {reason.row for reason in reason_codes(found)} == {0, 1, 2, 3}
    assert not any(reason.certified for reason in reason_codes(replace(explanation, certificate=None)))


def test_a_row_that_failed_has_no_reasons(explanation):
    unknown = explanation.contributions.clone()
    unknown[0] = torch.nan
    everything = torch.ones_like(explanation.selected)
    failed = replace(
        explanation, contributions=unknown, selected=everything, status=(Status.FAILED, explanation.status[1])
    )
    assert {reason.row for reason in reason_codes(failed)} == {1}


def test_reasons_become_a_table(explanation):
    everything = replace(explanation, selected=torch.ones_like(explanation.selected))
    reasons = reason_codes(everything)
    table = pd.DataFrame(reasons).assign(direction=[reason.direction for reason in reasons])
    assert list(table.columns) == [
        "row", "rank", "feature", "name", "value", "contribution", "certified", "direction",
    ]  # fmt: skip
    assert table.groupby("row")["contribution"].sum().tolist() == pytest.approx([3, 8], abs=1e-3)
