"""Tables that cannot be used are refused before the model is run: what, expected, found, and a mend."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from stg_attr import ArgumentError, Reparameterized, ScoreFunction, StochasticGates
from tests.models import mlp

PLAN = pd.CategoricalDtype(["basic", "max"])
FRAME = pd.DataFrame({"age": [30, 40, 50], "town": ["A", "B", "B"], "plan": ["basic", "max", "max"]})
FRAME = FRAME.astype({"plan": PLAN})


def _never(table):
    raise AssertionError("the model was run")


def _refused(inputs, baselines, *parts, model=_never, **kwargs):
    with pytest.raises(ArgumentError) as refusal:
        StochasticGates(model, **kwargs).explain(inputs, baselines)
    for part in parts:
        assert re.search(part, str(refusal.value)), str(refusal.value)


def test_columns():
    _refused(FRAME, FRAME.drop(columns="age"), "the 3 columns", "age missing", r"frame\[inputs.columns\]")
    _refused(FRAME, FRAME.assign(left=1), "the 3 columns", "left too")
    _refused(FRAME, FRAME.rename(columns={"age": "Age"}), "age missing; Age too")
    _refused(FRAME, {"age": 1, "town": "A"}, "plan missing")
    _refused(FRAME[["age", "age"]], FRAME, "age more than once", "duplicated")
    _refused(FRAME[:0], FRAME, "0 rows and 3 columns", r"iloc\[\[0\]\]")
    _refused(FRAME[[]], FRAME, "3 rows and 0 columns")
    _refused(FRAME, FRAME[:0], "baselines: expected at least one row; found none")


def test_columns_in_another_order_are_aligned():
    def model(table):
        return table["age"] + 10.0 * (table["town"] == "A")

    one = StochasticGates(model).explain(FRAME[:1], FRAME[1:])
    other = StochasticGates(model).explain(FRAME[:1], FRAME[["plan", "town", "age"]][1:])
    torch.testing.assert_close(one.log_alpha, other.log_alpha, rtol=0, atol=0)


def test_types():
    _refused(
        FRAME, FRAME.astype({"age": float}), "column 'age'", "int64", "float64", r"astype\(inputs.dtypes\)"
    )
    wider = FRAME.astype({"plan": pd.CategoricalDtype(["basic", "max", "old"])})
    _refused(FRAME, wider, "column 'plan'", r"categories \['old'\], which the inputs do not have")
    _refused(wider, FRAME, "column 'plan'", r"none of the categories \['old'\], which the inputs have")
    ranks, turned = (
        pd.CategoricalDtype(order, ordered=True) for order in (["max", "basic"], ["basic", "max"])
    )
    _refused(
        FRAME.astype({"plan": ranks}),
        FRAME.astype({"plan": turned}),
        "column 'plan'",
        "the same categories in another order",
    )
    _refused(FRAME, pl.DataFrame({"age": [1]}), "a DataFrame of pandas", "a DataFrame of Polars")
    _refused(FRAME, torch.zeros(1, 3), "a DataFrame of pandas", "Tensor", r"frame.sample")
    frame = pl.DataFrame({"age": [1], "town": ["A"]})
    _refused(frame, frame.cast({"age": pl.Float64}), "column 'age'", "Int64", "Float64")
    _refused(np.zeros((2, 3)), np.zeros((2, 3), np.float32), "float64", "float32")
    _refused(np.zeros((2, 3)), np.zeros((2, 4)), "3 columns", "3 too")


def test_cells():
    _refused(FRAME, 0, "column 'town'", "found 0", "frame.sample")
    _refused(FRAME, None, "rows of the table", "None")
    _refused(FRAME, "A", "rows of the table", "'A'")
    _refused(FRAME, {"age": 30, "town": "A", "plan": "old"}, "column 'plan'", "'old'")
    _refused(FRAME, {"age": 30.5, "town": "A", "plan": "max"}, "column 'age'", "30.5")
    _refused(FRAME[["age"]], 0.5, "column 'age' of type int64", "0.5")
    _refused(FRAME, {"age": "old", "town": "A", "plan": "max"}, "column 'age'", "'old'")
    frame = pl.DataFrame({"age": [1], "town": ["A"]}, schema_overrides={"town": pl.Enum(["A", "B"])})
    _refused(frame, {"age": 1, "town": "C"}, "column 'town'", "'C'")
    _refused(frame, {"age": 0.5, "town": "A"}, "column 'age'", "0.5")
    _refused(np.zeros((1, 2), dtype=int), 0.5, "column '0' of type int64", "0.5")


def test_what_is_no_table():
    _refused(FRAME["age"], FRAME, "a Series", r"frame.iloc\[\[0\]\]")
    _refused(pl.DataFrame({"a": [1]})["a"], 0, "a Series", r"frame\[:1\]")
    _refused(pl.DataFrame({"a": [1]}).lazy(), 0, "a LazyFrame", "collect")
    _refused(np.zeros((2, 3, 4, 4)), 0, "float64 of shape", "torch.as_tensor")
    _refused(np.zeros(3), 0, "float64 of shape", "torch.as_tensor")
    _refused(np.ma.zeros((2, 3)), 0, "masked", "NaN")
    _refused(np.zeros((2, 3)), 0, "tensors", "ndarray", "torch.as_tensor", model=mlp(3, 4, 2))


def test_functions_of_the_inputs():
    _refused(FRAME, lambda table: table[:1], "returns 3 rows", "1 rows", "as a table")
    _refused(FRAME, lambda table: 0, "a DataFrame of pandas", "int")
    shown = FRAME.assign(age=0)
    found = StochasticGates(lambda table: table["age"] * 1.0).explain(
        FRAME, lambda table: [table.assign(age=0), shown]
    )
    assert found.scores.baseline.tolist() == [0, 0, 0]
    assert found.selected.tolist() == [[True, False, False]] * 3


def test_a_model_that_takes_something_else():
    def fails(table):
        raise KeyError("income")

    _refused(
        FRAME,
        FRAME,
        "a DataFrame of pandas",
        "KeyError in its first call: 'income'",
        "predict_proba",
        model=fails,
    )
    _refused(FRAME, FRAME, "TypeError in its first call", model=mlp(3, 4, 2))
    _refused(FRAME, FRAME, "tensor of real numbers", model=lambda table: table["town"].to_numpy())


def test_a_later_failure_is_reported_as_that_of_any_model():
    calls = []

    def fails_late(table):
        calls.append(len(table))
        if len(calls) > 12:
            raise KeyError("gone")
        return table["age"] * 1.0

    with pytest.warns(UserWarning, match="KeyError"):
        StochasticGates(fails_late).explain(FRAME[:1], FRAME[1:])


def test_estimators():
    _refused(FRAME, FRAME, "ScoreFunction", "Reparameterized", estimator=Reparameterized())
    found = StochasticGates(lambda table: table["age"] * 1.0, estimator=ScoreFunction()).explain(
        FRAME, FRAME[:1]
    )
    default = StochasticGates(lambda table: table["age"] * 1.0).explain(FRAME, FRAME[:1])
    assert found.gates == default.gates
    torch.testing.assert_close(found.log_alpha, default.log_alpha, rtol=0, atol=0)


class Classifier:
    """As scikit-learn marks them: a classifier of two classes, or a regressor of two amounts."""

    def __init__(self, kind="classifier"):
        self._estimator_type = kind

    def predict(self, table):
        return (table["age"] > 35).to_numpy().astype(int)

    def predict_names(self, table):
        return np.where(table["age"] > 35, "old", "young")

    def predict_lists(self, table):
        share = np.stack([table["age"] / 50, 1 - table["age"] / 50], axis=1)
        return [share, share]

    def amounts(self, table):
        return table[["age", "age"]].to_numpy() * 1.0


def test_estimators_and_what_their_methods_return():
    with pytest.raises(ArgumentError, match=r"found Classifier\..*model\.predict"):
        StochasticGates(Classifier())
    model = Classifier()
    _refused(FRAME, FRAME[:1], "found ndarray of <U5", "pass predict_proba", model=model.predict_names)
    _refused(FRAME, FRAME[:1], "list of ndarray", r"lambda x: model\(x\)\[0\]", model=model.predict_lists)
    _refused(FRAME, FRAME[:1], "the regressor returns 2", model=Classifier("regressor").amounts)
    with pytest.raises(ArgumentError, match=r"target: .*found str\..*number of the class"):
        StochasticGates(_never).explain(FRAME, FRAME, target="old")
    with pytest.raises(ArgumentError, match=r"target: .*Leave it out"):
        StochasticGates(lambda table: table["age"] * 1.0).explain(FRAME, FRAME, target=1)


def test_labels_instead_of_scores_are_noticed():
    with pytest.warns(UserWarning, match="whole numbers up to 1"):
        StochasticGates(Classifier().predict).explain(FRAME, FRAME[:1])
    with pytest.warns(UserWarning, match="whole numbers up to 50"):
        StochasticGates(lambda table: table["age"].to_numpy()).explain(FRAME, FRAME[:1])


def test_the_tables_of_the_user_stay_as_they_are():
    inputs, baselines = FRAME.copy(), FRAME.copy()

    def greedy(table):
        table["age"] += 1
        return table["age"] * 1.0

    StochasticGates(greedy).explain(inputs, baselines)
    pd.testing.assert_frame_equal(inputs, FRAME)
    pd.testing.assert_frame_equal(baselines, FRAME)
