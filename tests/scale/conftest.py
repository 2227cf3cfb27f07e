"""A small net, its data in memory and as a Parquet file, and functions that explain and read an output."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import stg_attr
from stg_attr.scale import explain_dataset

N_ROWS, N_COLUMNS = 70, 5


def small_net():
    """The same net in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(N_COLUMNS, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


@pytest.fixture
def net():
    return small_net()


@pytest.fixture
def rows():
    """Inputs, [rows, columns]."""
    return torch.randn(N_ROWS, N_COLUMNS, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def parquet(tmp_path, rows):
    """The inputs as one file; `key` names the rows from the last to the first, `wanted` is a target."""
    import pyarrow as pa

    columns = {f"x{i}": rows[:, i].numpy() for i in range(N_COLUMNS)}
    path = tmp_path / "in.parquet"
    keys = [f"row {i}" for i in reversed(range(N_ROWS))]
    pq.write_table(pa.table({**columns, "key": keys, "wanted": [i % 3 for i in range(N_ROWS)]}), path)
    return path


@pytest.fixture
def table_of():
    """All rows of an output as one table, in the order of its shards."""

    def read(output):
        return pq.read_table(output / "rows")

    return read


@pytest.fixture
def explain(tmp_path):
    """`explain(make, data, "name", ...)` explains a data set quickly and returns the folder of the output."""

    def run(make, data, name="out", **settings):
        quick = {"batch_rows": 8, "n_steps": 2, "n_samples": 4}
        data = TensorDataset(data) if isinstance(data, torch.Tensor) else data
        return explain_dataset(make, data, tmp_path / name, **{**quick, **settings}).output

    return run


@pytest.fixture
def python():
    """`python("-c", code, ..., NAME="value")`: another process that finds the package; killed at the end."""
    started = []
    found = os.pathsep.join([str(Path(stg_attr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])

    def start(*arguments, **environment):
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": found, **environment}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
