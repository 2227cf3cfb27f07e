# %% [markdown]
# # A whole data set
#
# `explain_dataset` explains every row of a table and writes Parquet files: in one process, on the ranks of a job, or on
# Ray, with exactly the same numbers everywhere. If it was stopped, it continues. It needs
# `pip install ".[ray,demo]" pandas` in a clone.

# %%
import logging
from pathlib import Path

import pandas as pd
import pyarrow.parquet as parquet
import ray
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from stg_attr import OutputMatch, Preserve, StochasticGates, references, viz
from stg_attr.scale import RayActors, explain_dataset, load_attributions, summarise

# %% [markdown]
# ## A table in files, and a net in a file
#
# Workers read their own rows and load the model themselves, so both are files: here in the folder of the notebook.

# %%
torch.manual_seed(0)
table = load_breast_cancer(as_frame=True)
values = (table.data - table.data.mean()) / table.data.std()
columns = list(values.columns)
Path("table").mkdir()
values.assign(patient=[f"patient {i}" for i in range(len(values))]).to_parquet("table/rows.parquet")

x, y = torch.tensor(values.to_numpy(), dtype=torch.float32), torch.tensor(table.target.to_numpy())
net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(20):
    for rows in torch.randperm(400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
torch.save(net.state_dict(), "net.pt")
WEIGHTS = str(Path("net.pt").resolve())


def factory():
    """The model and the question; every worker calls it once."""
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
    net.load_state_dict(torch.load(WEIGHTS))
    return StochasticGates(net.eval().requires_grad_(False), objective=Preserve(OutputMatch()))


# %% [markdown]
# ## In one process

# %%
settings = {
    "columns": columns,
    "id_column": "patient",
    "baselines": references.sample(x[:400], n=64),
    "target": 0,
    "n_steps": 6,
}
outcome = explain_dataset(factory, "table", "alone", **settings)
print(f"{outcome.explained} rows explained, {outcome.failed} failed")
print(summarise("alone"))
assert outcome.failed == 0

# %% [markdown]
# The files have one row for each row of the table, with every score that was measured. Every reader of Parquet can
# read them.

# %%
frame = pd.read_parquet("alone/rows")
assert len(frame) == len(values)
frame[["id", "full", "baseline", "kept", "removed", "status", "evaluations"]].head()

# %%
found = load_attributions("alone")
viz.importance(found.attributions, names=columns)

# %% [markdown]
# ## Stopped, and started again
#
# A finished shard is not computed again. Here we delete one shard, as if the run had been stopped. The same command
# computes only this one.

# %%
shards = sorted(Path("alone/rows").glob("*.parquet"))
before = {path.name: path.stat().st_mtime_ns for path in shards}
shards[-1].unlink()
explain_dataset(factory, "table", "alone", **settings)
after = {path.name: path.stat().st_mtime_ns for path in sorted(Path("alone/rows").glob("*.parquet"))}
again = [name for name in before if before[name] != after[name]]
print("made again:", again, "of", len(before))
assert again == [shards[-1].name]

# %% [markdown]
# ## On Ray
#
# The same call with `engine=RayActors(...)`; `engine="ray"` takes a worker for each CPU. On a cluster, start the notebook
# on it and leave the first line out: `"local"` starts a Ray of its own on this machine.

# %%
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
explain_dataset(factory, "table", "on_ray", engine=RayActors(count=2, num_cpus=0.5), **settings)
ray.shutdown()

# %% [markdown]
# The results are the same to the last bit.

# %%
alone, on_ray = (parquet.read_table(f"{name}/rows") for name in ("alone", "on_ray"))
assert alone.equals(on_ray)
print(on_ray.num_rows, "rows, the same bits as in one process")

# %% [markdown]
# ## A failure affects only its row
#
# A row that cannot be explained is marked, with the reason, and the others are explained.

# %%
broken = values.head(20).assign(patient=range(20)).copy()
broken.iloc[3, 0] = float("nan")
outcome = explain_dataset(factory, broken, "broken", **settings)
status = pd.read_parquet("broken/rows").set_index("id")["status"]
print(dict(status.value_counts()))
assert status.loc[3] == "FAILED"
assert int((status == "FAILED").sum()) == outcome.failed == 1
