"""Laws of a run: the result for a row does not depend on how, where and in how many runs it is explained."""

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import stg_attr
from stg_attr import ArgumentError, FixedWeight, LayerStochasticGates, Preserve, StochasticGates
from stg_attr.scale import Outcome, explain_dataset, load_attributions
from stg_attr.scale.shards import ShardSizes

from .conftest import N_COLUMNS, N_ROWS, small_net

COLUMNS = [f"x{i}" for i in range(N_COLUMNS)]


class Items(Dataset):
    """Rows with a label, as most torch data sets have them."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i], i % 3


class Streamed(IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def test_a_row_gets_what_explain_gives_its_batch(explain, net, rows):
    found = load_attributions(explain(StochasticGates(net), rows))
    for start in range(0, N_ROWS, 8):
        batch = slice(start, start + 8)
        expected = StochasticGates(net).explain(rows[batch], n_steps=2, n_samples=4)
        assert torch.equal(found.attributions[batch], expected.active_probabilities)
        assert torch.equal(found.log_alpha[batch], expected.log_alpha)
        assert torch.equal(found.selected[batch], expected.selected)
        assert torch.equal(found.target[batch], expected.target)
        assert torch.equal(found.evaluations[batch], expected.n_evaluations)
        assert torch.equal(found.evidence["comprehensiveness"][batch], expected.comprehensiveness.double())
        assert torch.equal(found.evidence["kept"][batch], expected.scores.kept.double())
        assert found.status[batch] == expected.status
    assert found.ids == tuple(range(N_ROWS))


@pytest.mark.slow
def test_every_kind_of_data_set_gives_the_same_bits(explain, rows, parquet, table_of):
    frame = pd.read_parquet(parquet)
    pq.write_table(pq.read_table(parquet).slice(0, 30), parquet.with_name("a.parquet"))
    folder = parquet.with_name("many")
    folder.mkdir()
    for i, (start, n) in enumerate([(0, 3), (3, 20), (23, 47)]):
        pq.write_table(pq.read_table(parquet).slice(start, n), folder / f"{i}.parquet", row_group_size=5)
    sources = {
        "tensors": (TensorDataset(rows), {}),
        "items": (Items(rows), {}),
        "loader": (DataLoader(Items(rows), batch_size=3), {}),
        "stream": (Streamed(rows), {}),
        "dictionaries": (Dictionaries(rows), {"columns": ["x"]}),
        "pandas": (frame, {"columns": COLUMNS}),
        "arrow": (pa.table(frame), {"columns": COLUMNS}),
        "one file": (parquet, {"columns": COLUMNS}),
        "many files": (str(folder), {"columns": COLUMNS}),
        "arrays in cells": (pd.DataFrame({"x": list(rows.numpy())}), {}),
        "lists in cells": (pa.table({"x": rows.tolist()}), {}),
    }
    outputs = {name: table_of(explain(small_net, data, name, **how)) for name, (data, how) in sources.items()}
    assert all(len(output) == N_ROWS for output in outputs.values())
    assert [name for name, output in outputs.items() if not output.equals(outputs["tensors"])] == []


class Dictionaries(Items):
    def __getitem__(self, i):
        return {"x": self.rows[i].numpy(), "y": 0}


@pytest.mark.parametrize("shard_rows", [8, 24, 80])
def test_shards_of_any_size_hold_the_same_bits(explain, rows, table_of, shard_rows):
    plain = explain(small_net, rows, "plain")
    other = explain(small_net, rows, "other", shard_rows=shard_rows)
    assert len(list((other / "rows").iterdir())) == -(-N_ROWS // shard_rows)
    assert table_of(other).equals(table_of(plain))


def test_batches_of_another_size_give_the_same_up_to_rounding(explain, rows):
    one, other = (load_attributions(explain(small_net, rows, str(n), batch_rows=n)) for n in (8, 64))
    assert torch.allclose(one.attributions, other.attributions, atol=1e-4)
    assert torch.equal(one.selected, other.selected)


def test_ids_and_targets_come_from_columns(explain, parquet, table_of):
    how = {"columns": COLUMNS, "id_column": "key", "target_column": "wanted"}
    found = load_attributions(explain(small_net, parquet, **how))
    assert found.ids == tuple(f"row {i}" for i in reversed(range(N_ROWS)))
    assert found.target.flatten().tolist() == [i % 3 for i in range(N_ROWS)]
    rows = torch.tensor(pd.read_parquet(parquet)[COLUMNS].to_numpy())
    same = explain(small_net, Items(rows), "same", target_column=1)
    assert torch.equal(load_attributions(same).attributions, found.attributions)


def test_arguments_reach_the_solver(explain, net, rows):
    stg = StochasticGates(net, objective=Preserve(), sparsity=FixedWeight(0.02))
    mask = torch.tensor([[0, 0, 1, 1, -1]])
    given = {"baselines": rows[:8], "target": 1, "feature_mask": mask, "seed": 3}
    found = load_attributions(explain(stg, rows, **given))
    references = stg_attr.ReferenceSet(rows[:8])  # as many as examples, and yet no baseline for each
    expected = stg.explain(rows[:8], n_steps=2, n_samples=4, **{**given, "baselines": references})
    assert torch.equal(found.attributions[:8], expected.active_probabilities)
    assert found.feature_ids[0].tolist() == [0, 1]


def test_a_mask_may_depend_on_the_input(explain, net, rows):
    def by_sign(x):
        return (x > 0).long()

    found = load_attributions(explain(lambda: net, rows[:8], feature_mask=by_sign))
    expected = StochasticGates(net).explain(rows[:8], feature_mask=by_sign(rows[:8]), n_steps=2, n_samples=4)
    there = expected.feature_ids >= 0
    assert torch.equal(found.attributions[there], expected.active_probabilities[there])
    assert torch.equal(found.feature_ids, expected.feature_ids)


class Lengths(Items):
    def __getitem__(self, i):
        return self.rows[i][: 2 + i % 3]


def test_rows_of_different_shapes_are_explained_beside_each_other(explain):
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    stg = StochasticGates(lambda x: x.square().sum(1))
    found = load_attributions(explain(stg, Lengths(x)))
    assert not found.failures
    assert (found.feature_ids >= 0).sum(1).tolist() == [2 + i % 3 for i in range(9)]
    for i in range(9):
        alone = stg.attribute(x[i : i + 1, : 2 + i % 3], n_steps=2, n_samples=4)
        assert torch.allclose(found.attributions[i, : 2 + i % 3], alone[0], atol=1e-4)


@pytest.mark.parametrize("kind", ["arrow", "ray"])
def test_columns_of_tensors_keep_their_shape(explain, kind, tmp_path):
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0))
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(x.numpy())
    if kind == "ray":  # as Ray writes them: flat, with the shape in the metadata
        about = {"ARROW:extension:name": "ray.data.arrow_tensor_v2", "ARROW:extension:metadata": "[2, 3]"}
        field = pa.field("x", pa.large_list(pa.float32()), metadata=about)
        pq.write_table(
            pa.table([column.storage.cast(field.type)], schema=pa.schema([field])), tmp_path / "in.parquet"
        )
    else:
        pq.write_table(pa.table({"x": column}), tmp_path / "in.parquet")
    model = StochasticGates(lambda x: x[:, 0, 2] * x[:, 1, 1])
    found = load_attributions(explain(model, tmp_path / "in.parquet"))
    assert torch.equal(found.attributions, model.explain(x, n_steps=2, n_samples=4).active_probabilities)


def test_two_inputs_come_from_two_columns(explain):
    model = StochasticGates(lambda a, b: (a * b.mean((1, 2)).unsqueeze(1)).sum(1))
    a, b = torch.rand(6, 3) + 1, torch.rand(6, 2, 2) + 1
    frame = pa.table({"a": a.tolist(), "b": b.tolist(), "name": list("abcdef")})
    found = load_attributions(explain(model, frame, columns=["a", "b"], id_column="name"))
    expected = model.explain((a, b), n_steps=2, n_samples=4)
    assert torch.equal(found.attributions, expected.active_probabilities)
    assert found.ids == tuple("abcdef")


def tokens():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)).eval()
    return LayerStochasticGates(net, net[0])


@pytest.mark.parametrize("kind", ["tensors", "columns", "lists"])
def test_gates_on_a_layer_take_ids_of_tokens(explain, kind):
    ids = torch.randint(9, (20, 5), generator=torch.Generator().manual_seed(0))
    columns = pd.DataFrame(ids.numpy(), columns=COLUMNS)
    data = {"tensors": ids, "columns": columns, "lists": pa.table({"ids": ids.tolist()})}[kind]
    found = load_attributions(explain(tokens, data, layer_baselines=torch.ones(8, 5, 4)))
    references = stg_attr.ReferenceSet(torch.ones(8, 5, 4))
    expected = tokens().explain(ids[:8], n_steps=2, n_samples=4, layer_baselines=references)
    assert torch.equal(found.attributions[:8], expected.active_probabilities)


def test_another_layer_is_another_question(explain):
    def later():
        net = tokens().forward_func
        return LayerStochasticGates(net, net[2])

    ids = torch.zeros(8, 5, dtype=torch.long)
    explain(tokens, ids)
    with pytest.raises(ArgumentError, match="layer is '2' and was '0'"):
        explain(later, ids)


def test_a_setting_of_gates_on_a_layer_counts(explain):
    def with_other_objective():
        net = tokens().forward_func
        return LayerStochasticGates(net, net[0], objective=Preserve())

    ids = torch.zeros(8, 5, dtype=torch.long)
    explain(tokens, ids)
    with pytest.raises(ArgumentError, match="objective is"):
        explain(with_other_objective, ids)


def test_max_evals_bounds_the_evaluations_of_every_row(explain, rows):
    found = load_attributions(explain(small_net, rows[:16], n_steps=None, n_samples=None, max_evals=40))
    assert not found.failures
    assert int(found.evaluations.max()) <= 40


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(1, 64), (64 * 4096, 64), (64 * 4096 + 1, 128), (10**9, 64 * 256), (None, 64 * 16)],
)
def test_shards_are_neither_too_many_nor_too_large(n_rows, expected):
    assert ShardSizes().rows(n_rows, batch_rows=64) == expected


def test_a_second_call_explains_nothing(tmp_path, rows):
    settings = {"batch_rows": 8, "n_steps": 2}
    calls = []

    def model(x):
        calls.append(len(x))
        return x.sum(1)

    data = TensorDataset(rows)
    first = explain_dataset(StochasticGates(model), data, tmp_path / "out", **settings)
    assert first == Outcome(tmp_path / "out", explained=N_ROWS, found=0, failed=0)
    calls.clear()
    second = explain_dataset(StochasticGates(model), data, tmp_path / "out", **settings)
    assert second == Outcome(tmp_path / "out", explained=0, found=N_ROWS, failed=0)
    assert calls == []
    assert not (tmp_path / "out" / "unfinished").exists()


def test_only_the_missing_shards_are_made(explain, rows, table_of, tmp_path):
    whole = table_of(explain(small_net, rows, "whole"))
    out = explain(small_net, rows)
    kept = {path: path.stat().st_mtime_ns for path in sorted((out / "rows").iterdir())}
    for number in (1, 4, 8):
        lost = out / "rows" / f"part-{number:06d}.parquet"
        kept.pop(lost)
        lost.unlink()
    quick = {"batch_rows": 8, "n_steps": 2, "n_samples": 4}
    outcome = explain_dataset(small_net, TensorDataset(rows), out, **quick)
    assert outcome.explained == 8 + 8 + 6
    assert outcome.found == N_ROWS - outcome.explained
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert table_of(out).equals(whole)


def test_a_stream_goes_on_where_it_stopped(explain, rows, table_of):
    out = explain(small_net, Streamed(rows), shard_rows=8)
    whole = table_of(out)
    (out / "rows" / "part-000003.parquet").unlink()
    explain(small_net, Streamed(rows), shard_rows=8)
    assert table_of(out).equals(whole)


CHANGES = {
    "model": {"make": lambda: nn.Sequential(nn.Linear(N_COLUMNS, 3)).eval()},
    "sparsity": {"make": lambda: StochasticGates(small_net(), sparsity=FixedWeight(0.1))},
    "smoothness": {"make": lambda: StochasticGates(small_net(), smoothness=0.5)},
    "objective": {"make": lambda: StochasticGates(small_net(), objective=Preserve())},
    "data": {"data": torch.zeros(N_ROWS, N_COLUMNS)},
    "n_steps": {"n_steps": 3},
    "seed": {"seed": 1},
    "baselines": {"baselines": 0.5},
    "batch_rows": {"batch_rows": 4},
    "inputs column": {"columns": [0]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_model_data_set_or_setting_is_refused(explain, rows, table_of, name):
    before = table_of(explain(small_net, rows))
    changed = {"make": small_net, "data": rows, **CHANGES[name]}
    with pytest.raises(ArgumentError, match=f"output: .*{name} is"):
        explain(**changed)
    out = explain(**changed, overwrite=True)
    assert len(table_of(out)) == N_ROWS
    again = explain(small_net, rows, overwrite=True)
    assert table_of(again).equals(before)


def test_weights_count_and_not_only_shapes(explain, net, rows):
    explain(lambda: net, rows)
    with torch.no_grad():
        net[0].bias[3] += 1e-6
    with pytest.raises(ArgumentError, match="model is"):
        explain(lambda: net, rows)


def test_a_folder_of_something_else_is_left_alone(explain, rows, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ArgumentError, match=r"output: .*other files"):
            explain(small_net, rows, "mine", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


RANK = """
import sys
import torch
from torch.utils.data import TensorDataset
from stg_attr.scale import explain_dataset
torch.set_num_threads(1)
rows = torch.load(sys.argv[1])
net = torch.load(sys.argv[2], weights_only=False)
print(explain_dataset(lambda: net, TensorDataset(rows), sys.argv[3], engine="ranks", batch_rows=8, n_steps=2,
                      n_samples=4).explained)
"""


@pytest.mark.slow
def test_ranks_of_a_job_share_the_work(explain, net, rows, tmp_path, table_of, python):
    torch.save(rows, tmp_path / "rows.pt")
    torch.save(net, tmp_path / "net.pt")
    command = ["-c", RANK, *(tmp_path / name for name in ("rows.pt", "net.pt", "ranks"))]
    ranks = [python(*command, RANK=str(i), WORLD_SIZE="2") for i in range(2)]
    assert [rank.communicate(timeout=120)[0] for rank in ranks] == ["38\n", "32\n"]  # the last shard has 6
    assert table_of(tmp_path / "ranks").equals(table_of(explain(lambda: net, rows)))


def test_ranks_must_be_known(explain, rows, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ArgumentError, match=r"engine: .*RANK.*WORLD_SIZE"):
        explain(small_net, rows, engine="ranks")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="overwrite=True"):
        explain(small_net, rows, engine="ranks", overwrite=True)


REFUSED = {
    "columns: .*'nose'": {"columns": ["nose"]},
    "columns: .*numbers.*arrays in": {"columns": ["x0", "key"]},
    "engine: expected None": {"engine": "spark"},
    "shard_rows: .*multiple of batch_rows=8; found 12": {"shard_rows": 12},
    "batch_rows: .*at least 1; found 0": {"batch_rows": 0},
    "n_steps: expected a whole number": {"n_steps": 0},
    "arguments: expected some of.*n_step'": {"n_step": 4},
    "seed: .*64 bits": {"seed": 2**63},
    "n_restarts: expected a whole number": {"n_restarts": 0},
    "max_evals: expected a whole number": {"max_evals": 0},
    r"arguments: expected those of StochasticGates.explain; found \['layer_baselines'\]": {
        "layer_baselines": 0,
        "columns": COLUMNS,
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_arguments_are_refused_before_anything_is_written(explain, parquet, tmp_path, message):
    with pytest.raises(ArgumentError, match=message):
        explain(small_net, parquet, **REFUSED[message])
    assert not (tmp_path / "out").exists()


def _training():
    return nn.Sequential(nn.Linear(N_COLUMNS, 4), nn.BatchNorm1d(4), nn.Dropout())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 1 / 0, "stg_or_factory: expected.*ZeroDivisionError"),
        (small_net(), "stg_or_factory: expected.*TypeError"),
        (lambda: 3, "forward_func: expected a model"),
        (_training, "the model: .*evaluation mode"),
    ],
)
def test_what_is_no_model_is_refused(explain, rows, make, message):
    with pytest.raises(ArgumentError, match=message):
        explain(make, rows)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            DataLoader(TensorDataset(torch.zeros(4, 2)), shuffle=True),
            "dataset: .*DataLoader that keeps the order",
        ),
        ([torch.zeros(3)], "dataset: .*torch Dataset or DataLoader"),
        ("nowhere.parquet", "dataset: .*nothing at nowhere.parquet"),
        (TensorDataset(torch.zeros(0, 5)), "dataset: .*at least one row"),
        (Items(torch.zeros(3, 5)), "columns: .*indices or keys"),
        (pd.DataFrame({"name": ["a"]}), "columns: .*columns of numbers"),
    ],
)
def test_what_is_no_data_set_is_refused(explain, data, message):
    with pytest.raises(ArgumentError, match=message):
        explain(small_net, data, columns=[7] if isinstance(data, Items) else None)


def test_gaps_of_pandas_are_failed_rows(explain, rows):
    frame = pd.DataFrame(rows.numpy(), columns=COLUMNS).convert_dtypes()
    frame.loc[3, "x2"] = pd.NA
    found = load_attributions(explain(small_net, frame))
    assert list(found.failures) == [3]
    assert len(found) == N_ROWS - 1


def test_numbers_go_to_the_precision_of_the_model(explain, rows):
    net = small_net().double()
    frame = pd.DataFrame(rows.double().numpy() / 3, columns=COLUMNS)
    found = load_attributions(explain(lambda: net, frame))
    assert not found.failures
    assert np.allclose(found.evidence["full"], net(rows.double() / 3).max(1).values.detach(), rtol=1e-12)


def test_missing_packages_are_named(explain, rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ArgumentError, match=r"engine: .*pip install stg_attr\[ray\]"):
        explain(small_net, rows, engine="ray")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for ask in (lambda: explain(small_net, rows), lambda: load_attributions(tmp_path)):
        with pytest.raises(ArgumentError, match=r"PyArrow.*pip install stg_attr\[scale\]"):
            ask()


def test_other_arguments_of_the_model_are_the_same_for_all_rows(explain, rows):
    stg = StochasticGates(lambda x, weights, power: (x * weights["w"]).sum(1) ** power)
    given = {"additional_forward_args": ({"w": 2.0}, 1.0), "internal_batch_size": 3}
    found = load_attributions(explain(stg, rows[:8], **given))
    expected = stg.explain(rows[:8], n_steps=2, n_samples=4, **given)
    assert torch.equal(found.attributions, expected.active_probabilities)
    with pytest.raises(ArgumentError, match=r"additional_forward_args: .*same for every row.*\(8, 5\)"):
        explain(stg, rows[:8], "other", additional_forward_args=rows[:8])


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_tables_as_baselines_of_tensors_are_refused_before_anything_is_written(library, tmp_path):
    module = pytest.importorskip(library)
    table = module.zeros((3, 2)) if library == "numpy" else module.DataFrame({"a": [1.0], "b": ["x"]})
    with pytest.raises(ArgumentError, match=r"baselines: expected a number.*; found .*torch.as_tensor"):
        explain_dataset(lambda: None, TensorDataset(torch.zeros(3, 2)), tmp_path / "out", baselines=table)
    assert not (tmp_path / "out").exists()
