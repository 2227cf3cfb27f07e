"""Hidden cells filled in by the rows that are most like the shown ones."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from stg_attr import ArgumentError, FillIn, StochasticGates, references

RNG = np.random.default_rng(0)
N = 80
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(20, 60, N),
        "town": RNG.choice(["A", "B", "C"], N),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 900, N), "D"),
        "charge": np.where(RNG.random(N) < 0.3, np.nan, RNG.normal(50, 10, N)),
    }
)
FRAME["pay"] = FRAME.age * 100.0 + RNG.normal(0, 10, N)  # which the age tells
ROW, DATA = FRAME.iloc[[3]], FRAME.iloc[10:]


def _score(table):
    town = table["town"].map({"A": 1.0, "B": 0.5, "C": 0.0})
    return table["pay"] / 1000 + table["age"] / 10 + town + table["charge"].fillna(0) / 100


def _filled_by_hand(row, shown, data):
    """The row with hidden cells of each row of the data that is most like the shown cells."""
    distance = np.zeros(len(data))
    for name in shown:
        mine, others = row[name].iloc[0], data[name]
        if name == "town":
            distance += others.to_numpy() != mine
            continue
        spread = others.std(ddof=0)
        apart = ((others - mine) / spread).astype(float) ** 2
        missing = others.isna() != pd.isna(mine)
        both = others.isna() & pd.isna(mine)
        distance += np.where(both, 0.0, np.where(missing, 1.0, apart))
    filled = data[distance <= distance.min() + 1e-9].copy()
    for name in shown:
        filled[name] = row[name].iloc[0]
    return filled


@pytest.mark.parametrize("row", [3, 4, 7], ids=str)
def test_scores_of_sets_are_those_of_rows_filled_in_by_hand(row):
    inputs = FRAME.iloc[[row]]
    found = StochasticGates(_score).explain(inputs, references.nearest(DATA, n=1))
    names = list(FRAME)
    for choice in itertools.product([False, True], repeat=5):
        shown = [name for name, kept in zip(names, choice, strict=True) if kept]
        expected = _score(_filled_by_hand(inputs, shown, DATA))  # of several where rows are alike
        score = float(found.score_of(torch.tensor([choice])))
        assert np.isclose(expected, score, rtol=1e-9, atol=0).any(), shown


def test_a_column_that_another_tells_is_not_needed():
    oldest = FRAME.iloc[[int(FRAME.age.argmax())]]
    alike = StochasticGates(_score).explain(oldest, references.nearest(FRAME.drop(index=oldest.index), n=4))
    assert int(alike.selected[0, [0, 4]].sum()) == 1
    assert alike.feature_names == tuple(FRAME)
    assert set(alike.to_frame()["name"]) == set(FRAME)


def test_where_nothing_is_shown_rows_are_drawn_by_a_seed():
    scores = [
        float(StochasticGates(_score).explain(ROW, references.nearest(DATA, n=4, seed=seed)).scores.baseline)
        for seed in (0, 0, 1)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_what_does_not_fit_is_refused():
    def refused(message, inputs, baselines):
        with pytest.raises(ArgumentError, match=message):
            StochasticGates(lambda table: 1 / 0).explain(inputs, baselines)

    refused(r"n: expected at most 70.*found 71", ROW, references.nearest(DATA, n=71))
    refused(
        r"baselines: expected the 5 columns.*age missing", ROW, references.nearest(DATA.drop(columns="age"))
    )
    refused(r"baselines: .*never computed; found FillIn.*references.nearest", ROW, FillIn(lambda x, shown: x))
    refused(r"baselines: .*found those of a table", torch.zeros(1, 5), references.nearest(DATA))
