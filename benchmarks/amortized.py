"""Answers in one pass: a net that proposes gates, beside the solve and Saliency, on rows nobody saw.

`digits`: a small CNN, black baseline, probability of the own class. `table`: breast cancer, 30 columns, an
MLP, the mean as baseline. `wine`: 13 columns, the same; it was not looked at while anything was chosen.
`tokens`: the planted tokens of `bench tokens` and its transformer, gates on the embedding. `syn1` to `syn5`:
P1, `OutputMatch`, zero as the baseline; `syn1-rows` to `syn5-rows`: with 512 rows of the data as references,
so that a certificate is a test on dozens of fresh rows. `taken`: rows whose proposal was certified and taken;
`evals`: of a row, of the proposal alone, with the fallback, and of the solve; `size`: features of the
proposed sets over those of the solve on the same rows, of which both are certified, then of all proposals and
of all rows with the fallback over those of the solve; `first`: share of the true features among the first k,
for proposal, solve and Saliency; `paid back`: rows after which training has cost no more evaluations than it
saves; `rows/s`: of proposals alone, with the fallback, and of the solve, the best of three turns each.

`digits` ends with the check of Have We Learned to Explain? (Jethani et al., 2021),
https://arxiv.org/abs/2103.01890: a second net (EVAL-X), trained on digits of which random pixels are hidden,
sees only the pixels of a set. A set that hides the answer in its places, but shows no evidence, would leave
this net where sets of random pixels of the same size leave it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stg_attr import (
    AmortizedStochasticGates,
    Explanation,
    LayerStochasticGates,
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
    baselines: ReferenceSet | Tensor | None = None
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


def wine() -> Case:
    """Wine."""
    from sklearn.datasets import load_wine

    x, y = (torch.tensor(part) for part in load_wine(return_X_y=True))
    x = ((x - x.mean(0)) / x.std(0)).float()
    return _classifier(nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softmax(1)), x, y)


def tokens() -> Case:
    """Planted tokens."""
    from . import tokens as planted

    task = planted.text_task(32, 1, N_ROWS, 0, 0)
    assert task.embedding is not None
    method = LayerStochasticGates(lambda ids: task.net(ids).softmax(1), task.embedding)
    rows = planted.sequences(4000, 32, 1, 77)[0]
    return Case(method, rows, task.inputs, torch.zeros_like(task.inputs[:1]), task.truth)


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


def synthetic(name: str, references: bool) -> Case:
    """One of P1."""
    from .quality import tabular

    problem = tabular.load(name, 0, n_rows=N_ROWS, n_references=512)
    rows = torch.randn(4000, 11, generator=torch.Generator().manual_seed(77))
    method = StochasticGates(problem.forward, objective=Preserve(OutputMatch()))
    shown = ReferenceSet(problem.data) if references else None
    return Case(method, rows, problem.inputs, shown, problem.truth)


CASES: dict[str, Callable[[], Case]] = {
    "digits": digits,
    "table": table,
    "wine": wine,
    "tokens": tokens,
    **{f"syn{i}": lambda i=i: synthetic(f"syn{i}", False) for i in range(1, 6)},
    **{f"syn{i}-rows": lambda i=i: synthetic(f"syn{i}", True) for i in range(1, 6)},
}


def first(values: Tensor, truth: Tensor) -> float:
    """Share of the true features among the first k, where a row has k of them."""
    rank = values.argsort(1, descending=True).argsort(1)
    found = (rank < truth.sum(1, keepdim=True)) & truth
    return float((found.sum(1) / truth.sum(1)).mean())


def timed(ways: Sequence[Callable[[], Explanation]], n_turns: int) -> tuple[list[Explanation], list[float]]:
    """Explanations in several ways, and rows per second of each: the best of turns in which all take part."""
    found, rates = [], [0.0] * len(ways)
    for _ in range(n_turns):
        found = []
        for i, way in enumerate(ways):
            begun = time.perf_counter()
            found.append(way())
            rates[i] = max(rates[i], len(found[-1]) / (time.perf_counter() - begun))
    return found, rates


def run(name: str, n_epochs: int) -> None:
    """Print a row of the table."""
    case = CASES[name]()
    fast = AmortizedStochasticGates(case.method)
    fast.fit(case.rows, baselines=case.baselines, n_epochs=n_epochs)
    x, shown = case.fresh, case.baselines
    ways = (
        lambda: fast.explain(x, shown, fallback=False),
        lambda: fast.explain(x, shown),
        lambda: case.method.explain(x, shown),
    )
    (alone, both, plain), rates = timed(ways, 3)
    taken = torch.tensor([status is Status.PROPOSED for status in both.status])
    valid = taken & both.certificate.holds & plain.certificate.holds
    sizes = [float(f.n_selected[rows].sum() / plain.n_selected[rows].sum())
             for f, rows in ((both, valid), (alone, slice(None)), (both, slice(None)))]  # fmt: skip
    evals = [float(f.n_evaluations.double().mean()) for f in (alone, both, plain)]
    certified = [float(f.certificate.holds.double().mean()) for f in (alone, both, plain)]
    saved = max(1e-9, evals[2] - evals[1])
    print(
        f"| {name} | {float(taken.double().mean()):.0%} | {' / '.join(f'{e:.1f}' for e in evals)} "
        f"| {' / '.join(f'{s:.2f}' for s in sizes)} | {' / '.join(f'{c:.0%}' for c in certified)} "
        f"| {_shares(case, alone, plain)} | {fast.trained.n_evaluations / saved if fast.trained else 0:.0f} "
        f"| {' / '.join(f'{r:.0f}' for r in rates)} |",
        flush=True,
    )
    if name == "digits":
        leakage(case, alone, plain)


def _shares(case: Case, alone: Explanation, plain: Explanation) -> str:
    """Shares of the true features that come first, where these are known."""
    if case.truth is None:
        return "-"
    values = [alone.log_alpha, plain.log_alpha]
    if case.fresh.is_floating_point():
        values.append(torch.func.grad(lambda rows: case.method.forward_func(rows).sum())(case.fresh).abs())
    return " / ".join(f"{first(v, case.truth):.0%}" for v in values)


def leakage(case: Case, alone: Explanation, plain: Explanation) -> None:
    """Print how often EVAL-X, which sees only a set, agrees with the class of the explained net."""
    answers, made = case.method.forward_func(case.rows).argmax(1), torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        judge = nn.Sequential(nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
                              nn.Linear(256, 10))  # fmt: skip
        optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
        for _ in range(300):
            for rows in torch.split(torch.randperm(len(case.rows), generator=made), 128):
                shown = torch.rand(len(rows), 1, 8, 8, generator=made) < torch.rand(
                    len(rows), 1, 1, 1, generator=made
                )
                optimizer.zero_grad()
                nn.functional.cross_entropy(_judged(judge, case.rows[rows], shown), answers[rows]).backward()
                optimizer.step()
    target = case.method.forward_func(case.fresh).argmax(1)
    print("| EVAL-X sees | pixels | agrees with the class |\n|---|---:|---:|")
    size = alone.n_selected
    random = torch.rand(len(size), 64, generator=made).argsort(1).argsort(1) < size.unsqueeze(1)
    everything = torch.ones_like(random)
    sets = {
        "proposals": alone.selected,
        "sets of the solve": plain.selected,
        "random": random,
        "all": everything,
    }
    for name, chosen in sets.items():
        with torch.no_grad():
            right = _judged(judge, case.fresh, chosen.reshape(-1, 1, 8, 8)).argmax(1) == target
        print(f"| {name} | {chosen.sum(1).double().mean():.1f} | {right.double().mean():.0%} |", flush=True)


def _judged(judge: nn.Module, x: Tensor, shown: Tensor) -> Tensor:
    """Answers of a net that sees pixels, and which of them are hidden."""
    return judge(torch.cat([x * shown, shown.to(x)], 1))  # type: ignore[no-any-return]


def main(arguments: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="bench amortized", description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--epochs", type=int, default=40)
    chosen = parser.parse_args(arguments)
    print("| case | taken | evals | size | certified | first | paid back | rows/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in chosen.cases:
        run(name, chosen.epochs)
    return 0
