"""Ray with two nodes of one CPU on this machine gives the same bits as a plain loop."""

import logging
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import TensorDataset

from stg_attr import AmortizedSettings, AmortizedStochasticGates, ArgumentError, Status, StochasticGates
from stg_attr.scale import RayActors, load_attributions, ray_actors
from stg_attr.scale.fingerprint import digest
from stg_attr.scale.rows import Columns
from stg_attr.scale.shards import Output
from stg_attr.scale.worker import Job, Worker, model_fingerprint

from .conftest import N_COLUMNS, N_ROWS, small_net

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install stg_attr[ray]")
on_ray = pytest.importorskip("stg_attr.scale.on_ray")

pytestmark = [
    pytest.mark.slow,
    # what Ray says about its own sockets, files and settings; but not about how it is called here
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning", r"error::DeprecationWarning:stg_attr\..*"
    ),
]

COLUMNS = [f"x{i}" for i in range(N_COLUMNS)]
EACH_NODE = RayActors(count=2, num_cpus=1)  # every CPU of the cluster: what made Ray wait for ever once
MEMORY = 100 * 2**20


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[small_net.__module__])  # nodes do not have the tests
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY})
    two.add_node(num_cpus=1, object_store_memory=MEMORY)
    ray.init(address=two.address, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().default_hash_shuffle_parallelism = 4  # not 200 for 70 rows
    yield two
    ray.shutdown()
    two.shutdown()


def witness(folder, workers, seconds=0.0):
    """A feature mask that records its process and its node, and then waits for the other workers.

    So that on a busy machine, too, every worker is at work before one of them has done everything.
    """
    folder.mkdir(exist_ok=True)

    def mask(x):
        (folder / f"{os.getpid()}.{ray.get_runtime_context().get_node_id()}").touch()
        deadline = time.monotonic() + 90
        while len(list(folder.iterdir())) < workers and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        return torch.arange(x.shape[1]).unsqueeze(0)

    return mask


def test_one_file_is_shared_by_the_workers_of_two_nodes(cluster, explain, parquet, table_of, tmp_path):
    seen = tmp_path / "seen"
    out = explain(
        small_net, parquet, columns=COLUMNS, engine=EACH_NODE, feature_mask=witness(seen, workers=2)
    )
    nodes = {path.name.split(".")[1] for path in seen.iterdir()}
    assert nodes == {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    plain = explain(small_net, parquet, "plain", columns=COLUMNS, feature_mask=torch.arange(5).unsqueeze(0))
    assert table_of(out).equals(table_of(plain))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_proposals_on_ray_are_those_of_one_process(cluster, explain, rows, parquet, table_of):
    settings = AmortizedSettings(width=16)
    fast = AmortizedStochasticGates(StochasticGates(small_net()), settings=settings).fit(rows, n_epochs=3)
    out = explain(fast, parquet, columns=COLUMNS, engine=EACH_NODE)
    plain = explain(fast, parquet, "plain", columns=COLUMNS)
    assert table_of(out).equals(table_of(plain))
    assert Status.PROPOSED in load_attributions(out).status


def test_a_killed_worker_is_replaced(cluster, explain, rows, table_of, tmp_path):
    seen, rows[9] = tmp_path / "seen", torch.nan
    killed = []

    def kill():
        shards, deadline = tmp_path / "out" / "rows", time.monotonic() + 120
        while not (shards.is_dir() and any(shards.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.append(int(next(seen.iterdir()).name.split(".")[0]))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    out = explain(small_net, rows, engine="ray", feature_mask=witness(seen, workers=2, seconds=0.5))
    killer.join()
    workers = {int(path.name.split(".")[0]) for path in seen.iterdir()}
    assert killed[0] in workers
    assert len(workers) == 3
    found = table_of(out)
    assert found["id"].to_pylist() == list(range(N_ROWS))
    assert found["status"].to_pylist().count("FAILED") == 1
    plain = explain(small_net, rows, "plain", feature_mask=torch.arange(5).unsqueeze(0))
    assert found.equals(table_of(plain))


def test_a_ray_data_set_in_any_order_gives_the_same_bits(cluster, explain, rows, table_of):
    rows[30] = torch.nan
    order = np.random.default_rng(0).permutation(N_ROWS)
    items = [{"x": rows[i].numpy(), "number": int(i)} for i in order]
    shuffled = ray.data.from_items(items, override_num_blocks=7)
    how = {"columns": ["x"], "id_column": "number", "shard_rows": 16}
    out = explain(small_net, shuffled, **how)
    whole = table_of(explain(small_net, rows, "plain", shard_rows=16))
    assert table_of(out).equals(whole)
    assert list(load_attributions(out).failures) == [30]
    (out / "rows" / "part-000002.parquet").unlink()
    kept = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    explain(small_net, ray.data.from_items(items[::-1]), **how)  # again in another order
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert table_of(out).equals(whole)
    assert ray.data.read_parquet(str(out / "rows")).sum("evaluations") == sum(
        whole["evaluations"].drop_null().to_pylist()
    )


def test_workers_that_would_make_ray_wait_for_ever_are_refused(cluster, explain, rows):
    with pytest.raises(ArgumentError, match=r"engine: .*at most 2 workers.*found 3"):
        explain(small_net, rows, engine=RayActors(count=3, num_cpus=1))
    with pytest.raises(ArgumentError, match=r"engine: .*at most 0 workers.*1 GPUs"):
        explain(small_net, rows, engine=RayActors(num_gpus=1))
    numbered = ray.data.from_items([{"x": [1.0] * N_COLUMNS, "number": 0}])
    for half in (RayActors(count=2, num_cpus=0.5), EACH_NODE):  # no node would keep a whole CPU
        with pytest.raises(ArgumentError, match=r"engine: .*at most 1 workers.*Ray's own tasks; found 2"):
            explain(small_net, numbered, engine=half, columns=["x"], id_column="number")


@pytest.mark.parametrize(
    "given", [{"count": 0}, {"num_cpus": -1}, {"num_gpus": "two"}, {"max_attempts": 0}, {"max_wait": 0.5}]
)
def test_workers_must_be_possible(given):
    with pytest.raises(ArgumentError, match=f"{next(iter(given))}: "):
        RayActors(**given)


@pytest.mark.parametrize(
    ("nodes", "actors", "reads_data", "most"),
    [
        ([2], RayActors(), True, 2),  # 0.5 each; a third would leave half a CPU
        ([2], RayActors(), False, 4),
        ([2], RayActors(num_cpus=1), True, 1),
        ([1, 1], RayActors(), True, 1),  # one on each node would leave two halves
        ([8, 8, 0.5], RayActors(num_cpus=1), True, 15),
        ([3, 3], RayActors(num_cpus=2), False, 2),
        ([(8, 2), (8, 0)], RayActors(num_gpus=1), True, 2),  # GPUs run out before CPUs do
        ([(1, 2)], RayActors(num_gpus=1), True, 0),
        ([0], RayActors(), True, 0),
    ],
)
def test_workers_are_counted_node_by_node(nodes, actors, reads_data, most):
    pairs = [node if isinstance(node, tuple) else (node, 0) for node in nodes]
    resources = [{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in pairs]
    assert on_ray.Cluster(actors, reads_data)._most_workers(resources) == most


def test_changed_rows_of_a_ray_data_set_without_files_are_refused(cluster, explain, rows):
    def data():
        return ray.data.from_items([{"x": rows[i].numpy(), "number": i} for i in range(8)])

    explain(small_net, data(), columns=["x"], id_column="number")
    rows[5, 2] += 1e-3
    with pytest.raises(ArgumentError, match=r"output: .*data is ray\.data\.Dataset"):
        explain(small_net, data(), columns=["x"], id_column="number")


def test_a_ray_data_set_needs_numbers_for_its_rows(cluster, explain):
    items = ray.data.from_items([{"x": [1.0] * N_COLUMNS, "name": "a"}])
    for id_column in (None, "name"):
        with pytest.raises(ArgumentError, match=r"id_column: .*whole numbers"):
            explain(small_net, items, columns=["x"], id_column=id_column)
    with pytest.raises(ArgumentError, match="columns: "):
        explain(small_net, items, columns=["y"], id_column="name")
    with pytest.raises(ArgumentError, match=r"engine: .*for a Ray data set"):
        explain(small_net, items, columns=["x"], engine="ranks")


def test_errors_of_a_worker_arrive_as_they_are(cluster, explain, rows):
    def broken():
        raise OSError("no weights here")

    with pytest.raises(ArgumentError, match=r"stg_or_factory: .*OSError when it was called: no weights"):
        explain(broken, rows, engine="ray")


def _job(tmp_path, model):
    output = Output(tmp_path / "out")
    for folder in (output.rows, tmp_path / "out" / "unfinished"):
        folder.mkdir(parents=True)
    return Job(small_net, None, output, {"n_steps": 1}, 8, 8, "int64", model, None)


def test_a_model_that_differs_between_workers_is_refused(tmp_path):
    torch.manual_seed(0)

    def unseeded():
        return torch.nn.Linear(N_COLUMNS, 2)

    job = _job(tmp_path, model_fingerprint(StochasticGates(unseeded()), None))
    with pytest.raises(ArgumentError, match="returns the same model in every process"):
        Worker(job)


def _in_this_process(monkeypatch, tmp_path, kind, *arguments):
    """An actor without its process; the job is handed over directly."""
    job = _job(tmp_path, model_fingerprint(StochasticGates(small_net()), None))
    monkeypatch.setattr(ray, "get", lambda held: held)
    return kind((job,), 1, 4, *arguments)


def _error(record):
    return str(pickle.loads(record["error"][0]))


def test_a_shard_that_kills_its_worker_is_given_up(monkeypatch, tmp_path):
    actor = _in_this_process(monkeypatch, tmp_path, ray_actors.ShardActor)
    output = Output(tmp_path / "out")
    assert [output.count_attempt(5) for _ in range(4)] == [1, 2, 3, 4]  # each of them died
    assert "died 4 times while explaining shard 5" in _error(actor({"item": np.array([5])}))
    output.reset_attempts()
    assert output.count_attempt(5) == 1


@pytest.mark.parametrize(("ids", "message"), [([3, 1, 3], "3 twice"), ([2, -1, 0], "without one, or -1")])
def test_ids_are_different_whole_numbers(monkeypatch, tmp_path, ids, message):
    columns = Columns(("x",), "number", None)
    actor = _in_this_process(monkeypatch, tmp_path, ray_actors.GroupActor, columns)
    group = {
        "x": np.ones((3, N_COLUMNS)),
        "number": np.array(ids),
        ray_actors.SHARD_COLUMN: np.zeros(3, dtype=int),
        ray_actors.GAPS_COLUMN: np.array(["", "", ""], dtype=object),
    }
    assert "id_column: " in _error(actor(group))
    assert message in _error(actor(group))


def test_gaps_in_whole_numbers_fail_their_rows_only(monkeypatch, tmp_path):
    """What Ray does between the two steps, it turns a table into arrays, is left out."""
    columns = Columns(("a", "b"), "number", None)
    actor = _in_this_process(monkeypatch, tmp_path, ray_actors.GroupActor, columns)
    table = pa.table({"number": [3, 1, 2], "a": [5, None, 7], "b": [True, False, None]})
    numbered = ray_actors.with_shard_numbers(table, "number", ["a", "b", "number"], 8, (np.zeros(0, int),))
    assert numbered.column("a").type == pa.int64()
    group = {name: numbered[name].to_numpy() for name in numbered.column_names}
    actor._worker = SimpleNamespace(run=lambda number, rows: found.extend(rows), dtype=None)
    found = []
    with pytest.raises(TypeError):  # of the worker, which says nothing about the shard
        actor(group)
    assert [(row.id, row.error) for row in found] == [
        (1, "column 'a': expected numbers; found nothing"),
        (2, "column 'b': expected numbers; found nothing"),
        (3, None),
    ]
    assert found[2].inputs[0].tolist() == [5, 1]


def test_a_row_without_an_id_is_refused(monkeypatch):
    monkeypatch.setattr(ray, "get", lambda held: held)
    table = pa.table({"number": pa.array([3, None], pa.uint8()), "a": [5, 6]})
    numbered = ray_actors.with_shard_numbers(table, "number", ["a", "number"], 8, (np.zeros(0, int),))
    assert numbered["number"].to_pylist() == [3, -1]
    assert numbered[ray_actors.SHARD_COLUMN].to_pylist() == [0, -1]


def test_a_stream_cannot_be_shared(cluster, explain):
    class Streamed(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(torch.zeros(3, N_COLUMNS))

    with pytest.raises(ArgumentError, match=r"dataset: .*only be read from its beginning"):
        explain(small_net, Streamed(), engine="ray")


OWN = """
import torch
from torch import nn
def factory():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
"""


def test_a_cluster_of_its_own_is_gone_afterwards(explain, parquet, tmp_path, python, table_of):
    if not Path("/proc").is_dir():
        pytest.skip("processes are counted in /proc")
    (tmp_path / "own.py").write_text(OWN)
    arguments = {
        "--model": "own:factory", "--data": parquet, "--out": tmp_path / "out",
        "--columns": ",".join(COLUMNS), "--batch-rows": 8, "--n-steps": 2, "--n-samples": 4,
        "--engine": "ray", "--cpus": 1,
    }  # fmt: skip
    code = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); from stg_attr.scale.command_line import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    mark = digest(str(tmp_path))
    run = python("-c", code, *(part for pair in arguments.items() for part in pair), STG_ATTR_MARK=mark,
                 RAY_ADDRESS="local", PYTHONWARNINGS="error::DeprecationWarning:stg_attr")  # fmt: skip
    out, err = run.communicate(timeout=150)
    assert run.returncode == 0, err
    assert "70 rows explained" in out
    assert "DeprecationWarning" not in err
    assert pq.read_table(tmp_path / "out" / "rows").equals(
        table_of(explain(small_net, TensorDataset(load_rows(parquet)), "plain"))
    )
    deadline = time.monotonic() + 20
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _marked(mark) == []


def load_rows(path):
    return torch.tensor(np.stack([pq.read_table(path)[name].to_numpy() for name in COLUMNS], 1))


def _marked(mark):
    """Processes that inherited the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass  # it ended
    return found
