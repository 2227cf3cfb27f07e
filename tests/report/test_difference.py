"""Two reports compared: which features entered or left, and for how many rows."""

import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from stg_attr import OutputMatch, Preserve, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.report import diff, report
from stg_attr.scale import explain_dataset

from .conftest import NAMES, SMALL, Scores, table


class WithoutDebt(Scores):
    """A later model, which reads income and age."""

    def forward(self, x):
        return super().forward(x[:, [0, 3, 2, 1]])


@pytest.fixture(scope="module")
def later(tmp_path_factory, frame, arguments):
    folder = tmp_path_factory.mktemp("later")
    stg = StochasticGates(WithoutDebt(), objective=Preserve(OutputMatch()))
    explain_dataset(stg, frame, folder, columns=NAMES, **arguments)
    return report(folder, frame, explainer=stg, columns=NAMES, settings=SMALL, date="2026-02-01", **arguments)


def test_a_feature_that_the_new_model_does_not_read_has_left(made, later):
    change = diff(made, later)
    features = {one["feature"]: one for one in change.content["features"]}
    before, after = (
        pq.read_table(io.BytesIO(one.files["rows/sets.parquet"])).to_pandas() for one in (made, later)
    )
    both = before["counted"] & after["counted"]
    was, now = (side["features"][both].map(lambda names: "debt" in names) for side in (before, after))
    assert features["debt"]["left"] == int((was & ~now).sum()) > 50
    assert features["debt"]["entered"] == 0
    assert features["age"]["entered"] > 50
    assert features["debt"]["apart"]
    assert not features["<script>alert(1)</script>"]["apart"]
    assert change.content["shared"]["entered"] == ["age"]
    assert change.content["shared"]["left"] == ["debt"]
    assert change.content["rows"]["same"] == int(both.sum())
    assert "Needed by fewer rows than before: debt" in str(change)
    changes = pq.read_table(io.BytesIO(change.files["rows/changes.parquet"])).to_pandas()
    assert int((changes["change"] == "left").sum()) == sum(one["left"] for one in features.values())


def test_a_report_does_not_differ_from_itself(made):
    change = diff(made, made)
    assert change.content["rows"]["changed"] == 0
    assert not any(one["apart"] for one in change.content["features"])
    assert change.content["unlike"] == []
    assert len(pq.read_table(io.BytesIO(change.files["rows/changes.parquet"]))) == 0


def test_folders_give_the_same_as_reports_and_bytes_stay(made, later, tmp_path):
    made.save(tmp_path / "old")
    later.save(tmp_path / "new")
    change = diff(tmp_path / "old", tmp_path / "new")
    assert change.json() == diff(made, later).json()
    page = change.save(tmp_path / "change").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'href="rows/changes.parquet"' in page


def test_rows_that_are_known_by_positions_of_other_data_are_not_compared(made, stg, arguments, tmp_path):
    explain_dataset(stg, table(60, 9), tmp_path / "run", **arguments)
    other = report(tmp_path / "run", table(60, 9), date="2026-02-01", **arguments)
    change = diff(made, other)
    assert change.content["rows"]["same"] == 0
    assert "a position may stand for another row" in str(change)
    assert all(one["entered"] is None for one in change.content["features"])


def test_rows_that_are_known_by_their_ids_are_compared(stg, arguments, tmp_path):
    reports = []
    for part in (slice(0, 40), slice(20, 60)):
        rows = table(60, 9).assign(key=[f"customer {i}" for i in range(60)]).iloc[part]
        folder = tmp_path / str(part.start)
        explain_dataset(stg, rows, folder, columns=NAMES, id_column="key", **arguments)
        reports.append(report(folder, rows, columns=NAMES, id_column="key", date="2026-02-01", **arguments))
    change = diff(*reports)
    assert change.content["rows"]["same"] == 20
    assert change.content["rows"]["changed"] <= 20


def test_another_question_is_said(made, frame, arguments, tmp_path):
    stg = StochasticGates(Scores(), objective=Preserve())
    explain_dataset(stg, frame, tmp_path / "run", columns=NAMES, **arguments)
    change = diff(made, report(tmp_path / "run", frame, columns=NAMES, date="2026-02-01", **arguments))
    assert any("objective was" in text for text in change.content["unlike"])
    assert "did not ask the same question" in str(change)


def test_a_folder_without_a_report_is_refused(tmp_path, made):
    with pytest.raises(ArgumentError, match=r"report: .*Report\.save"):
        diff(tmp_path, made)
    with pytest.raises(ArgumentError, match="confidence"):
        diff(made, made, confidence=2)


def test_a_feature_of_one_report_only_is_named(made):
    found = StochasticGates(lambda x: x.sum(1)).explain(
        torch.randn(20, 2), baselines=torch.randn(100, 2), feature_names=["income", "new"]
    )
    change = diff(made, report(found, date="2026-02-01"))
    features = {one["feature"]: one["is_in"] for one in change.content["features"]}
    assert features["new"] == [False, True]
    assert features["debt"] == [True, False]
    assert "new (new feature)" in change.html()


def test_rows_with_other_ids_are_not_compared_although_the_data_are_the_same(tmp_path):
    """One run names rows by a column, the other one by their positions."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)), columns=list("abcd"))
    rows["number"] = np.arange(40)[::-1].copy()
    stg = StochasticGates(lambda x: torch.where(x[:, 0] > 0, 3 * x[:, 1], 3 * x[:, 2]))
    same = {"columns": list("abcd"), "baselines": 0.0}
    reports = []
    for name, more in (("one", {}), ("two", {"id_column": "number"})):
        explain_dataset(stg, rows, tmp_path / name, **same, **more)
        reports.append(report(tmp_path / name, rows, **same, **more))
    assert "known by different ids" in str(diff(*reports))
