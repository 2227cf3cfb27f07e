"""A row that cannot be used fails alone and says why; its neighbours are explained as without it."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates
from stg_attr.scale import explain_dataset, load_attributions, summarise
from stg_attr.scale.run_error import RunError

N = 40


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.arange(1.0, 4))

    def forward(self, x):
        return x @ self.w


def weighted():
    return StochasticGates(Weighted())


def tokens():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    return LayerStochasticGates(net, net[0])


def column(kind, gap=None):
    draw = torch.Generator().manual_seed(len(kind))
    values = {
        "numbers": torch.rand(N, generator=draw),
        "tokens": torch.randint(50, (N,), generator=draw),
        "flags": torch.rand(N, generator=draw) > 0.5,
    }[kind].tolist()
    return [None if i == gap else value for i, value in enumerate(values)]


@pytest.mark.parametrize("kind", ["parquet", "pandas", "arrow"])
@pytest.mark.parametrize(("values", "make"), [("tokens", tokens), ("flags", weighted)])
def test_a_gap_in_a_column_fails_one_row(explain, tmp_path, kind, values, make):
    def run(gap, name):
        columns = {"a": column(values, gap), "b": column(values), "c": column(values)[::-1]}
        table = pa.table(columns)
        pq.write_table(table, tmp_path / f"{name}.parquet")
        dtype = "Int64" if values == "tokens" else "boolean"
        data = {
            "parquet": tmp_path / f"{name}.parquet",
            "arrow": table,
            "pandas": pd.DataFrame({name: pd.array(part, dtype=dtype) for name, part in columns.items()}),
        }
        return load_attributions(explain(make, data[kind], name))

    whole, found = run(None, "whole"), run(21, "gap")
    assert found.failures == {21: "column 'a': expected numbers; found nothing"}
    others = [i for i in range(N) if i != 21]
    assert found.ids == tuple(others)
    assert torch.allclose(found.attributions, whole.attributions[others], atol=1e-4)


def _numbers(**more):
    return {"a": column("numbers"), "b": column("numbers")[::-1], "c": column("numbers"), **more}


@pytest.mark.parametrize("gap", [0, 21])
def test_a_row_without_an_id_fails_alone(explain, tmp_path, gap):
    first = 2**60 + 1  # which a float cannot hold
    ids = [None if i == gap else first + i for i in range(N)]
    pq.write_table(pa.table(_numbers(id=ids)), tmp_path / "in.parquet")
    found = load_attributions(explain(weighted, tmp_path / "in.parquet", id_column="id"))
    assert found.ids == tuple(i for i in ids if i is not None)
    assert found.failures == {None: "id: expected a value; found nothing"}


def test_a_row_without_a_target_fails_alone(explain):
    frame = pa.table(_numbers(wanted=[None if i == 21 else i % 2 for i in range(N)]))
    net = nn.Linear(3, 2).eval()
    found = load_attributions(explain(lambda: net, frame, columns=["a", "b", "c"], target_column="wanted"))
    assert found.failures == {21: "target: expected whole numbers; found nothing"}
    assert found.target.flatten().tolist() == [i % 2 for i in range(N) if i != 21]


IDS = {
    "beyond 64 bits": (pa.array([2**63 + i for i in range(N)], pa.uint64()), str(2**63 + 5)),
    "short whole numbers": (pa.array(range(N), pa.uint8()), 5),
    "texts": ([f"row {i}" for i in range(N)], "row 5"),
    "numbers with a point": ([i + 0.5 for i in range(N)], "5.5"),
    "truth values": ([i == 5 for i in range(N)], "True"),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "pandas"])
@pytest.mark.parametrize("name", IDS)
def test_ids_of_every_type_are_kept(explain, tmp_path, name, kind):
    ids, expected = IDS[name]
    table = pa.table(_numbers(id=ids))
    pq.write_table(table, tmp_path / "in.parquet")
    data = {"parquet": tmp_path / "in.parquet", "arrow": table, "pandas": table.to_pandas()}[kind]
    assert load_attributions(explain(weighted, data, id_column="id")).ids[5] == expected


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


GOOD = {"x": torch.ones(3), "id": 7}
BROKEN = {
    "x: nothing": ({"x": None, "id": 8}, 8, "element 'x': expected numbers; found NoneType"),
    "x: a text": ({"x": "photo", "id": 8}, 8, "element 'x': expected numbers; found str"),
    "x: ragged": ({"x": [[1.0], [1.0, 2.0]], "id": 8}, 8, "element 'x': expected numbers; found list"),
    "x: not there": ({"id": 8}, 1, "KeyError: 'x'"),
    "id: a text": ({"x": torch.ones(3), "id": "x4"}, None, "id: expected a whole number of 64 bits.*'x4'"),
    "id: too large": ({"x": torch.ones(3), "id": 2**70}, None, "id: expected a whole number of 64 bits"),
    "id: nothing": ({"x": torch.ones(3), "id": None}, None, "id: expected a value; found nothing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_item_of_a_torch_data_set_fails_alone(explain, name):
    item, row_id, message = BROKEN[name]
    out = explain(weighted, Items([GOOD, item, {**GOOD, "id": 9}]), columns=["x"], id_column="id")
    found = load_attributions(out)
    assert found.ids == (7, 9)
    assert list(found.failures) == [row_id]
    (said,) = found.failures.values()
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said)


def test_failures_of_rows_with_one_id_are_all_kept(explain):
    frame = pd.DataFrame({"a": [1.0, float("nan"), 1.0], "b": [1.0, 1.0, float("inf")], "id": [7, 7, 7]})
    found = load_attributions(explain(lambda: StochasticGates(lambda x: x.sum(1)), frame, id_column="id"))
    assert found.failures[7].count("1 of 2 NaN or inf") == 2


def test_a_message_with_bytes_that_are_no_text_is_written(explain):
    class Unreadable(Items):
        def __getitem__(self, i):
            if i == 2:
                raise OSError("no such photograph: \udcff.png")
            return super().__getitem__(i)

    found = load_attributions(explain(weighted, Unreadable([torch.ones(3)] * 4)))
    assert found.failures == {2: "OSError: no such photograph: \\udcff.png"}


def test_a_stream_that_breaks_says_where(explain, tmp_path):
    class Breaking(IterableDataset):
        def __iter__(self):
            yield from torch.ones(20, 3)
            raise ConnectionError("the line is dead")

    with pytest.raises(ArgumentError, match=r"dataset: .*ConnectionError after 20 rows"):
        explain(weighted, Breaking(), shard_rows=8)
    assert load_attributions(tmp_path / "out").ids == tuple(range(16))


def test_columns_of_one_name_are_refused(explain, tmp_path):
    twice = pa.table([[1.0], [2.0]], names=["a", "a"])
    pq.write_table(twice, tmp_path / "in.parquet")
    frame = pd.DataFrame(torch.rand(5, 2).numpy(), columns=["a", "a"])
    for data in (twice, tmp_path / "in.parquet", frame):
        with pytest.raises(ArgumentError, match=r"dataset: expected columns with different names.*'a'"):
            explain(weighted, data)


def test_ids_of_features_may_be_large(explain):
    mask = torch.tensor([[0, 1, 2**31]])
    out = explain(weighted, torch.rand(5, 3), feature_mask=mask)
    assert load_attributions(out).feature_ids[0].tolist() == [0, 1, 2**31]
    assert summarise(out).feature_ids.tolist() == [0, 1, 2**31]


class Gapped(Weighted):
    """Fails where row 10, and no other, is shown with two gaps: not before the first step of a solve."""

    error: Exception = ValueError("a 7 with two gaps")

    def forward(self, x):
        if bool(((x[:, 0] == 7) & ((x == 0).sum(1) == 2)).any()):
            raise self.error
        return super().forward(x)


def _rows():
    x = torch.rand(32, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    x[10, 0] = 7.0
    return x


def test_a_failure_after_the_first_step_fails_one_row(tmp_path):
    x, others = _rows(), [i for i in range(32) if i != 10]
    outcome = explain_dataset(StochasticGates(Gapped()), TensorDataset(x), tmp_path / "out", batch_rows=16)
    assert (outcome.explained, outcome.failed) == (32, 1)
    found = load_attributions(tmp_path / "out")
    assert found.failures == {10: "ValueError: a 7 with two gaps"}
    expected = weighted().explain(x[others])
    assert torch.allclose(found.attributions, expected.active_probabilities, atol=1e-4)
    assert found.status == expected.status


def test_an_accelerator_that_is_lost_after_the_first_step_ends_the_run(tmp_path):
    class Lost(Gapped):
        error = RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RunError, match=r"GPU.*device-side assert triggered"):
        explain_dataset(StochasticGates(Lost()), TensorDataset(_rows()), tmp_path / "out", batch_rows=8)
    assert load_attributions(tmp_path / "out").ids == tuple(range(8))
