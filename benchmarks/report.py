"""A report on many rows: from training the net that proposes gates to the page, in time, memory and size.

A generated table of credit applications (18 columns of numbers; two of texts, which the model gets as 9
flags), an MLP, 512 reference rows, `OutputMatch`. Steps: `fit` learns the net that proposes gates,
`explain` explains all rows, `report` measures coverage, stability, contributions and shared gates on samples
and writes page and files. `CPU s`: of this process, on one thread; `MB`: largest memory until then. The
time on a clock is shorter on two cores only with `--ranks 2`, which explains in two processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stg_attr import AmortizedStochasticGates, OutputMatch, Preserve, StochasticGates
from stg_attr.report import report
from stg_attr.scale import explain_dataset

NUMBERS = (
    "income", "debt", "age", "months in job", "utilisation", "late payments", "inquiries", "accounts",
    "oldest account", "savings", "amount", "term", "dependants", "rent", "months at address",
    "previous defaults", "overdrafts", "bureau score",
)  # fmt: skip
TEXTS = {
    "employment": ("employed", "self-employed", "retired", "student"),
    "region": ("north", "south", "east", "west", "centre"),
}
NAMES = (*NUMBERS, *TEXTS)
MASK = torch.tensor([[*range(18), *[18] * 4, *[19] * 5]])
N_TRAIN, N_REFERENCES = 20_000, 512


def applications(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:  # type: ignore[type-arg]
    """Rows that a model gets, and whether each was repaid."""
    drawn = np.random.default_rng(seed)
    frame = pd.DataFrame(drawn.normal(size=(n, len(NUMBERS))), columns=list(NUMBERS))
    frame["debt"] += 0.5 * frame["amount"]
    frame["bureau score"] -= 0.6 * frame["late payments"]
    risk = 1.2 * frame["debt"] - frame["income"] - 0.8 * frame["bureau score"] - 0.3 * frame["savings"]
    risk += (
        frame["utilisation"].clip(lower=0) * (frame["late payments"] > 0) + 0.5 * frame["previous defaults"]
    )
    for name, values in TEXTS.items():
        which = drawn.integers(len(values), size=n)
        risk += 0.6 * (which == 3) * (name == "employment")
        frame = frame.assign(**{f"{name}: {v}": (which == k).astype(float) for k, v in enumerate(values)})
    return frame.astype("float32"), (risk + 0.7 * drawn.logistic(size=n) < 0.8).to_numpy().astype(np.int64)


def trained(x: Tensor, y: Tensor) -> nn.Module:
    """An MLP with two outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.3)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


def with_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with the columns of texts, which the model gets as flags."""
    texts = {
        name: np.array(values)[frame[[f"{name}: {v}" for v in values]].to_numpy().argmax(1)]
        for name, values in TEXTS.items()
    }
    return frame.assign(**texts)


class Case:
    """The model, the net that proposes gates, and the arguments of `explain`; the same in every process."""

    def __init__(self, folder: Path) -> None:
        frame, repaid = applications(N_TRAIN, 0)
        self.train = torch.tensor(frame.to_numpy())
        self.net = trained(self.train, torch.tensor(repaid))
        references = self.train[:N_REFERENCES]
        self.arguments = {"baselines": references, "feature_mask": MASK, "feature_names": list(NAMES)}
        method = StochasticGates(self.net, objective=Preserve(OutputMatch()))
        self.fast, self.file = AmortizedStochasticGates(method), folder / "net.safetensors"
        if self.file.exists():
            self.fast.load(self.file)

    def fit(self) -> None:
        """Learn the net that proposes gates, unless it is there, and keep it for other processes."""
        if self.file.exists():
            return
        self.fast.fit(self.train[:6000], self.arguments["baselines"], feature_mask=MASK, n_epochs=20)
        self.fast.save(self.file)

    def explain(self, n: int, folder: Path, ranks: bool) -> None:
        """Explain the rows of the population."""
        engine = {"engine": "ranks"} if ranks else {}
        frame, _ = applications(n, 1)
        explain_dataset(self.fast, frame, folder / "run", batch_rows=256, **engine, **self.arguments)

    def report(self, n: int, folder: Path) -> Path:
        """Write the report; the path of the page."""
        frame, repaid = applications(n, 1)
        fresh = torch.tensor(applications(500, 2)[0].to_numpy())
        made = report(
            folder / "run", with_texts(frame), explainer=self.fast, fresh=fresh, columns=list(frame),
            labels=repaid, cohorts=["age", "employment", "region"], model_name="Credit, generated",
            date="2026-01-01", **self.arguments,
        )  # fmt: skip
        print(made)
        return made.save(folder / "report")


def _explained_by_ranks(n: int, folder: Path, ranks: int) -> None:
    """Explain in several processes beside each other."""
    command = [sys.executable, "-m", "benchmarks", "report", "--rows", str(n), "--folder", str(folder)]
    started = [
        subprocess.Popen(
            [*command, "--explain"], env={**os.environ, "RANK": str(i), "WORLD_SIZE": str(ranks)}
        )
        for i in range(ranks)
    ]
    codes = [process.wait() for process in started]  # all of them, also if one fails
    if any(codes):
        raise SystemExit("a rank failed")


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python run.py bench report", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows that are explained")
    parser.add_argument("--ranks", type=int, default=1, help="processes that explain")
    parser.add_argument("--folder", type=Path, help="where everything is written; nowhere by default")
    parser.add_argument("--quick", action="store_true", help="200 rows")
    parser.add_argument("--explain", action="store_true", help=argparse.SUPPRESS)  # one of several ranks
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    n = 200 if options.quick else options.rows
    with tempfile.TemporaryDirectory() as empty:
        folder = options.folder or Path(empty)
        folder.mkdir(parents=True, exist_ok=True)
        case = Case(folder)
        if options.explain:
            case.explain(n, folder, ranks=True)
            return 0
        print("| step | s | CPU s | MB |\n|---|---:|---:|---:|")
        explain = (
            (lambda: case.explain(n, folder, False))
            if options.ranks == 1
            else (lambda: _explained_by_ranks(n, folder, options.ranks))
        )
        for name, step in (
            ("fit", case.fit),
            ("explain", explain),
            ("report", lambda: case.report(n, folder)),
        ):
            start, cpu = time.perf_counter(), _cpu()
            step()
            memory = max(
                resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            )
            print(
                f"| {name} | {time.perf_counter() - start:.0f} | {_cpu() - cpu:.0f} | {memory / 1024:.0f} |",
                flush=True,
            )
        size = (folder / "report" / "report.html").stat().st_size
        rows = sum(path.stat().st_size for path in (folder / "report" / "rows").iterdir())
        print(f"page: {size / 1e6:.2f} MB; Parquet files: {rows / 1e6:.2f} MB")
    return 0


def _cpu() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)
