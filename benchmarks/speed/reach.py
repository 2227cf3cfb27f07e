"""(b) Model evaluations and CPU time until a solve is as good as another method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

import torch

from benchmarks.quality.method import Forward, Method, run
from benchmarks.quality.ours import ours
from benchmarks.quality.peers import PEERS
from benchmarks.quality.problem import Problem
from benchmarks.quality.problems import TABLES, load

from .timing import nobody_leaves

ROWS = 64
#: Problems, and the measure that says how good an attribution is; higher is better.
PROBLEMS = {
    "P7, digits": (TABLES["P7"], "ins-del"),
    "P1, Syn1 to Syn6": (TABLES["P1"], "TPR@k"),
    "P5, cluttered digits": (TABLES["P5"], "ins-del"),
}
QUICK = ("P7, digits",)
#: `max_evals` of the gates, the cheapest first; None for the default effort.
EFFORTS = (25, 35, 50, 60, 75, 100, 150, 200, 300, 400, None)


@dataclass(frozen=True)
class Found:
    """Mean quality, evaluations per example and CPU milliseconds per example of a method."""

    name: str
    quality: float
    evaluations: float
    milliseconds: float


def lines(quick: bool) -> Iterator[str]:
    """A table for each problem: what a peer reaches, and the least effort at which the gates reach it."""
    for title, (names, measure) in PROBLEMS.items():
        if quick and title not in QUICK:
            continue
        problems = [load(name, seed).first(ROWS) for name in names for seed in ((0,) if quick else (0, 1, 2))]
        gates = [_found(_gates(effort), problems, measure) for effort in EFFORTS]
        peers = [_found(method, problems, measure) for method in PEERS]
        yield f"\n{title}: {measure}, {len(problems)} nets, the first {ROWS} rows of each, solved together\n"
        yield (
            f"| as good as | {measure} | evals | CPU ms | gates at | {measure} | evals | CPU ms | "
            "evals saved | CPU saved |\n|---|---:|---:|---:|---|---:|---:|---:|---:|---:|"
        )
        for peer in sorted(peers, key=lambda found: -found.quality):
            yield _line(peer, gates)
        yield f"\nGates: {', '.join(f'{g.name} {g.quality:.3f} at {g.evaluations:.0f}' for g in gates)}."


def _line(peer: Found, gates: list[Found]) -> str:
    reached = next((found for found in gates if found.quality >= peer.quality), None)
    head = f"| {peer.name} | {peer.quality:.3f} | {peer.evaluations:.0f} | {peer.milliseconds:.3g} | "
    if reached is None:
        return head + "not reached | | | | | |"
    return head + (
        f"{reached.name} | {reached.quality:.3f} | {reached.evaluations:.0f} | {reached.milliseconds:.3g} | "
        f"{peer.evaluations / reached.evaluations:.1f} x | {peer.milliseconds / reached.milliseconds:.1f} x |"
    )


def _gates(max_evals: int | None) -> Method:
    """The project at an effort."""

    def attribute(problem: Problem, forward: Forward, seed: int) -> torch.Tensor:
        return ours(problem, seed, forward=forward, max_evals=max_evals)

    return Method("default" if max_evals is None else f"max_evals={max_evals}", attribute, gates=True)


def _found(method: Method, problems: list[Problem], measure: str) -> Found:
    """The means over problems, after a first call that is not counted."""
    run(method, problems[0].first(1), seed=0)
    outcomes = [run(method, problem, seed=0) for problem in problems]
    qualities = [
        measured
        for problem, outcome in zip(problems, outcomes, strict=True)
        for judge in problem.measures
        for name, measured in judge(problem, outcome.attributions).items()
        if name == measure
    ]
    return Found(
        method.name,
        mean(qualities),
        mean(outcome.evaluations for outcome in outcomes),
        1000 * mean(outcome.seconds for outcome in outcomes),
    )


def early_stopping(quick: bool) -> Iterator[str]:
    """What early stopping saves: evaluations and quality with it and without."""
    yield (
        "\n| problem | measure | evals, all steps | evals, stopping | saved | quality, all steps | stopping |"
        "\n|---|---|---:|---:|---:|---:|---:|"
    )
    for title in ("P7, digits", "P1, Syn1 to Syn6"):
        names, measure = PROBLEMS[title]
        problems = [load(name, seed).first(ROWS) for name in names for seed in ((0,) if quick else (0, 1, 2))]
        method = Method("default", lambda problem, forward, seed: ours(problem, seed, forward=forward))
        stopping = _found(method, problems, measure)
        with nobody_leaves():
            whole = _found(method, problems, measure)
        saved = 1 - stopping.evaluations / whole.evaluations
        yield (
            f"| {title} | {measure} | {whole.evaluations:.0f} | {stopping.evaluations:.0f} | {saved:.0%} | "
            f"{whole.quality:.3f} | {stopping.quality:.3f} |"
        )
