"""DataFrames of pandas: the model gets the frame it knows, and numbers equal those of an encoding by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from stg_attr import Explanation, ReferenceSet, ScoreFunction, StochasticGates, viz
from stg_attr.explanation import Kind
from tests.tables.customers import customers

FRAME, LEFT = customers()
ROWS, OTHERS = FRAME.iloc[:3], FRAME.iloc[100:160]


def _days(dates: pd.DataFrame) -> pd.DataFrame:
    return dates.apply(lambda column: (pd.Timestamp("2024-01-01") - column).dt.days)


@pytest.fixture(scope="module")
def pipeline():
    """A pipeline on raw columns: strings, categories, flags, dates, and missing cells."""
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["calls", "charge"]),
        (OneHotEncoder(handle_unknown="ignore"), ["contract", "plan"]),
        ("passthrough", ["paperless"]),
        (make_pipeline(FunctionTransformer(_days), StandardScaler()), ["since"]),
    )
    return make_pipeline(prepare, LogisticRegression()).fit(FRAME, LEFT)


class Seen:
    """A model that keeps the frames it is given."""

    def __init__(self, forward):
        self.forward, self.frames = forward, []

    def __call__(self, frame):
        self.frames.append(frame)
        return self.forward(frame)


def test_the_model_gets_the_frame_it_knows(pipeline):
    model = Seen(pipeline.decision_function)
    StochasticGates(model).attribute(ROWS, OTHERS)
    assert len(model.frames) > 10
    known = pd.concat([ROWS, OTHERS])
    for frame in model.frames:
        assert type(frame) is pd.DataFrame
        pd.testing.assert_index_equal(frame.columns, FRAME.columns)
        pd.testing.assert_series_equal(frame.dtypes, FRAME.dtypes)
        assert isinstance(frame.index, pd.RangeIndex)
        assert list(frame["plan"].cat.categories) == ["basic", "plus", "max", "old"]
        for name in frame.columns:  # every cell is one of the table
            assert set(frame[name].dropna()) <= set(known[name].dropna())
    pd.testing.assert_frame_equal(model.frames[0].iloc[:3], ROWS)


def test_equal_to_an_encoding_by_hand(pipeline):
    """Each column is written as numbers by hand, and the model reads them back."""
    pool = pd.concat([ROWS, OTHERS], ignore_index=True)
    known = {name: list(pool[name].drop_duplicates()) for name in pool}

    def number(name, cell):
        same = [
            i for i, other in enumerate(known[name]) if other == cell or (pd.isna(other) and pd.isna(cell))
        ]
        return same[0]

    codes = torch.tensor([[number(name, cell) for name, cell in row.items()] for _, row in pool.iterrows()])

    def decoded(x):
        columns = {name: [known[name][i] for i in x[:, j].tolist()] for j, name in enumerate(known)}
        return pipeline.decision_function(pd.DataFrame(columns).astype(FRAME.dtypes))

    amounts = pool.iloc[3:].assign(contract=np.nan, plan=np.nan, since=pool.since.iloc[3:].astype("int64"))
    references = ReferenceSet(codes[3:], torch.tensor(amounts.astype(float).to_numpy()))
    by_hand = StochasticGates(decoded, estimator=ScoreFunction()).explain(codes[:3], references)
    found = StochasticGates(pipeline.decision_function).explain(ROWS, OTHERS)
    for name in ("log_alpha", "selected", "contributions", "n_evaluations", "attributions"):
        mine, theirs = getattr(found, name), getattr(by_hand, name)
        # contributions are a regression, whose sums over values have the order of their numbers
        rounding = 1e-12 if name == "contributions" else 0
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=0, atol=rounding)
    assert found.describe(0).endswith(by_hand.describe(0)[-60:])
    torch.testing.assert_close(
        StochasticGates(pipeline.decision_function).attribute(ROWS, OTHERS),
        StochasticGates(decoded, estimator=ScoreFunction())
        .attribute(codes[:3], references)
        .double(),
        rtol=0, atol=0,
    )  # fmt: skip


def test_scores_of_all_sets_are_those_of_mixed_rows(pipeline):
    """Sets are mixed by hand, cell by cell, from the row and one reference."""
    row, other = FRAME.iloc[[5]], FRAME.iloc[[7]]
    found = StochasticGates(pipeline.decision_function).explain(row, other)
    n = len(FRAME.columns)
    sets = torch.tensor(list(itertools.product([False, True], repeat=n)))
    mixed = []
    for choice in sets.tolist():
        cells = {name: (row if kept else other)[name].array for name, kept in zip(FRAME, choice, strict=True)}
        mixed.append(pd.DataFrame(cells))
    by_hand = pipeline.decision_function(pd.concat(mixed, ignore_index=True))
    scores = found.score_of(sets.unsqueeze(1)).squeeze(1)
    np.testing.assert_allclose(scores.numpy(), by_hand, rtol=1e-12)
    full, none = by_hand[-1], by_hand[0]
    kept = (by_hand - none) / (full - none) >= 0.9
    smallest = int(sets.sum(1)[torch.tensor(kept)].min())
    assert int(found.n_selected[0]) == smallest


def test_names_and_cells_are_shown(pipeline, tmp_path):
    found = StochasticGates(pipeline.decision_function).explain(ROWS, OTHERS)
    assert found.feature_names == tuple(FRAME.columns)
    assert [column.kind for column in found.columns] == [
        Kind.WHOLE, Kind.NUMBER, Kind.TEXT, Kind.TEXT, Kind.FLAG, Kind.DATE,
    ]  # fmt: skip
    for i in range(3):
        cells = ROWS.iloc[i]
        shown = found.to_frame().query("example == @i").set_index("name")["value"]
        assert shown["calls"] == str(cells.calls)
        assert shown["charge"] == ("missing" if pd.isna(cells.charge) else f"{cells.charge:.4g}")
        assert shown["contract"] == ("missing" if pd.isna(cells.contract) else cells.contract)
        assert shown["plan"] == cells.plan
        assert shown["paperless"] == str(cells.paperless)
        assert shown["since"] == str(cells.since.date())
    labels = [label.get_text() for label in viz.bars(found, 0).ax.get_yticklabels()]
    assert sorted(labels) == sorted(
        f"{name} = {value}"
        for name, value in found.to_frame().query("example == 0")[["name", "value"]].to_numpy()
    )
    found.save(tmp_path / "a.safetensors")
    again = Explanation.load(tmp_path / "a.safetensors")
    assert again.columns == found.columns
    assert again.describe(1) == found.describe(1)


def test_contributions_of_a_sum_are_its_terms(pipeline):
    """With rows of numbers, texts, dates and missing cells, of which each has a part of the log odds."""
    rows, others = FRAME.iloc[:12], FRAME.iloc[100:160]
    found = StochasticGates(pipeline.decision_function).explain(rows, baselines=others).contributions
    weight, prepare = pipeline[-1].coef_[0], pipeline[:-1]
    sizes = [
        1,
        1,
        *(len(known) for known in prepare[-1].named_transformers_["onehotencoder"].categories_),
        1,
        1,
    ]
    of = np.repeat(["calls", "charge", "contract", "plan", "paperless", "since"], sizes)
    parts = [
        pd.DataFrame(np.asarray(prepare.transform(table)) * weight, columns=of) for table in (rows, others)
    ]
    here, there = (part.T.groupby(level=0).sum().T[FRAME.columns] for part in parts)
    expected = torch.tensor((here - there.mean()).to_numpy())
    torch.testing.assert_close(found.double(), expected, atol=0.12, rtol=0.02)
