"""The manifest says the question in words, and the words do not decide whether two runs are the same."""

import json

import pandas as pd
import pytest
import torch

from stg_attr import AmortizedStochasticGates, Delete, OnMost, Preserve, ReferenceSet, StochasticGates, Sweep
from stg_attr.scale import explain_dataset
from stg_attr.scale.asked import asked_in_words, shown_in_words
from stg_attr.scale.manifest import Manifest


@pytest.mark.parametrize(
    ("baselines", "words"),
    [
        (None, "the value 0 in every column, or a blur of a photograph"),
        (0.5, "the value 0.5 in every column"),
        (torch.zeros(1, 5), "one fixed row"),
        (torch.zeros(5), "5 reference rows"),
        (torch.zeros(12, 5), "12 reference rows"),
        (ReferenceSet(torch.zeros(12, 5)), "12 reference rows"),
        (pd.DataFrame({"a": range(7)}), "7 reference rows"),
        (pd.DataFrame({"a": range(1)}), "one fixed row"),
        (lambda x: x, "what a function of the row returns"),
        ((torch.zeros(3, 5),), "3 reference rows"),
        ((0, 1), "given values for each input"),
    ],
)
def test_baselines_in_words(baselines, words):
    assert shown_in_words(baselines) == words


def test_the_claim_in_words(net):
    stg = StochasticGates(net, objective=Delete(), sparsity=Sweep(retain=0.8, claim=OnMost(0.99, share=0.7)))
    words = asked_in_words(AmortizedStochasticGates(stg), {"baselines": torch.zeros(9, 5)})
    assert words["method"] == "AmortizedStochasticGates"
    assert words["objective"].startswith("Delete(")
    assert (words["retain"], words["confidence"]) == ("0.8", "0.99")
    assert words["claim"] == "take away 80% of the score with at least 70% of the reference rows"
    assert words["baselines"] == "9 reference rows"
    assert "claim" not in asked_in_words(StochasticGates(net, sparsity=Sweep(claim=None)), {})
    assert asked_in_words(None, {"layer_baselines": 1.0}) == {
        "baselines": "the value 0 in every column, or a blur of a photograph",
        "layer_baselines": "the value 1 in every column",
    }


def test_words_are_written_and_do_not_count(explain, net, rows):
    out = explain(StochasticGates(net, objective=Preserve()), rows, "out")
    manifest = Manifest.of(out / "manifest.json")
    assert manifest.about["objective"].startswith("Preserve(")
    changed = json.loads((out / "manifest.json").read_text()) | {"about": {"objective": "in other words"}}
    (out / "manifest.json").write_text(json.dumps(changed))
    again = Manifest.of(out / "manifest.json")
    assert again == manifest
    assert again.identity == manifest.identity
    del changed["about"]  # as in folders of earlier releases
    (out / "manifest.json").write_text(json.dumps(changed))
    assert Manifest.of(out / "manifest.json").about == {}
    assert Manifest.of(out / "manifest.json").identity == manifest.identity


def test_contributions_are_written_where_they_were_measured(tmp_path):
    weights = torch.tensor([2.0, -1.0, 0.0])
    rows = pd.DataFrame(
        torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).numpy(), columns=list("abc")
    )
    stg = StochasticGates(lambda x: x @ weights)
    explain_dataset(stg, rows, tmp_path / "out", baselines=0.0)
    written = pd.read_parquet(tmp_path / "out" / "rows")["contributions"]
    for i, found in enumerate(written):
        assert found.tolist() == pytest.approx((rows.iloc[i].to_numpy() * weights.numpy()).tolist(), abs=1e-4)
    explain_dataset(stg, rows, tmp_path / "few", baselines=0.0, max_evals=8)
    few = pd.read_parquet(tmp_path / "few" / "rows")["contributions"]
    assert few.isna().all()
