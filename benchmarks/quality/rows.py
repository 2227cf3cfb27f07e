"""One row of results for each run of a method on a problem; runs are shared out over processes."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import torch

from . import measures, metrics
from .method import Answer, Method, Outcome, run
from .nets import CACHE
from .problem import Problem
from .problems import TABLE_OF, load

STABILITY = "stability"
STABILITY_SEEDS = (0, 1, 2, 3)
LONGEST = ("P9", "P8", "P5", "P4", "P1", "P2", "P3", "P7", "P11", "P10", "P6")
UNRELATED = ("ours.py", "main.py", "tables.py", "targets.py", "rows.py", "__init__.py", "__main__.py")


@dataclass(frozen=True)
class Row:
    """What one run gave.

    Args:
        problem: its name.
        method: its name.
        model_seed: of the problem.
        solver_seed: of the method.
        accuracy: of the net; None where the model is given.
        evaluations: model rows per example.
        cpu_ms: CPU milliseconds per example.
        values: of the problem's measures; the selector's, TPR and FDR, for gates.
    """

    problem: str
    method: str
    model_seed: int
    solver_seed: int
    accuracy: float | None
    evaluations: float
    cpu_ms: float
    values: dict[str, float]


@dataclass(frozen=True)
class Job:
    """All runs on one problem with one net, in one process.

    Args:
        problem: its name.
        model_seed: of its net.
        solver_seeds: of the methods; those whose seed does not matter run with the first.
        n_rows: rows explained, at most; None for all.
        methods: names of those measured; None for all.
    """

    problem: str
    model_seed: int
    solver_seeds: tuple[int, ...]
    n_rows: int | None
    methods: tuple[str, ...] | None

    def wants(self, method: Method) -> bool:
        """Whether the job measures this method; the others are read from the cache."""
        return self.methods is None or method.name.partition(":")[0] in self.methods


def run_job(job: Job) -> list[Row]:
    """The rows of a job: measured, or where it does not want the method, of an earlier measurement."""
    problem = load(job.problem, job.model_seed)
    if job.n_rows is not None:
        problem = problem.first(job.n_rows)
    rows = []
    for method in methods(problem):
        path = _cached(job, method)
        if job.wants(method):
            rows += (found := list(_measured(job, method, problem)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([asdict(row) for row in found]))
        elif path.exists():
            rows += [Row(**row) for row in json.loads(path.read_text())]
    return rows


def methods(problem: Problem) -> list[Method]:
    """The project first, then its peers that fit; imported late so that problems load without either."""
    from .optional_peers import OPTIONAL_PEERS
    from .ours import methods_of
    from .peers import PEERS

    peers = [method for method in PEERS if method.name in problem.peers]
    return [method for method in (*methods_of(problem), *peers, *OPTIONAL_PEERS) if method.fits(problem)]


def _measured(job: Job, method: Method, problem: Problem) -> Iterator[Row]:
    run(method, problem.first(1), seed=0)  # what only a first call costs is no one's cost per example
    if job.problem == STABILITY:
        seeds = STABILITY_SEEDS if method.random else STABILITY_SEEDS[:1] * 2
        outcomes = [run(method, problem, seed) for seed in seeds]
        yield _row(job, method, problem, seeds[0], outcomes[0], agreement(problem, method, outcomes))
        return
    for seed in job.solver_seeds if method.random else job.solver_seeds[:1]:
        outcome = run(method, problem, seed)
        yield _row(job, method, problem, seed, outcome, measured(problem, method, outcome.answer))


def _row(
    job: Job, method: Method, problem: Problem, seed: int, outcome: Outcome, values: dict[str, float]
) -> Row:
    cpu_ms = 1000 * outcome.seconds
    return Row(
        job.problem, method.name, job.model_seed, seed, problem.accuracy, outcome.evaluations, cpu_ms, values
    )  # fmt: skip


def measured(problem: Problem, method: Method, answer: Answer) -> dict[str, float]:
    """All of the problem's measures of what a method gives; those of a further reading end in its name."""
    values: dict[str, float] = {}
    for measure in problem.measures:
        values |= measure(problem, answer.attributions)
        for name, reading in answer.readings.items():
            values |= {f"{key}, {name}": value for key, value in measure(problem, reading).items()}
    if method.gates and problem.truth is not None and not problem.variants:
        values |= measures.selection(problem, answer.attributions)
    return values | answer.facts


def agreement(problem: Problem, method: Method, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Jaccard index of the sets that runs with several seeds select, and rank correlation of their scores.

    Gates select what is active with a probability above 0.5; the others are told the number of true features.
    """
    scores = torch.stack([measures.influence(problem, outcome.attributions) for outcome in outcomes])
    if method.gates:
        selected = scores > 0.5
    else:
        n_true = problem.truth.sum(1, keepdim=True)
        selected = torch.stack([metrics.ranks(score) <= n_true for score in scores])
    places = torch.stack([metrics.ranks(score, seed) for seed, score in enumerate(scores)]).to(torch.float64)
    return {"Jaccard": metrics.jaccard(selected), "rank correlation": metrics.rank_correlation(places)}


def _cached(job: Job, method: Method) -> Path:
    """Where the rows of a method are kept: named by what was run and by the code that ran it."""
    code = (_code(), _package_code()) if method.gates else (_code(),)
    run_of = hashlib.sha256(repr((job.solver_seeds, job.n_rows, *code)).encode()).hexdigest()[:10]
    return CACHE / "rows" / f"{job.problem}-{job.model_seed}-{method.name}-{run_of}.json"


@cache
def _code() -> str:
    """Digest of the code that peers' results depend on, as it is when a process first asks."""
    return _digest(path for path in Path(__file__).parent.glob("*.py") if path.name not in UNRELATED)


@cache
def _package_code() -> str:
    """The same of the project and of how it is called: no row of another version is ever shown as its own."""
    spec = find_spec("stg_attr")
    package = Path(spec.origin).parent.rglob("*.py") if spec and spec.origin else ()
    return _digest((Path(__file__).with_name("ours.py"), *package))


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def _start_process() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # captum's and torchray's, which no reader of the tables can mend


def run_all(jobs: Iterable[Job], n_processes: int) -> list[Row]:
    """The rows of all jobs, a line printed as each ends; the longest jobs go first."""
    ordered = sorted(jobs, key=lambda job: (LONGEST.index(TABLE_OF[job.problem]), job.model_seed))
    # one thread each, so that CPU time compares: KernelShap's least squares on two takes ten times as much
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    start, rows = time.perf_counter(), []
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _start_process) as pool:
        running = {pool.submit(run_job, job): job for job in ordered}
        for done, future in enumerate(as_completed(running), 1):
            job = running[future]
            rows += future.result()
            spent = time.perf_counter() - start
            print(
                f"[{done}/{len(ordered)}] {job.problem}, model seed {job.model_seed} ({spent:.0f} s)",
                flush=True,
            )
    return sorted(rows, key=lambda row: (row.problem, row.model_seed))
