"""Rows, models, memory, disks, inputs and processes that fail; finished rows are never lost."""

import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from stg_attr import ArgumentError, Status, StochasticGates
from stg_attr.scale import explain_dataset, load_attributions, summarise
from stg_attr.scale.run_error import RunError

from .conftest import N_ROWS, small_net


class Poisoned(Dataset):
    """Rows that hold NaN or inf, are too short, cannot be read, or make the model fail."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i].clone()
        if i == 3:
            row[1] = torch.nan
        if i == 20:
            row[0] = torch.inf
        if i == 21:
            return row[:2]
        if i == 22:
            raise OSError("not a photograph")
        if i == 40:
            row[:] = 1000.0
        if i == 41:
            row[:] = -1000.0
        return row


MESSAGES = {
    3: "input 0: expected finite numbers; found 1 of 5 NaN or inf",
    20: "input 0: expected finite numbers; found 1 of 5 NaN or inf",
    21: "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 5x16)",
    22: "OSError: not a photograph",
    40: "ValueError: beyond my domain",
    41: "ArgumentError: forward_func: expected finite scores on the inputs",
}


def delicate():
    net = small_net()

    def model(x):
        if bool((x.mean(1) > 900).any()):
            raise ValueError("beyond my domain")
        return torch.where(x.mean(1, keepdim=True) < -900, torch.nan, net(x))

    return StochasticGates(model)


def test_rows_that_fail_say_why_and_stop_nothing(explain, rows):
    out = explain(delicate, Poisoned(rows))
    found = load_attributions(out)
    assert found.failures.keys() == MESSAGES.keys()
    assert all(found.failures[i].startswith(message) for i, message in MESSAGES.items())
    healthy = load_attributions(explain(delicate, rows, "healthy"))
    kept = [i for i in range(N_ROWS) if i not in MESSAGES]
    assert found.ids == tuple(kept)
    assert torch.allclose(found.attributions, healthy.attributions[kept], atol=1e-4)
    table = pq.read_table(out / "rows")
    assert table["id"].to_pylist() == list(range(N_ROWS))  # failed rows keep their place
    assert [i for i, status in enumerate(table["status"].to_pylist()) if status == "FAILED"] == list(MESSAGES)


def test_failed_rows_are_counted_and_not_tried_again(explain, rows, tmp_path):
    settings = {"batch_rows": 8, "n_steps": 2, "n_samples": 4}
    first = explain_dataset(delicate, Poisoned(rows), tmp_path / "out", **settings)
    assert (first.explained, first.failed) == (N_ROWS, len(MESSAGES))
    again = explain_dataset(delicate, Poisoned(rows), tmp_path / "out", **settings)
    assert (again.explained, again.found, again.failed) == (0, N_ROWS, len(MESSAGES))


def test_poison_gives_the_same_bits_in_shards_of_any_size(explain, rows, table_of):
    outputs = [table_of(explain(delicate, Poisoned(rows), str(n), shard_rows=n)) for n in (8, 40)]
    assert outputs[0].equals(outputs[1])


@pytest.mark.parametrize("room", [33, 10, 3])
def test_a_full_memory_halves_the_batch(explain, rows, room):
    """The model holds `room` rows: some samples of a batch of 8, one sample of it, or a part of it."""
    net, sizes = small_net(), []

    def model(x):
        sizes.append(len(x))
        if len(x) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return net(x)

    out = explain(StochasticGates(model), rows[:16])
    found = load_attributions(out)
    expected = load_attributions(explain(StochasticGates(net), rows[:16], "plain"))
    assert not found.failures
    assert torch.allclose(found.attributions, expected.attributions, atol=1e-4)
    assert max(size for size in sizes if size <= room) * 2 > room  # halved until it fits, and no further
    messages = pq.read_table(out / "rows")["message"].to_pylist()
    assert set(messages) == {None}  # a solve takes less in one call by itself


def test_a_row_that_never_fits_fails_alone(explain, rows):
    net = small_net()

    def model(x):
        if bool((x[:, 0] == rows[5, 0]).any()):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 GB")
        return net(x)

    found = load_attributions(explain(StochasticGates(model), rows[:16]))
    assert list(found.failures) == [5]
    assert "can't allocate memory" in found.failures[5]


def test_a_lost_accelerator_ends_the_run(explain, rows, tmp_path):
    net = small_net()

    def model(x):
        if bool((x[:, 0] == rows[20, 0]).any()):
            raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
        return net(x)

    with pytest.raises(ArgumentError, match=r"GPU.*cannot continue.*device-side assert triggered"):
        explain(StochasticGates(model), rows)
    assert load_attributions(tmp_path / "out").ids == tuple(range(16))


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_ctrl_c_ends_the_run_and_leaves_no_half_learned_row(explain, rows, table_of, tmp_path):
    net, calls = small_net(), [0]

    class Interrupted(StochasticGates):
        limit = 60

    def model(x):
        calls[0] += 1
        if calls[0] == Interrupted.limit:  # in a solve, where the solver keeps what it has
            raise KeyboardInterrupt
        return net(x)

    with pytest.raises(KeyboardInterrupt):
        explain(StochasticGates(model), rows, n_steps=4)
    done = load_attributions(tmp_path / "out")
    assert 0 < len(done) < N_ROWS
    assert len(done) % 8 == 0
    assert Status.INTERRUPTED not in done.status


def test_ctrl_c_at_any_call_stops_at_once_and_leaves_whole_shards(explain, rows, table_of, tmp_path):
    net, calls = small_net(), {"now": 0, "last": -1}

    def model(x):
        calls["now"] += 1
        if calls["now"] == calls["last"]:
            raise KeyboardInterrupt
        return net(x)

    def run(last, name):
        calls.update(now=0, last=last)
        return explain(StochasticGates(model), rows[:16], name, model_version="1")

    whole = table_of(run(-1, "whole"))
    for last in range(1, calls["now"] + 1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(last, str(last))
        shards = sorted((tmp_path / str(last) / "rows").iterdir())
        assert len(shards) < 2
        assert all(pq.read_table(shard).equals(whole.slice(0, 8)) for shard in shards)
        assert list((tmp_path / str(last) / "unfinished").iterdir()) == []


def test_an_unreadable_input_is_refused_at_the_start(explain, parquet):
    parquet.write_bytes(parquet.read_bytes()[:-20])
    with pytest.raises(ArgumentError, match=r"dataset: .*in\.parquet"):
        explain(small_net, parquet, columns=[f"x{i}" for i in range(5)])


def test_an_input_that_breaks_midway_leaves_what_was_done(explain, tmp_path, rows):
    folder = tmp_path / "in"
    folder.mkdir()
    table = pa.table({f"x{i}": rows[:, i].numpy() for i in range(5)})
    pq.write_table(table.slice(0, 20), folder / "0.parquet")
    pq.write_table(table.slice(20), folder / "1.parquet", compression="zstd", use_dictionary=False)
    whole = (folder / "1.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(whole[:4] + b"\xff" * 1200 + whole[1204:])  # the footer stays readable
    with pytest.raises(ArgumentError, match=r"dataset: .*1\.parquet.*Finished shards are kept"):
        explain(small_net, folder)
    assert load_attributions(tmp_path / "out").ids == tuple(range(16))
    (folder / "1.parquet").write_bytes(whole)
    assert len(load_attributions(explain(small_net, folder))) == N_ROWS


FULL_DISK = """
import resource, signal, sys
import torch
from torch.utils.data import TensorDataset
from stg_attr.scale import explain_dataset
torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rows = torch.randn(16, 600, generator=torch.Generator().manual_seed(0))
rows[:8] = 0
net = lambda x: x.square().sum(1)
explain_dataset(lambda: net, TensorDataset(rows), sys.argv[1], batch_rows=8, n_steps=2)
"""


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_leaves_what_was_done(tmp_path, python):
    """The kernel refuses files above 20 kB: the second shard of random numbers, not the first of zeros."""
    pytest.importorskip("resource", reason="limits of file sizes are a thing of POSIX")
    run = python("-c", FULL_DISK, tmp_path / "out")
    _, errors = run.communicate(timeout=120)
    assert "ArgumentError: output: " in errors
    assert "File too large" in errors
    assert load_attributions(tmp_path / "out").ids == tuple(range(8))
    assert list((tmp_path / "out" / "unfinished").iterdir()) == []


def test_a_damaged_shard_is_named(explain, rows):
    out = explain(small_net, rows)
    shard = out / "rows" / "part-000002.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    for read in (load_attributions, summarise):
        with pytest.raises(ArgumentError, match=r"output: .*part-000002.parquet.*Delete this"):
            read(out)
    shard.unlink()
    assert len(load_attributions(explain(small_net, rows))) == N_ROWS


def test_a_damaged_manifest_is_named(explain, rows):
    out = explain(small_net, rows)
    (out / "manifest.json").write_text("{")
    with pytest.raises(ArgumentError, match=r"output: .*manifest"):
        explain(small_net, rows)


RUN = """
import sys, time
import torch
from torch.utils.data import TensorDataset
from stg_attr.scale import explain_dataset
torch.set_num_threads(1)
net = torch.load(sys.argv[2], weights_only=False)
rows = TensorDataset(torch.load(sys.argv[1]))
slow = lambda x: time.sleep(0.1) or torch.arange(5).unsqueeze(0)
explain_dataset(lambda: net, rows, sys.argv[3], batch_rows=8, n_steps=2, n_samples=4, feature_mask=slow)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(explain, net, rows, tmp_path, table_of, python):
    torch.save(rows, tmp_path / "rows.pt")
    torch.save(net, tmp_path / "net.pt")
    command = ["-c", RUN, *(tmp_path / name for name in ("rows.pt", "net.pt", "out"))]
    run = python(*command)
    shards = tmp_path / "out" / "rows"
    deadline = time.monotonic() + 60
    while not (shards.is_dir() and len(list(shards.iterdir())) >= 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert 2 <= len(done) < 9
    assert python(*command).wait(timeout=120) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert table_of(tmp_path / "out").equals(table_of(explain(lambda: net, rows, "undisturbed")))


def test_errors_travel_between_processes():
    import pickle

    error = ArgumentError("what", expected="this", found="that", mend="Do something.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ArgumentError
    assert str(copy) == str(error) == "what: expected this; found that. Do something."
    stopped = pickle.loads(pickle.dumps(RunError("It stopped.", mend="Start it again.")))
    assert type(stopped) is RunError
    assert str(stopped) == "It stopped. Start it again."


def test_a_tensor_data_set_of_nothing_but_poison_ends_well(explain):
    found = load_attributions(explain(small_net, TensorDataset(torch.full((9, 5), torch.nan))))
    assert len(found) == 0
    assert len(found.failures) == 9
