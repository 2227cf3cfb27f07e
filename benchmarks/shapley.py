"""Contributions beside exact Shapley values, by enumeration of all sets of up to 12 columns.

Small nets, whose slopes are used, their probabilities, and boosted trees, which have no slopes, on breast
cancer and Wine (the first 12 columns), the table of the shape of California housing of `certificate`, and
Friedman's first function. The baseline is zero, the mean of the standardised columns, or ten rows of data;
then the exact value is the mean over these rows. KernelSHAP is Captum's, on the mean over the rows, as SHAP's
KernelExplainer does it.
PermutationSHAP is written here; the estimators of shapiq are run where it is installed.

`evals`: rows that the model is run on for each example, everything included; `of which`: those that the
contributions were given. `correlation`: Pearson's between contributions and Shapley values of one example,
mean over examples and models, and the tenth percentile; examples whose Shapley values are all below 1e-3
are left out. `sum`: difference between the sum of the contributions
and that of the Shapley values, as a share of the root mean square of the latter sum, mean over examples.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from math import comb
from typing import Any

import numpy as np
import torch
from captum.attr import KernelShap
from torch import Tensor

from stg_attr import ReferenceSet, ScoreFunction, Settings, StochasticGates
from stg_attr.model import ProfileSettings

from .certificate import tables, trained

DATA = ("cancer", "wine", "housing", "friedman")
MOST_COLUMNS, N_REFERENCES, LEAST, SEEDS = 12, 10, 1e-3, range(3)
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A model, rows that it was not trained on, and what they are compared with.

    Attributes:
        forward: rows [rows, columns] -> scores [rows].
        rows: what is explained, [rows, columns].
        references: the baselines, [references, columns].
        slopes: whether the model has slopes.
        seed: of the solve and of KernelSHAP.
    """

    forward: Forward
    rows: Tensor
    references: Tensor
    slopes: bool
    seed: int


@dataclass(frozen=True)
class Row:
    """One method on one case: evaluations an example, and the contributions, [rows, columns]."""

    evaluations: float
    contributions: Tensor


def data(name: str) -> tuple[Tensor, Tensor, bool]:
    """Columns, targets, and whether the targets are classes."""
    if name != "friedman":
        x, y, classes = tables(name)
        return x[:, :MOST_COLUMNS], y, classes
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(2000, n_features=10, noise=1.0, random_state=0)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std(), False


def cases(name: str, kind: str, n_rows: int) -> Iterator[Case]:
    """Models of several seeds, with zero; see `with_rows`. None where there are no probabilities."""
    x, y, classes = data(name)
    if kind == "probability" and not classes:
        return
    for seed in SEEDS:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        train, other = order[: len(x) // 2], order[len(x) // 2 :]
        forward = KINDS[kind](x[train], y[train], classes, seed)
        yield Case(forward, x[other][:n_rows], torch.zeros(1, x.shape[1]), kind != "trees", seed)


def net(x: Tensor, y: Tensor, classes: bool, seed: int) -> Forward:
    """The net of `certificate`; the score is the logit of the first class, or the output."""
    found = trained(x, y, classes, seed)
    return lambda rows: found(rows)[:, 0]


def probability(x: Tensor, y: Tensor, classes: bool, seed: int) -> Forward:
    """The same net; the score is the probability of the first class, which is near 0 or 1 for most rows."""
    found = trained(x, y, classes, seed)
    return lambda rows: found(rows).softmax(1)[:, 0]


def trees(x: Tensor, y: Tensor, classes: bool, seed: int) -> Forward:
    """Boosted trees; the score is the log-odds of the first class, or the output."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    kind = GradientBoostingClassifier if classes else GradientBoostingRegressor
    target = (y == 0).numpy() if classes else y.numpy()
    model = kind(n_estimators=60, max_depth=3, random_state=seed).fit(x.numpy(), target)
    raw = model.decision_function if classes else model.predict
    return lambda rows: torch.as_tensor(raw(rows.detach().numpy()).copy())


#: How a model is made, by its kind.
KINDS = {"net": net, "probability": probability, "trees": trees}


def exact(case: Case) -> Tensor:
    """Shapley values of every row, mean over the references, [rows, columns]."""
    n = case.rows.shape[1]
    sets = torch.tensor(np.array(np.meshgrid(*[[0, 1]] * n, indexing="ij")).reshape(n, -1).T.copy()).bool()
    size = sets.sum(1)
    code = (sets * 2 ** torch.arange(n - 1, -1, -1)).sum(1)
    place = torch.empty(2**n, dtype=torch.long).scatter_(0, code, torch.arange(2**n))
    weight = torch.tensor([1 / (n * comb(n - 1, k)) for k in range(n)], dtype=torch.float64)
    found = []
    for row in case.rows:
        value = _mean_scores(case, row, sets)
        each = []
        for i in range(n):
            without = ~sets[:, i]
            gain = value[place[code[without] + 2 ** (n - 1 - i)]] - value[without]
            each.append((weight[size[without]] * gain).sum())
        found.append(torch.stack(each))
    return torch.stack(found)


def _mean_scores(case: Case, row: Tensor, sets: Tensor) -> Tensor:
    """Mean score over the references with some columns of a row shown, float64 [sets]."""
    scores = [
        case.forward(torch.where(some.unsqueeze(1), row, case.references).flatten(0, 1)).double()
        for some in sets.split(512)
    ]
    return torch.cat(scores).reshape(len(sets), -1).mean(1)


def gates(evaluations: int | None, max_evals: int | None, case: Case) -> Row:
    """The contributions of `explain`."""
    profile = ProfileSettings()
    if evaluations is not None:
        profile = replace(profile, evaluations=evaluations, forwards=evaluations)
    estimator = None if case.slopes else ScoreFunction()
    stg = StochasticGates(case.forward, estimator=estimator, settings=Settings(profile=profile))
    baselines = ReferenceSet(case.references) if len(case.references) > 1 else case.references
    found = stg.explain(case.rows, baselines, seed=case.seed, max_evals=max_evals)
    assert found.contributions is not None
    return Row(float(found.n_evaluations.double().mean()), found.contributions.double())


def kernel_shap(evaluations: int, case: Case) -> Row:
    """Captum's KernelSHAP over the columns that are shown, with as many sets as the evaluations allow."""
    n, found = case.rows.shape[1], []
    n_sets = evaluations // len(case.references)
    with torch.random.fork_rng():
        torch.manual_seed(case.seed)
        np.random.seed(case.seed)
        for row in case.rows:
            method = KernelShap(lambda shown, row=row: _mean_scores(case, row, shown > 0.5))
            found.append(method.attribute(torch.ones(1, n), torch.zeros(1, n), n_samples=n_sets)[0].double())
    return Row(n_sets * len(case.references), torch.stack(found))


def permutation_shap(evaluations: int, case: Case) -> Row:
    """PermutationSHAP: gains along random orders of the columns and along the same orders backwards.

    The empty and the full set are run once, and at least one order is.
    """
    n, found = case.rows.shape[1], []
    n_orders = max(1, (evaluations // len(case.references) - 2) // (2 * (n - 1)))
    generator = torch.Generator().manual_seed(case.seed)
    for row in case.rows:
        forth = torch.rand(n_orders, n, generator=generator).argsort(1)
        orders = torch.cat([forth, forth.flip(1)])
        place = orders.argsort(1)  # of each column in each order
        sets = place.unsqueeze(1) < torch.arange(n + 1)[:, None]  # the first 0, 1, ... n columns
        value = _mean_scores(case, row, sets.flatten(0, 1)).reshape(len(orders), n + 1)
        found.append(value.diff(dim=1).gather(1, place).mean(0))
    return Row((2 + 2 * n_orders * (n - 1)) * len(case.references), torch.stack(found))


def from_shapiq(name: str, evaluations: int, case: Case) -> Row:
    """An estimator of shapiq over the columns that are shown."""
    n, found = case.rows.shape[1], []
    n_sets = evaluations // len(case.references)
    for row in case.rows:

        def game(sets: Any, row: Tensor = row) -> Any:
            return _mean_scores(case, row, torch.as_tensor(sets, dtype=torch.bool)).numpy()

        package: Any = importlib.import_module("shapiq.approximator")
        order = {"max_order": 2} if name == "kADDSHAP" else {}
        values = getattr(package, name)(n=n, random_state=case.seed, **order).approximate(n_sets, game)
        found.append(torch.tensor([float(values[(i,)]) for i in range(n)], dtype=torch.float64))
    return Row(n_sets * len(case.references), torch.stack(found))


METHODS: dict[str, tuple[str, Callable[[Case], Row]]] = {
    "**gates**, default": ("64 or 256", lambda case: gates(None, None, case)),
    "**gates**, `max_evals=300`": ("a quarter at most", lambda case: gates(None, 300, case)),
    "**gates**, `ProfileSettings(300, 300)`": ("300", lambda case: gates(300, None, case)),
    "KernelSHAP, 64": ("all", lambda case: kernel_shap(64, case)),
    "KernelSHAP, 300": ("all", lambda case: kernel_shap(300, case)),
    "KernelSHAP, 1000": ("all", lambda case: kernel_shap(1000, case)),
    "PermutationSHAP, 300": ("all", lambda case: permutation_shap(300, case)),
}
if find_spec("shapiq") is not None:
    METHODS |= {
        f"shapiq, {name}, 300": ("all", partial(from_shapiq, name, 300))
        for name in ("KernelSHAP", "kADDSHAP", "SVARM")
    }


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's of each row, [rows]."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def line(label: str, given: str, rows: list[Row], truths: list[Tensor]) -> str:
    """One line of a table."""
    pairs = list(zip(rows, truths, strict=True))
    found = torch.cat([correlation(row.contributions, truth) for row, truth in pairs])
    off = [
        (row.contributions - truth).sum(1).abs() / truth.sum(1).square().mean().sqrt() for row, truth in pairs
    ]
    means = [float(correlation(row.contributions, truth).mean()) for row, truth in pairs]
    evaluations = statistics.fmean(row.evaluations for row in rows)
    return (
        f"| {label} | {evaluations:.0f} | {given} | {found.mean():.3f} ± {statistics.stdev(means):.3f} | "
        f"{found.quantile(0.1):.3f} | {torch.cat(off).mean():.1%} |"
    )


def told(case: Case) -> tuple[Case, Tensor]:
    """The case without rows that have nothing to explain, and the Shapley values of the others."""
    truth = exact(case)
    kept = truth.abs().amax(1) > LEAST
    return replace(case, rows=case.rows[kept]), truth[kept]


def with_rows(case: Case, name: str) -> Case:
    """The same with rows of the data as baselines."""
    x = data(name)[0]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(case.seed + 100))
    return replace(case, references=x[order[:N_REFERENCES]])


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench shapley", description=__doc__)
    parser.add_argument("data", nargs="*", choices=[*DATA, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="5 rows of each model instead of 20")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    for name in options.data or DATA:
        for kind in KINDS:
            zero = list(cases(name, kind, 5 if options.quick else 20))
            for baseline, all_rows in (("zero", zero), ("rows", [with_rows(case, name) for case in zero])):
                pairs = [pair for pair in map(told, all_rows) if len(pair[0].rows)]
                if not pairs:
                    continue
                some, truths = zip(*pairs, strict=True)
                n_rows = sum(len(case.rows) for case in some)
                print(f"\n{name}, {kind}, {baseline} ({len(some)} models, {n_rows} rows)\n")
                print("| method | evals | of which | correlation | 10th percentile | sum |")
                print("|---|---:|---:|---:|---:|---:|")
                for label, (given, method) in METHODS.items():
                    print(line(label, given, [method(case) for case in some], list(truths)), flush=True)
    return 0
