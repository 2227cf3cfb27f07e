"""Several columns as one feature: by name, and as a fitted one-hot encoder made them."""

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
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from stg_attr import ArgumentError, StochasticGates, one_hot_groups
from tests.tables.customers import customers

FRAME, LEFT = customers()
COLUMNS = ["calls", "charge", "contract", "plan"]


def _prepare(drop=None):
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["calls", "charge"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop=drop)), ["contract"]),
        (OneHotEncoder(drop=drop), ["plan"]),
        verbose_feature_names_out=False,
    )


@pytest.mark.parametrize("row", [50, 64, 79])
@pytest.mark.parametrize("drop", [None, "first", "if_binary"])
def test_one_hot_columns_behave_as_the_column_they_were_made_of(drop, row):
    """The model behind the transformer, on groups, and the pipeline on raw columns: the same numbers.

    With one reference, since the order of several depends on how their values are written.
    """
    pipeline = make_pipeline(_prepare(drop), LogisticRegression()).fit(FRAME[COLUMNS], LEFT)
    # a missing cell is a value of its own in the raw column, and the most frequent one behind the transformer
    complete = FRAME[COLUMNS].dropna()
    whole = StochasticGates(pipeline.decision_function).explain(complete[:3], complete[row : row + 1])
    prepare, model = pipeline[:-1], pipeline[-1]
    groups = one_hot_groups(prepare)
    assert list(groups) == ["contract", "plan"]
    made = prepare.transform(complete)
    found = StochasticGates(model.decision_function).explain(
        made[:3], made[row : row + 1], feature_mask=groups, feature_names=prepare.get_feature_names_out()
    )
    assert found.feature_names == ("calls", "charge", "contract", "plan")
    assert torch.equal(found.selected, whole.selected)
    for name in ("log_alpha", "contributions"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-6, atol=1e-6)


def test_counts_of_rare_and_dropped_categories():
    column = pd.DataFrame({"a": ["x"] * 9 + ["y"] * 8 + ["z", "w"], "b": ["p", "q"] * 9 + ["p"]})
    for settings in ({"min_frequency": 3}, {"drop": "if_binary"}, {"min_frequency": 3, "drop": "first"}):
        encoder = OneHotEncoder(**settings).fit(column)
        groups = one_hot_groups(encoder)
        assert [name for members in groups.values() for name in members] == list(
            encoder.get_feature_names_out()
        )
        assert all(name.startswith(f"{group}_") for group, members in groups.items() for name in members)


def test_groups_equal_brute_force():
    """Every set of features is scored by mixing rows by hand, group by group."""
    row, other = FRAME.iloc[[3]], FRAME.iloc[[9]]
    assert row.contract.isna().all()

    def model(table):
        both = (table["contract"] == "yearly") & (table["plan"] == "max")
        return table["calls"] * 0.5 + 2.0 * both + table["charge"].isna() * 1.0 - table["since"].dt.year % 7

    groups = {"terms": ["contract", "plan"], None: ["since"]}
    found = StochasticGates(model).explain(row, other, feature_mask=groups)
    assert found.feature_names == ("calls", "charge", "terms", "paperless")
    members = [["calls"], ["charge"], ["contract", "plan"], ["paperless"]]
    for choice in itertools.product([False, True], repeat=4):
        mixed = row.reset_index(drop=True)
        for columns, kept in zip(members, choice, strict=True):
            if not kept:
                mixed[columns] = other[columns].reset_index(drop=True)
        assert found.score_of(torch.tensor([choice])).tolist() == model(mixed).tolist()
    assert found.feature_ids.tolist() == [[0, 1, 2, 3]]
    shown = found.to_frame().set_index("name")["value"]
    assert shown["terms"] == f"missing, {row.plan.iloc[0]}"


def test_a_tensor_of_ids_groups_columns_too():
    mask = torch.tensor([[0, 0, 1, 1, 2, 2]])
    stg = StochasticGates(lambda table: table["calls"] + 1.0 * table["paperless"])
    found = stg.explain(FRAME[:1], FRAME[5:6], feature_mask=mask)
    assert found.feature_names == ("calls, charge", "contract, plan", "paperless, since")


def test_columns_are_grouped_by_what_their_table_calls_them():
    levels = pd.DataFrame(
        np.arange(12.0).reshape(4, 3), columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")])
    )
    stg = StochasticGates(lambda table: np.asarray(table).sum(1))
    found = stg.explain(levels[:1], levels[1:], feature_mask={"a": [("a", "x"), ("a", "y")], "b": ("b", "x")})
    assert found.feature_names == ("a", "b")
    assert found.feature_mask[0].tolist() == [[0, 0, 1]]
    array = stg.explain(levels.to_numpy()[:1], levels.to_numpy()[1:], feature_mask={"a": [0, 1], None: 2})
    assert array.feature_mask[0].tolist() == [[0, 0, -1]]
    ids = stg.explain(levels[:1], levels[1:], feature_mask=np.array([[0, 1, 1]]))
    assert ids.feature_mask[0].tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("names", [["calls", "plan"], [["calls", "plan"], ["charge"]], "plan"])
def test_names_without_those_of_their_features_are_refused(names):
    with pytest.raises(ArgumentError, match=r"a mapping.*found a \w+ of names"):
        StochasticGates(lambda table: 1 / 0).explain(FRAME[:1], FRAME[5:6], feature_mask=names)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"terms": ["contract", "town"]}, "'town'"),
        ({"terms": ["contract"], "other": "contract"}, "'contract' twice"),
        ({"calls": ["contract", "plan"]}, "named like another column"),
        ({None: list(FRAME)}, "0 features"),
    ],
)
def test_wrong_groups(groups, message):
    with pytest.raises(ArgumentError, match=f"feature_mask: expected .*{message}.*street"):
        StochasticGates(lambda table: 1 / 0).explain(FRAME[:1], FRAME[5:6], feature_mask=groups)


def test_a_step_that_names_no_columns():
    prepare = make_column_transformer((FunctionTransformer(), ["calls"]), (OneHotEncoder(), ["plan"])).fit(
        FRAME
    )
    with pytest.raises(
        ArgumentError, match=r"transformer: expected .*functiontransformer.*feature_names_out"
    ):
        one_hot_groups(prepare)


def test_transformers_without_one_hot_columns():
    for other in (StandardScaler(), OrdinalEncoder().fit(FRAME[["plan"]]), _prepare(), np.zeros(3)):
        with pytest.raises(ArgumentError, match=r"transformer: expected .*ColumnTransformer.*Fit it first"):
            one_hot_groups(other)
