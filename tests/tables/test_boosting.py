"""XGBoost, LightGBM and CatBoost on frames with categories and missing cells, which they take as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from stg_attr import ReferenceSet, ScoreFunction, StochasticGates
from tests.tables.customers import customers

FRAME, LEFT = customers()
FRAME = FRAME.drop(columns="since").astype({"contract": "category"})
NUMBERS = ["calls", "charge"]


def _lightgbm():
    lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    model = lightgbm.LGBMClassifier(n_estimators=20, verbosity=-1, n_jobs=1, random_state=0).fit(FRAME, LEFT)
    return model, lambda frame: model.predict_proba(frame, raw_score=True)


def _xgboost():
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    model = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True, n_jobs=1, random_state=0)
    model.fit(FRAME, LEFT)
    return model, lambda frame: model.predict(frame, output_margin=True)


@pytest.fixture(scope="module", params=[_lightgbm, _xgboost], ids=["lightgbm", "xgboost"])
def boosted(request):
    return request.param()


def test_probabilities_of_frames_with_categories_and_missing_cells(boosted):
    model, _ = boosted
    rows = FRAME[FRAME.charge.isna()].iloc[:2]
    found = StochasticGates(model.predict_proba).explain(rows, FRAME[100:160], target=1)
    known = model.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(found.scores.full.numpy(), known, rtol=1e-6)
    assert found.to_frame().query("name == 'charge'")["value"].tolist() == ["missing", "missing"]
    assert found.feature_names == tuple(FRAME)


def test_equal_to_an_encoding_by_hand(boosted):
    """Categories as their codes, missing cells as a number that is none of the others."""
    _, margin = boosted
    dtypes = FRAME.dtypes

    def to_tensor(frame):
        codes = frame.assign(**{name: frame[name].cat.codes for name in ("contract", "plan")})
        codes["charge"] = (codes["charge"] * 100).round().fillna(-777.0)
        return torch.tensor(codes.to_numpy(dtype=int))

    def by_hand(x):
        frame = pd.DataFrame(x.numpy(), columns=FRAME.columns)
        frame["charge"] = frame["charge"].astype(float).replace(-777.0, np.nan) / 100
        for name in ("contract", "plan"):
            frame[name] = pd.Categorical.from_codes(frame[name].astype(int), dtype=dtypes[name])
        return margin(frame.astype(dtypes))

    rows, others = FRAME[:4], FRAME[100:160]
    np.testing.assert_array_equal(by_hand(to_tensor(rows)), margin(rows))
    amounts = others.assign(contract=np.nan, plan=np.nan).astype(float).to_numpy()  # categories have none
    references = ReferenceSet(to_tensor(others), torch.tensor(amounts))
    encoded = StochasticGates(by_hand, estimator=ScoreFunction()).explain(to_tensor(rows), references)
    found = StochasticGates(margin).explain(rows, others)
    assert torch.equal(found.selected, encoded.selected)
    for name in ("log_alpha", "contributions"):
        mine, theirs = getattr(found, name), getattr(encoded, name)
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=1e-4, atol=1e-4)


def test_the_selected_columns_are_the_smallest_set_by_brute_force(boosted):
    """Against one reference row, with all sets of columns mixed by hand."""
    _, margin = boosted
    order = np.argsort(margin(FRAME))
    row, other = FRAME.iloc[[order[-1]]], FRAME.iloc[[order[0]]]
    found = StochasticGates(margin).explain(row, other)
    n = len(FRAME.columns)
    sets = [[bool(number >> i & 1) for i in range(n)] for number in range(2**n)]
    mixed = [
        pd.DataFrame(
            {name: (row if kept else other)[name].array for name, kept in zip(FRAME, s, strict=True)}
        )
        for s in sets
    ]
    scores = np.array([float(margin(frame)[0]) for frame in mixed])
    sums = found.score_of(torch.tensor(sets).unsqueeze(1)).squeeze(1)
    np.testing.assert_allclose(sums.numpy(), scores, rtol=1e-5, atol=1e-5)
    kept = (scores - scores[0]) / (scores[-1] - scores[0]) >= 0.9
    assert int(found.n_selected[0]) == min(sum(s) for s, suffices in zip(sets, kept, strict=True) if suffices)


def test_catboost_with_categories_and_missing_numbers():
    """CatBoost takes missing numbers; a missing category it wants as a category of its own."""
    catboost = pytest.importorskip("catboost", reason="CatBoost is not installed: its wheel takes 97 MB")
    names = ["contract", "plan"]
    frame = FRAME.assign(**{name: FRAME[name].cat.add_categories("none").fillna("none") for name in names})
    model = catboost.CatBoostClassifier(
        iterations=20, cat_features=names, thread_count=1, random_seed=0, verbose=0, allow_writing_files=False
    ).fit(frame, LEFT)
    rows = frame[frame.charge.isna()].iloc[:2]
    stg = StochasticGates(lambda table: model.predict(table, prediction_type="RawFormulaVal"))
    found = stg.explain(rows, frame[100:160])
    np.testing.assert_allclose(found.scores.full, model.predict(rows, prediction_type="RawFormulaVal"))
    assert found.to_frame().query("name == 'charge'")["value"].tolist() == ["missing", "missing"]
    hidden = frame[100:160].reset_index(drop=True)
    for i in range(2):  # the score of the selection, by frames that are put together by hand
        shown = hidden.copy()
        for name in np.array(found.feature_names)[found.selected[i].numpy()]:
            shown[name] = pd.concat([rows[name].iloc[[i]]] * 60, ignore_index=True).astype(frame[name].dtype)
        alone = stg.explain(rows.iloc[[i]], hidden.iloc[:5])
        by_hand = model.predict(shown.iloc[:5], prediction_type="RawFormulaVal").mean()
        measured = alone.score_of(found.selected[[i]][None])
        np.testing.assert_allclose(float(measured), by_hand, rtol=1e-9)
