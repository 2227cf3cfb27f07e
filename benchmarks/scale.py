"""A whole data set: rows per second and memory against rows, and two Ray actors against one process.

Every run is a fresh process on one thread. The rate of a run leaves out its start: it is counted from its
first finished shard to its last. Rows per CPU second depend less on what else the machine does. Memory is the
largest proportional set size (PSS, where shared pages are shared out) of a process, read from /proc on Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from stg_attr.scale import RayActors, explain_dataset

SIZES = (1_000, 10_000, 100_000)
N_COLUMNS = 10
IMAGES, BATCH = (1024, 2048, 4096), 16  # a round each


def cheap() -> nn.Module:
    """A net that takes less time than anything around it, so that the engine shows."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(N_COLUMNS, 16), nn.ReLU(), nn.Linear(16, 2)).eval()


def convolutional() -> nn.Module:
    """A net that takes nearly all of the time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(2048, 10),
    ).eval()  # fmt: skip


def memory(pid: int | str) -> tuple[str, float]:
    """Command line of a process, and its PSS in MiB."""
    name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return name, pss / 1024


def family(root: int) -> list[int]:
    """A process and all that it started, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def rate(output: Path, shard_rows: int) -> float:
    """Rows per second from the first finished shard to the last."""
    times = sorted(path.stat().st_mtime for path in (output / "rows").iterdir())
    return (len(times) - 1) * shard_rows / (times[-1] - times[0])


def table(n_rows: int, folder: Path) -> dict[str, float]:
    """Explain rows of a Parquet file in this process: rate, memory, and memory before the first row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    torch.set_num_threads(1)
    path = folder / "in.parquet"
    schema = pa.schema([(f"x{i}", pa.float32()) for i in range(N_COLUMNS)])
    generator = torch.Generator().manual_seed(0)
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(n_rows // 1000):
            columns = torch.randn(N_COLUMNS, 1000, generator=generator).numpy()
            writer.write_table(pa.table(list(columns), schema=schema))
    before = memory("self")[1]
    explain_dataset(cheap, path, folder / "out", n_steps=2, n_samples=4, batch_rows=250, shard_rows=250)
    return {"rate": rate(folder / "out", 250), "before": before}


def clocked(folder: Path) -> Callable[[Tensor], Tensor]:
    """A feature mask that notes the CPU time of its process at the start of every batch."""

    def mask(x: Tensor) -> Tensor:
        with (folder / f"{os.getpid()}.cpu").open("a") as file:
            file.write(f"{time.process_time()}\n")
        return torch.arange(x[0].numel()).reshape(x[:1].shape)

    return mask


def rows_per_cpu_second(folder: Path) -> float:
    """From the second batch of every process to its last."""
    clocks = [[float(line) for line in path.read_text().split()][1:] for path in folder.glob("*.cpu")]
    return BATCH * sum(len(clock) - 1 for clock in clocks) / sum(clock[-1] - clock[0] for clock in clocks)


def images(job: tuple[int, RayActors | None], folder: Path) -> dict[str, float]:
    """Explain so many images in this process or on Ray: rate, rate per CPU second, and memory."""
    torch.set_num_threads(1)
    n, engine = job
    data = TensorDataset(torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    if engine is not None:
        import ray

        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=256 * 2**20, log_to_driver=False)
    explain_dataset(
        convolutional, data, folder / "out", engine=engine, batch_rows=BATCH, feature_mask=clocked(folder)
    )
    if engine is not None:
        ray.shutdown()
    return {"rate": rate(folder / "out", BATCH), "per CPU": rows_per_cpu_second(folder)}


Function = Callable[..., dict[str, float]]


def fresh(function: Function, argument: object) -> dict[str, float]:
    """What a function returns in a process of its own, with the largest memory of it and of Ray's actors."""
    context, largest = multiprocessing.get_context("spawn"), {"driver": 0.0, "actor": 0.0}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, context) as pool:
        driver = pool.submit(os.getpid).result()
        future = pool.submit(function, argument, Path(folder))
        while not future.done():
            for pid in family(driver):
                with contextlib.suppress(OSError, StopIteration):
                    name, mib = memory(pid)
                    role = "driver" if pid == driver else "actor" if "MapWorker" in name else "other"
                    largest[role] = max(largest.get(role, 0.0), mib)
            time.sleep(0.5)
        return largest | future.result()


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no 100,000 rows, one round")
    quick = parser.parse_args(argv).quick
    print("\n| rows | rows per second | memory, MiB | before the first row |\n|---:|---:|---:|---:|")
    for n_rows in SIZES[:-1] if quick else SIZES:
        found = fresh(table, n_rows)
        print(
            f"| {n_rows:,} | {found['rate']:,.0f} | {found['driver']:.0f} | {found['before']:.0f} |",
            flush=True,
        )
    print("\nRows per second and per core; rows per CPU second; MiB of the driver and of an actor\n")
    print("| images | one process | two actors | share | per CPU second | share | driver | actor |")
    print("|---:|---:|---:|---:|---|---:|---:|---:|")
    shares = []
    for n in IMAGES[:1] if quick else IMAGES:
        one, two = fresh(images, (n, None)), fresh(images, (n, RayActors(count=2)))
        shares.append((two["rate"] / 2 / one["rate"], two["per CPU"] / one["per CPU"]))
        print(
            f"| {n:,} | {one['rate']:.1f} | {two['rate'] / 2:.1f} | {shares[-1][0]:.0%} "
            f"| {one['per CPU']:.1f}, {two['per CPU']:.1f} | {shares[-1][1]:.0%} "
            f"| {two['driver']:.0f} | {two['actor']:.0f} |",
            flush=True,
        )
    wall, cpu = (statistics.median(column) for column in zip(*shares, strict=True))
    print(f"| median | | | {wall:.0%} | | {cpu:.0%} | | |")
    return 0
