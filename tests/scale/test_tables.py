"""Data sets that are DataFrames with cells of any kind, and a function of DataFrames."""

from __future__ import annotations

import pytest
import torch

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates
from stg_attr.scale import explain_dataset, load_attributions, results
from tests.models import mlp
from tests.tables.customers import customers

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

FRAME, _ = customers()
DATA = FRAME.iloc[:7].assign(number=range(100, 107))
NAMES = list(FRAME)


def risk(frame):
    """Calls of customers with a monthly contract, and half a one for a charge that is not known."""
    return (frame.calls * (frame.contract == "monthly") + 0.5 * frame.charge.isna()).to_numpy(float)


def test_each_row_is_explained_as_by_explain(tmp_path):
    explain_dataset(
        StochasticGates(risk),
        DATA,
        tmp_path / "out",
        id_column="number",
        baselines=FRAME[100:130],
        batch_rows=4,
    )
    found = load_attributions(tmp_path / "out")
    assert found.ids == tuple(range(100, 107))
    assert found.feature_names == tuple(NAMES)
    alone = StochasticGates(risk).explain(FRAME.iloc[:7], FRAME[100:130], internal_batch_size=4)
    torch.testing.assert_close(found.attributions, alone.active_probabilities.float())
    assert found.selected.equal(alone.selected)
    torch.testing.assert_close(found.evidence["full"], torch.tensor(risk(FRAME.iloc[:7])))


def test_a_run_is_continued_and_other_cells_are_another_run(tmp_path):
    given = {"columns": NAMES, "baselines": FRAME[100:120], "max_evals": 200, "batch_rows": 4}
    first = explain_dataset(lambda: risk, DATA, tmp_path / "out", **given)
    again = explain_dataset(lambda: risk, DATA.copy(), tmp_path / "out", **given)
    assert (first.explained, again.explained, again.found) == (7, 0, 7)
    other = FRAME[100:120].assign(contract=FRAME.contract[100:120].iloc[::-1].to_numpy())
    for changed in ({"baselines": other}, {"baselines": FRAME[101:121]}):
        with pytest.raises(ArgumentError, match="data is table of 7 rows"):
            explain_dataset(lambda: risk, DATA, tmp_path / "out", **{**given, **changed})
    with pytest.raises(ArgumentError, match="model"):
        explain_dataset(lambda: lambda frame: 2 * risk(frame), DATA, tmp_path / "out", **given)


def test_groups_of_columns_cells_and_polars(tmp_path):
    groups = {"terms": ["contract", "plan"]}
    usual = {name: FRAME[name].iloc[50] for name in NAMES}
    explain_dataset(
        StochasticGates(risk), DATA, tmp_path / "one", columns=NAMES, baselines=usual, feature_mask=groups
    )
    found = load_attributions(tmp_path / "one")
    assert set(found.feature_names) == {*NAMES, "terms"} - {"contract", "plan"}
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({"a": [1.0, 2.0, None], "b": ["x", "y", "x"]})

    def rule(table):
        return (table["a"].fill_null(9.0) + 3.0 * (table["b"] == "x")).to_numpy()

    explain_dataset(StochasticGates(rule), frame[:2], tmp_path / "two", baselines=frame[2:])
    assert load_attributions(tmp_path / "two").selected.tolist() == [[True, False], [True, True]]


def test_without_names_there_are_none_as_in_files_of_earlier_releases(tmp_path):
    import pyarrow as pa

    explain_dataset(StochasticGates(mlp(2, 4, 2)), FRAME[["calls"]][:5].assign(b=1.0), tmp_path)
    assert load_attributions(tmp_path).feature_names is None
    assert results._first_names(pa.table({"id": [1, 2]})) is None


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    tensors = torch.utils.data.TensorDataset(torch.zeros(3, 2))
    out = tmp_path / "out"
    with pytest.raises(ArgumentError, match=r"baselines: .*found DataFrame.*into a Data"):
        explain_dataset(StochasticGates(risk), tensors, out, baselines=FRAME)
    with pytest.raises(ArgumentError, match=r"baselines: .*found ndarray.*torch\.as_tensor"):
        explain_dataset(StochasticGates(risk), DATA, out, baselines=FRAME[["calls"]].to_numpy())
    with pytest.raises(ArgumentError, match=r"columns.*no such"):
        explain_dataset(StochasticGates(risk), DATA, out, columns=["no such"], baselines=FRAME)
    net = mlp(2, 4, 2)
    with pytest.raises(ArgumentError, match=r"stg_or_factory: expected a StochasticGates.*found LayerStoch"):
        explain_dataset(
            LayerStochasticGates(net, net[0]), DATA, out, columns=["calls", "charge"], baselines=FRAME
        )
    assert not out.exists()
