"""Cells of every type come back to the model as they are, bit by bit, with the type of their column."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from stg_attr import StochasticGates

NUMBERS = [1.0, 2.0, 3.0, 5.0]
PANDAS = {
    "sparse": pd.arrays.SparseArray([0, 0, 1, 2]),
    "interval": pd.interval_range(0, 4),
    "period": pd.period_range("2024-01", periods=4, freq="M"),
    "string": pd.array(["a", None, "b", "c"], dtype="string"),
    "objects": pd.Series(["a", None, "b", 1], dtype=object),
    "texts as objects": pd.Series(["a", "b", "b", "c"], dtype=object),
    "boolean": pd.array([True, None, False, True], dtype="boolean"),
    "Float64": pd.array([1.5, None, 2, 3], dtype="Float64"),
    "category": pd.Categorical(["x", None, "y", "x"], ["y", "x", "never"]),
    "ordered category": pd.Categorical([3, 1, 2, 1], ordered=True),
    "time zone": pd.to_datetime(["2024-01-01", None, "2024-01-03", "2024-01-04"]).tz_localize("UTC"),
    "uint8": np.array([1, 2, 3, 4], np.uint8),
    "float16": np.array([1, 2, 3, 4], np.float16),
    "complex": np.array([1j, 2, 3, 4]),
    "dicts": [{"k": 1}, {"k": 2}, {"k": 1}, None],
    "arrays": [np.zeros(2), np.ones(2), np.zeros(2), np.ones(3)],
    "zeros with a sign": [-0.0, 0.0, 0.0, -0.0],
    "infinite": [np.inf, -np.inf, 0.0, 1.0],
    "decimals": [decimal.Decimal("1.10"), decimal.Decimal("2"), None, None],
    "early and late": pd.to_datetime(["1700-01-01", "2200-01-01", "2000-01-01", "2001-01-01"]),
    "bytes": [b"x", b"y", b"z", b"x"],
}
POLARS = {
    "struct": pl.Series([{"k": 1}, {"k": 2}, {"k": 1}, None]),
    "list": pl.Series([[1], [2, 3], [], None]),
    "array": pl.Series([[1, 2], [2, 3], [1, 2], [0, 0]], dtype=pl.Array(pl.Int64, 2)),
    "decimal": pl.Series([decimal.Decimal("1.1"), decimal.Decimal("2.2"), None, decimal.Decimal("3")]),
    "categorical": pl.Series(["a", "b", None, "a"], dtype=pl.Categorical),
    "time": pl.Series([datetime.time(1), datetime.time(2), None, datetime.time(3)]),
    "duration": pl.Series([datetime.timedelta(1), datetime.timedelta(2), None, datetime.timedelta(3)]),
    "boolean": pl.Series([True, None, False, True]),
    "uint64": pl.Series([1, 2**63, 3, 4], dtype=pl.UInt64),
    "nan and null": pl.Series([float("nan"), None, 1.0, 2.0]),
    "null": pl.Series([None, None, None, None]),
    "binary": pl.Series([b"x", b"y", b"z", None]),
}
LABELS = {
    "numbers": [4, 2, 9, 7],
    "names": list("wxyz"),
    "dates": pd.date_range("2024", periods=4, freq="D", name="day"),
    "levels": pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a"), (2, "b")], names=["p", "q"]),
}


def _first(inputs, baselines):
    """The first table that the model is given, of the inputs themselves."""
    seen = []

    def model(table):
        seen.append(table)
        return table["n"].to_numpy()

    found = StochasticGates(model).explain(inputs, baselines)
    assert found.scores.full.tolist() == NUMBERS[:2]
    assert found.selected.tolist() == [[False, True]] * 2
    return seen[0]


@pytest.mark.parametrize("kind", PANDAS)
def test_pandas(kind):
    frame = pd.DataFrame({"a": PANDAS[kind], "n": NUMBERS})
    pd.testing.assert_frame_equal(_first(frame[:2], frame[2:]), frame[:2])
    if kind.startswith("zeros"):
        assert np.signbit(_first(frame[:2], frame[2:])["a"]).tolist() == [True, False]


@pytest.mark.parametrize("kind", LABELS)
def test_index(kind):
    frame = pd.DataFrame({"a": list("abcd"), "n": NUMBERS}, index=LABELS[kind])
    expected = frame[:2].reset_index(drop=True) if kind == "numbers" else frame[:2]
    pd.testing.assert_frame_equal(_first(frame[:2], frame[2:]), expected, check_freq=False)


def test_columns_with_levels_and_numbers_as_names():
    columns = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    frame, seen = pd.DataFrame([[1, 2.0], [2, 3.0]], columns=columns), []

    def model(table):
        seen.append(table)
        return table["a", 2].to_numpy()

    found = StochasticGates(model).explain(frame[:1], frame[1:])
    pd.testing.assert_frame_equal(seen[0], frame[:1])
    assert found.feature_names == ("('a', 1)", "('a', 2)")
    numbered = StochasticGates(lambda table: table[1].to_numpy()).explain(
        frame[:1].set_axis([0, 1], axis=1), frame[1:].set_axis([0, 1], axis=1)
    )
    assert numbered.feature_names == ("0", "1")


@pytest.mark.parametrize("kind", POLARS)
def test_polars(kind):
    frame = pl.DataFrame({"a": POLARS[kind], "n": NUMBERS})
    first = _first(frame[:2], frame[2:])
    assert first.schema == frame.schema
    assert first.equals(frame[:2], null_equal=True)
