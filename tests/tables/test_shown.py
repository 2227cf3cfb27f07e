"""What is shown of a table: pictures, widgets, files, other readings and continued solves."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from stg_attr import ArgumentError, Explanation, Preserve, StochasticGates, viz
from stg_attr.explanation import Column, Kind
from tests.tables.customers import customers

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
fitting_view = importlib.import_module("stg_attr.widgets.views").fitting_view
FRAME, _ = customers(120)


def _score(table):
    days = (pd.Timestamp("2024-01-01") - table["since"]).dt.days
    text = 1.5 * (table["contract"] == "monthly") - 1.0 * table["contract"].isna()
    return table["calls"] + text + (table["plan"] == "max") * 0.7 - days / 700 + table["charge"].isna() * 0.5


@pytest.fixture(scope="module")
def found():
    return StochasticGates(_score).explain(FRAME[:20], FRAME[20:80])


def _texts(axis):
    return [label.get_text() for label in axis]


def test_scatter_writes_cells_at_its_axis(found):
    ax = viz.scatter(found, "contract").ax
    assert _texts(ax.get_xticklabels()) == ["monthly", "yearly", "missing"]
    ax = viz.scatter(found, "charge").ax
    assert _texts(ax.get_xticklabels())[-1] == "missing"
    ax = viz.scatter(found, "paperless").ax
    assert _texts(ax.get_xticklabels()) == ["False", "True"]
    dates = _texts(viz.scatter(found, "since", colour="contract").ax.get_xticklabels())
    assert dates[0] == str(FRAME.since[:20].min().date())
    assert dates[-1] == str(FRAME.since[:20].max().date())
    bar = viz.scatter(found, "calls", colour="plan").ax.figure.axes[-1]
    known = FRAME.plan[:20].cat.remove_unused_categories().cat.categories
    assert _texts(bar.get_yticklabels()) == list(known)


def test_scatter_of_a_group_is_refused():
    groups = {"terms": ["contract", "plan"]}
    grouped = StochasticGates(_score).explain(FRAME[:3], FRAME[20:40], feature_mask=groups)
    with pytest.raises(ArgumentError, match="feature of one element"):
        viz.scatter(grouped, "terms")


def test_pictures_and_widgets_show_cells(found):
    for picture in (viz.bars(found, 3), viz.waterfall(found, 3)):
        labels = set(_texts(picture.ax.get_yticklabels()))
        shown = found.to_frame().query("example == 3")
        assert labels == {f"{name} = {value}" for name, value in shown[["name", "value"]].to_numpy()}
    assert "contract = " in found._repr_html_()
    scene = fitting_view(found).scene(found, 3)
    assert scene["names"] == list(FRAME)
    assert scene["values"] == shown["value"].tolist()
    assert scene["hidden"][list(FRAME).index("contract")] == ""  # of many references
    viz.beeswarm(found)
    viz.importance(found)


def test_two_explanations_of_one_table_are_compared(found):
    other = StochasticGates(_score, objective=Preserve()).explain(FRAME[:20], FRAME[20:80])
    assert "charge" in widgets.compare({"both": found, "kept": other}).markup()
    with pytest.raises(ArgumentError, match="methods: expected explanations alone"):
        widgets.compare({"both": found, "mine": found.attributions}, forward_func=_score)


def test_one_reference_is_shown_as_a_baseline():
    other = FRAME.iloc[[50]]
    one = StochasticGates(_score).explain(FRAME[:3], other)
    hidden = fitting_view(one).scene(one, 0)["hidden"]
    assert hidden[2] == other.contract.iloc[0]
    assert hidden[5] == str(other.since.iloc[0].date())


def test_a_file_keeps_columns_and_refuses_cells_without_a_text(found, tmp_path):
    found.save(tmp_path / "a.safetensors")
    again = Explanation.load(tmp_path / "a.safetensors")
    assert again.columns == found.columns
    assert [again.describe(i) for i in range(20)] == [found.describe(i) for i in range(20)]
    short = tuple(replace(c, texts=c.texts[:1]) for c in found.columns)
    replace(found, columns=short).save(tmp_path / "b.safetensors")
    with pytest.raises(ArgumentError, match="contract has cells without a text"):
        Explanation.load(tmp_path / "b.safetensors")
    replace(found, columns=found.columns[1:]).save(tmp_path / "c.safetensors")
    with pytest.raises(ArgumentError, match="5 columns do not fit"):
        Explanation.load(tmp_path / "c.safetensors")


def test_other_readings_and_rows(found):
    read = found.at(budget=0.5)
    assert read.attributions.dtype == found.attributions.dtype
    assert read.columns == found.columns
    assert found.rows(slice(3, 5)).describe(1) == found.describe(4)


def test_a_solve_is_continued():
    stg = StochasticGates(_score)
    rows, others = FRAME[:4], FRAME[20:60]
    begun = stg.explain(rows, others, n_steps=2)
    whole = stg.explain(rows, others, n_steps=4, resume=begun)
    assert whole.loss_trace.shape[0] > 2
    renamed = FRAME.assign(contract=FRAME.contract.replace({"monthly": "monthly!"}))
    with pytest.raises(ArgumentError, match=r"resume: expected .*the same columns and cells"):
        stg.explain(renamed[:4], renamed[20:60], n_steps=4, resume=begun)
    filled = FRAME.assign(charge=FRAME.charge.fillna(1.0))
    with pytest.raises(ArgumentError, match=r"resume: expected .*the same (inputs|baselines)"):
        stg.explain(filled[:4], filled[20:60], n_steps=4, resume=begun)


def test_seeds_restarts_and_parts_of_a_batch():
    stg = StochasticGates(_score)
    rows, others = FRAME[:5], FRAME[20:60]
    found = stg.explain(rows, others, n_restarts=2)
    assert found.inputs[0].shape == (5, 6)
    assert found.columns[2].texts == ("monthly", "yearly")
    parts = stg.explain(rows, others, internal_batch_size=2)
    whole = stg.explain(rows, others)
    torch.testing.assert_close(parts.log_alpha, whole.log_alpha, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.inputs[0], whole.inputs[0], rtol=0, atol=0, equal_nan=True)
    seen = []
    stg.explain(rows, others, n_steps=2, on_step=lambda done, n, so_far: seen.append(so_far()))
    assert seen[0].columns == whole.columns
    torch.testing.assert_close(seen[0].inputs[0], whole.inputs[0], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "kind", "texts"),
    [
        ([1, 2, None], Kind.WHOLE, ["1", "2", "missing"]),
        ([1.5, 2, np.nan], Kind.NUMBER, ["1.5", "2", "missing"]),
        ([True, False, None], Kind.FLAG, ["True", "False", "missing"]),
        ([True, 1, 0], Kind.TEXT, ["True", "1", "0"]),
        (["b", "a", None], Kind.TEXT, ["b", "a", "missing"]),
        (["b", 1, 2.5], Kind.TEXT, ["b", "1", "2.5"]),
        ([2**60, 2**60 + 1, 3], Kind.TEXT, [str(2**60), str(2**60 + 1), "3"]),
        ([[1], [2], None], Kind.TEXT, ["[1]", "[2]", "missing"]),
        ([None, None, None], Kind.NUMBER, ["missing"] * 3),
        (pd.to_datetime(["1960-01-01", "2024-02-03 04:05:06", None], format="ISO8601"), Kind.DATE,
         ["1960-01-01", "2024-02-03 04:05:06", "missing"]),
        (pd.to_timedelta([1, 2, 3], "D"), Kind.TEXT, [f"{i} days 00:00:00" for i in (1, 2, 3)]),
        (pd.date_range("2024-01-01", periods=3, tz="Asia/Tokyo"), Kind.DATE,
         ["2024-01-01", "2024-01-02", "2024-01-03"]),
        (pd.array([1, None, 3], dtype="Int64"), Kind.WHOLE, ["1", "missing", "3"]),
    ],
)  # fmt: skip
def test_kinds_of_columns(cells, kind, texts):
    is_array = hasattr(cells, "dtype")
    frame = pd.DataFrame(
        {"cell": cells if is_array else pd.Series(cells, dtype=object), "n": [1.0, 2.0, 3.0]}
    )
    seen = []

    def model(table):
        seen.append(table)
        return table["n"] * 1.0

    found = StochasticGates(model).explain(frame, frame[2:])
    assert found.columns[0].kind is kind
    assert found.to_frame().query("name == 'cell'")["value"].tolist() == texts
    pd.testing.assert_frame_equal(seen[0].iloc[:3], frame)


def test_texts_of_columns():
    assert [Column("a", Kind.TEXT, ("", " ", "b")).text(i) for i in range(3)] == ["''", "' '", "b"]
    assert Column("a", Kind.FLAG).text(0.25) == "0.25"  # the mean of several
    assert Column("a", Kind.WHOLE).text(123456789.0) == "123456789"
    assert Column("a", Kind.WHOLE).text(2.5) == "2.5"
    assert Column("a", Kind.DATE).text(0.0) == "1970-01-01"
