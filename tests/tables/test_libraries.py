"""Polars and NumPy: the model gets the table it knows, and the numbers equal those of pandas."""

from __future__ import annotations

import datetime
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from stg_attr import StochasticGates
from tests.tables.customers import customers

FRAME = customers(60)[0].astype({"contract": object})


def _score(calls, charge, contract, plan, paperless, since):
    """A rule on the cells of a row, missing ones among them."""
    score = 0.4 * calls + (1.0 if contract == "monthly" else 0.5 if contract is None else 0.0)
    score += (0.7 if plan == "max" else 0.0) * (1 + bool(paperless)) - (since.year - 2020) / 10
    return score + (0.8 if charge is None or np.isnan(charge) else charge / 100)


def _of_pandas(frame):
    rows = frame.astype(object).where(frame.notna(), None)
    return np.array([_score(*row) for row in rows.itertuples(index=False)])


def _of_polars(frame):
    return np.array([_score(*row) for row in frame.iter_rows()])


def _polars() -> pl.DataFrame:
    plan = pl.Enum(["basic", "plus", "max", "old"])
    cells = {name: [None if pd.isna(cell) else cell for cell in FRAME[name]] for name in FRAME}
    cells["since"] = [day.date() for day in cells["since"]]
    return pl.DataFrame(cells, schema_overrides={"plan": plan, "calls": pl.Int16})


def _assert_alike(found, other):
    for name in ("log_alpha", "selected", "contributions", "attributions", "inputs", "baselines"):
        mine, theirs = getattr(found, name), getattr(other, name)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.fixture(scope="module")
def by_pandas():
    return StochasticGates(_of_pandas).explain(FRAME[:3], FRAME[20:])


def test_polars_in_polars_out(by_pandas):
    frame, seen = _polars(), []

    def model(table):
        seen.append(table)
        return _of_polars(table)

    found = StochasticGates(model).explain(frame[:3], frame[20:])
    assert all(type(table) is pl.DataFrame and table.schema == frame.schema for table in seen)
    assert seen[0][:3].equals(frame[:3])
    _assert_alike(found, by_pandas)
    assert found.columns == by_pandas.columns
    assert found.describe(0) == by_pandas.describe(0)


def test_an_array_of_objects(by_pandas):
    array, seen = FRAME.astype(object).where(FRAME.notna(), None).to_numpy(), []

    def model(table):
        seen.append(table)
        return np.array([_score(*row) for row in table])

    found = StochasticGates(model).explain(array[:3], array[20:], feature_names=list(FRAME))
    assert all(type(table) is np.ndarray and table.dtype == object for table in seen)
    assert (seen[0][:3] == array[:3]).all()
    _assert_alike(found, by_pandas)
    assert found.describe(0) == by_pandas.describe(0)


def test_a_structured_array():
    kinds = [("calls", "i4"), ("charge", "f4"), ("contract", "U8"), ("since", "M8[D]")]
    rows = [(2, 10.5, "monthly", "2020-01-01"), (0, np.nan, "yearly", "2023-05-05"), (5, 3, "", "NaT")]
    array = np.array(rows, dtype=kinds)

    def model(table):
        assert table.dtype == array.dtype
        return table["calls"] + 3.0 * (table["contract"] == "monthly") + np.isnan(table["charge"])

    found = StochasticGates(model).explain(array[:1], array[1:])
    assert found.feature_names == ("calls", "charge", "contract", "since")
    assert found.to_frame()["value"].tolist() == ["2", "10.5", "monthly", "2020-01-01"]
    assert found.scores.full[0] == 5.0
    assert found.scores.baseline[0] == 3.0  # the mean of 1 and 5


def test_an_array_of_numbers_keeps_its_type_and_missing_cells():
    array = np.array([[1, np.nan, 3], [4, 5, np.nan], [7, 8, 9]], dtype=np.float32)

    def model(table):
        assert table.dtype == np.float32
        return np.isnan(table[:, 1]) * 2.0 + table[:, 0]

    found = StochasticGates(model).explain(array[:1], array[1:2])
    assert found.scores.full.tolist() == [3.0]
    assert found.scores.baseline.tolist() == [4.0]
    for kept, score in {(True, False): 1.0, (False, True): 6.0}.items():
        assert found.score_of(torch.tensor([[*kept, False]])).tolist() == [score]
    assert found.selected.tolist() == [[True, False, False]]
    assert found.to_frame()["value"].tolist() == ["1", "missing", "3"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "records"])
def test_a_number_or_a_cell_for_each_column(kind):
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    table = {
        "pandas": frame, "polars": pl.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}),
        "records": frame.to_records(index=False).view(np.ndarray),
    }[kind]  # fmt: skip
    stg = StochasticGates(lambda table: np.asarray(table["a"]) * 1.0 + np.asarray(table["b"]))
    assert stg.explain(table, 0).scores.baseline.tolist() == [0.0, 0.0]
    assert stg.explain(table, {"b": 7.5, "a": 2}).scores.baseline.tolist() == [9.5, 9.5]


def test_labels_of_rows_go_along():
    """An index of dates or names comes with the rows; numbers are counted anew."""
    days = pd.date_range("2024-01-01", periods=3, name="day")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 0.0, 2.0]}, index=days)
    seen = []

    def model(table):
        assert isinstance(table.index, pd.DatetimeIndex)
        seen.append(table)
        return table["a"].to_numpy() * table.index.day

    found = StochasticGates(model).explain(frame, {"a": 0.0, "b": 0.0})
    assert found.scores.full.tolist() == [1.0, 4.0, 9.0]
    assert found.selected.tolist() == [[True, False]] * 3
    assert all(table.index.name == "day" for table in seen)


def test_dates_of_the_standard_library_and_times_of_day():
    frame = pl.DataFrame({"at": [datetime.datetime(2024, 1, 1, 12, 30), datetime.datetime(1960, 1, 1)]})
    found = StochasticGates(lambda table: table["at"].dt.year().to_numpy() * 1.0).explain(
        frame[:1], frame[1:]
    )
    assert found.to_frame()["value"].tolist() == ["2024-01-01 12:30:00"]
    assert (
        found.inputs[0].item()
        == datetime.datetime(2024, 1, 1, 12, 30, tzinfo=datetime.timezone.utc).timestamp()
    )


_WITHOUT_PANDAS = """
import sys
sys.modules["pandas"] = None
import numpy as np
from stg_attr import StochasticGates
array = StochasticGates(lambda x: x.sum(1)).explain(np.ones((1, 3)), 0)
assert "polars" not in sys.modules
import polars as pl
frame = pl.DataFrame({"a": ["x", "y"], "n": [1.0, 2.0]})
found = StochasticGates(lambda table: table["n"].to_numpy()).explain(frame[:1], frame[1:])
print(found.describe(0)[:5], array.selected.tolist())
"""


@pytest.mark.slow
def test_no_library_is_imported_that_the_user_has_not():
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PANDAS], capture_output=True, text=True, check=False
    )
    assert done.stdout == "n = 1 [[True, True, True]]\n", done.stderr
