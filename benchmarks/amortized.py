"""Answers in one pass: a net that proposes gates, beside the solve and Saliency, on rows nobody saw.

`digits`: a small CNN, black baseline, probability of the own class. `table`: breast cancer, 30 columns, an
MLP, the mean as baseline. `syn1` to `syn5`: P1, `OutputMatch` with 512 rows of the data as references, so
that a certificate is a test on some ten fresh rows or more. `taken`: rows whose proposal was certified and
taken; `evals`: of a row, of the proposal alone and with the fallback, and of the solve; `size`: features of
the proposed sets over those of the solve on the same rows, of which both are certified; `first`: share of the
true features among the first k (P1), for proposal, solve and Saliency; `paid back`: rows after which training
has cost no more evaluations than it saves; `rows/s`: of proposals alone, with the fallback, and of the solve.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stg_attr import (
    AmortizedStochasticGates,
    Explanation,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Status,
    StochasticGates,
)

N_ROWS = 100


@dataclass(frozen=True)
class Case:
    """A question, rows to learn from, others to explain, and the features that these need, if known."""

    method: StochasticGates
    rows: Tensor
    fresh: Tensor
    baselines: ReferenceSet | None = None
    truth: Tensor | None = None


def digits() -> Case:
    """The CNN of the first row of the tutorials."""
    from sklearn.datasets import load_digits

    x, y = (torch.tensor(part) for part in load_digits(return_X_y=True))
    x = x.float().reshape(-1, 1, 8, 8) / 16
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10), nn.Softmax(1),
    )  # fmt: skip
    return _classifier(net, x, y)


def table() -> Case:
    """Breast cancer."""
    from sklearn.datasets import load_breast_cancer

    x, y = (torch.tensor(part) for part in load_breast_cancer(return_X_y=True))
    x = ((x - x.mean(0)) / x.std(0)).float()
    return _classifier(nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2), nn.Softmax(1)), x, y)


def _classifier(net: nn.Sequential, x: Tensor, y: Tensor) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in net:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        order = torch.randperm(len(x))
        learned, other = order[: -len(x) // 5], order[-len(x) // 5 :]
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(15):
            for rows in torch.split(learned[torch.randperm(len(learned))], 64):
                optimizer.zero_grad()
                nn.functional.nll_loss(net(x[rows]).clamp_min(1e-7).log(), y[rows]).backward()
                optimizer.step()
    net.eval().requires_grad_(False)
    return Case(StochasticGates(net), x[learned], x[other][:N_ROWS])


def synthetic(name: str) -> Case:
    """One of P1."""
    from .quality import tabular

    problem = tabular.load(name, 0, n_rows=N_ROWS, n_references=512)
    rows = torch.randn(10_000, 11, generator=torch.Generator().manual_seed(77))
    method = StochasticGates(problem.forward, objective=Preserve(OutputMatch()))
    return Case(method, rows, problem.inputs, ReferenceSet(problem.data), problem.truth)


CASES: dict[str, Callable[[], Case]] = {
    "digits": digits,
    "table": table,
    **{f"syn{i}": lambda i=i: synthetic(f"syn{i}") for i in range(1, 6)},
}


def first(values: Tensor, truth: Tensor) -> float:
    """Share of the true features among the first k, where a row has k of them."""
    rank = values.argsort(1, descending=True).argsort(1)
    found = (rank < truth.sum(1, keepdim=True)) & truth
    return float((found.sum(1) / truth.sum(1)).mean())


def timed(explain: Callable[[], Explanation]) -> tuple[Explanation, float]:
    """An explanation, and rows per second."""
    begun = time.perf_counter()
    found = explain()
    return found, len(found) / (time.perf_counter() - begun)


def run(name: str, n_epochs: int) -> None:
    """Print a row of the table."""
    case = CASES[name]()
    fast = AmortizedStochasticGates(case.method)
    fast.fit(case.rows, baselines=case.baselines, n_epochs=n_epochs)
    x, shown = case.fresh, case.baselines
    alone, rate = timed(lambda: fast.explain(x, shown, fallback=False))
    both, mended = timed(lambda: fast.explain(x, shown))
    plain, slow = timed(lambda: case.method.explain(x, shown))
    taken = torch.tensor([status is Status.PROPOSED for status in both.status])
    valid = taken & both.certificate.holds & plain.certificate.holds
    size = float(both.n_selected[valid].sum() / plain.n_selected[valid].sum())
    evals = [float(f.n_evaluations.double().mean()) for f in (alone, both, plain)]
    shares = "-"
    if case.truth is not None:
        gradient = torch.func.grad(lambda rows: case.method.forward_func(rows).sum())(x).abs()
        values = (alone.log_alpha, plain.log_alpha, gradient)
        shares = " / ".join(f"{first(v, case.truth):.0%}" for v in values)
    certified = [float(f.certificate.holds.double().mean()) for f in (both, plain)]
    saved = max(1e-9, evals[2] - evals[1])
    print(
        f"| {name} | {float(taken.double().mean()):.0%} | {evals[0]:.0f} / {evals[1]:.0f} / {evals[2]:.0f} "
        f"| {size:.2f} | {certified[0]:.0%} / {certified[1]:.0%} | {shares} "
        f"| {fast.trained.n_evaluations / saved if fast.trained else 0:.0f} "
        f"| {rate:.0f} / {mended:.0f} / {slow:.0f} |",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="bench amortized", description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--epochs", type=int, default=40)
    chosen = parser.parse_args(arguments)
    print("| case | taken | evals | size | certified, both | first | paid back | rows/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in chosen.cases:
        run(name, chosen.epochs)
    return 0
