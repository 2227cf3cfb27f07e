"""One set of features for a whole population: the smallest that keeps 90 % of the score on rows nobody saw.

Nets on four tables, three seeds each. `copies`: 24 columns, of which eight decide and the others are noisy
copies of these or noise; the net sees all. `cancer`: 30 columns, of which many tell each other. `digits`: 64
pixels. `wine` was not looked at while anything was chosen. The score of a row is the probability of its own
predicted class; hidden columns show those of a random other row. Each method gets the same rows and, but for
rounding, the evaluations that the shared gates took. Its first k columns are measured on other rows, all with
32 other references. `k`: the smallest k from which on 90 % of the mean score is kept, mean over seeds, and
from the smallest to the largest; `certified`: the size of the certified set, what it truly keeps there, and
for how many of the seeds it was certified.

`--certified N`: the size of certified sets, and whether what is claimed is true. The population is a part of
the table, of which rows and references are drawn with replacement N times, and another number of rows each
time; a net that was trained on other rows is explained. So what a set truly keeps is known exactly, from all
pairs of a row and a reference. `certified`: the size, mean; `smallest`: the first columns in the same order
that truly keep 90 %; `false`: certified sets that keep less.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from captum.attr import ShapleyValueSampling
from torch import Tensor, nn

from stg_attr import ReferenceSet, SharedStochasticGates, StochasticGates

RETAIN, SEEDS, N_REFERENCES = 0.9, range(3), 32
PERMUTATIONS = 5  # of each row, for mean absolute Shapley values


@dataclass(frozen=True)
class Case:
    """A net that returns probabilities, rows and labels to explain it with, and others to judge by."""

    net: Callable[[Tensor], Tensor]
    rows: Tensor
    labels: Tensor
    fresh: Tensor
    references: Tensor


def table(name: str) -> tuple[Tensor, Tensor]:
    """Columns and classes."""
    from sklearn import datasets

    if name == "copies":
        made = torch.Generator().manual_seed(0)
        own = torch.randn(3000, 8, generator=made)
        copies = own + 0.5 * torch.randn(3000, 8, generator=made)
        noise = torch.randn(3000, 8, generator=made)
        score = own[:, 0] * own[:, 1] + own[:, 2:5].sum(1) - own[:, 5].abs() + own[:, 6] * (own[:, 7] > 0)
        return torch.cat([own, copies, noise], 1), (score > score.median()).long()
    load = {"cancer": datasets.load_breast_cancer, "digits": datasets.load_digits, "wine": datasets.load_wine}
    x, y = load[name](return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    return (x - x.mean(0)) / (x.std(0) + 1e-6), torch.tensor(y)


def case(name: str, seed: int) -> Case:
    """A net that is trained on half of the rows, on which it is explained, too."""
    x, y = table(name)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    own, other = order[: len(x) // 2], order[len(x) // 2 :]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                            nn.Linear(64, int(y.max()) + 1), nn.Softmax(1))  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-3)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.nll_loss(net(x[own]).clamp_min(1e-6).log(), y[own]).backward()
            optimizer.step()
    net.eval().requires_grad_(False)
    return Case(net, x[own], y[own], x[other], x[other][torch.arange(N_REFERENCES)])


def kept(case: Case, sets: Tensor) -> Tensor:
    """Share of the mean score that sets keep, bool [sets, columns], over fresh rows; [sets]."""
    full, own = case.net(case.fresh).max(1)

    def score(shown: Tensor) -> Tensor:
        mixed = torch.where(shown, case.fresh, case.references.unsqueeze(1))
        found = case.net(mixed.flatten(0, 1)).gather(1, own.repeat(len(case.references)).unsqueeze(1))
        return found.mean()

    nothing = score(torch.zeros_like(sets[0]))
    return torch.stack([(score(one) - nothing) / (full.mean() - nothing) for one in sets])


def smallest(case: Case, importance: Tensor) -> int:
    """The smallest k from which on the first k columns keep 90 %."""
    rank = importance.argsort(descending=True, stable=True).argsort()
    sizes = torch.arange(len(rank) + 1)
    enough = kept(case, rank < sizes.unsqueeze(1)) >= RETAIN
    return int(sizes[~enough].max()) + 1


def permutation(case: Case, evaluations: int, seed: int) -> Tensor:
    """Permutation importance of scikit-learn, of the cross-entropy."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.inspection import permutation_importance

    class Model(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
        def fit(self, x: object, y: object) -> Model:
            return self

        def score(self, x: np.ndarray, y: np.ndarray) -> float:
            output = case.net(torch.tensor(x, dtype=torch.float32)).clamp_min(1e-6).log()
            return -float(nn.functional.nll_loss(output, torch.tensor(y)))

    rows, n = case.rows.numpy(), case.rows.shape[1]
    repeats = max(1, round(evaluations / (n * len(rows))))
    found = permutation_importance(Model(), rows, case.labels.numpy(), n_repeats=repeats, random_state=seed)
    return torch.tensor(found.importances_mean)


def shapley(case: Case, evaluations: int, seed: int) -> Tensor:
    """Mean absolute Shapley values of the score of the own class, each row against another reference."""
    made, n = torch.Generator().manual_seed(seed), case.rows.shape[1]
    n_rows = max(1, evaluations // (PERMUTATIONS * (n + 1)))
    some = case.rows[torch.randint(len(case.rows), (n_rows,), generator=made)]
    others = case.rows[torch.randint(len(case.rows), (n_rows,), generator=made)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = ShapleyValueSampling(case.net)
        values = method.attribute(some, others, target=case.net(some).argmax(1), n_samples=PERMUTATIONS)
    return values.abs().mean(0)


def sage(case: Case, evaluations: int, seed: int) -> Tensor:
    """SAGE of the cross-entropy with labels: each permutation of a row shows 16 references."""
    import sage as package

    np.random.seed(seed)
    rows, n, shown = case.rows.numpy(), case.rows.shape[1], 16
    imputer = package.MarginalImputer(
        lambda x: case.net(torch.tensor(x, dtype=torch.float32)).numpy(), rows[:shown]
    )
    estimator = package.PermutationEstimator(imputer, "cross entropy")
    n_permutations = max(1, evaluations // (shown * n))
    found = estimator(rows, case.labels.numpy(), batch_size=min(64, n_permutations),
                      n_permutations=n_permutations, detect_convergence=False, bar=False)  # fmt: skip
    return torch.tensor(found.values)


N_TRULY = 400, 150  # rows and references of a population that is known exactly
N_DRAWN = 200, 600, 2000


def population(name: str) -> Case:
    """A net, and rows and references that it was not trained on, which are the population."""
    rows, n_references = N_TRULY
    one = case(name, 0)
    rows = min(rows, len(one.fresh))
    return replace(one, rows=one.fresh[:rows], fresh=one.fresh[:rows], references=one.fresh[-n_references:])


def certified(name: str, n_repeats: int) -> None:
    """Print how large certified sets are, and how many of their claims are false."""
    one = population(name)
    for n_rows in N_DRAWN:
        sizes, smallest_sizes, true, spent = [], [], [], []
        for seed in range(n_repeats):
            made = torch.Generator().manual_seed(seed)
            rows, references = (
                pool[torch.randint(len(pool), (n_rows,), generator=made)]
                for pool in (one.rows, one.references)
            )
            shared = SharedStochasticGates(StochasticGates(one.net))
            found = shared.explain(rows, baselines=ReferenceSet(references), seed=seed)
            spent.append(int(found.n_evaluations))
            if bool(found.certificate.holds):
                sizes.append(int(found.n_selected))
                smallest_sizes.append(smallest(one, found.log_alpha[0]))
                true.append(float(kept(one, found.selected)) >= RETAIN)
        size = f"{statistics.mean(sizes):.1f} ({min(sizes)}-{max(sizes)})" if sizes else "-"
        least = f"{statistics.mean(smallest_sizes):.1f}" if sizes else "-"
        print(
            f"| {name} | {n_rows} | {len(sizes)} of {n_repeats} | {len(true) - sum(true)} | {size} | {least} "
            f"| {statistics.mean(spent):.0f} |",
            flush=True,
        )


PEERS = {"permutation importance": permutation, "mean |Shapley|": shapley, "SAGE": sage}


def run(name: str) -> None:
    """Print the rows of one table."""
    sizes: dict[str, list[int]] = {}
    certified: list[tuple[int, float, bool]] = []
    spent = 0
    for seed in SEEDS:
        one = case(name, seed)
        shared = SharedStochasticGates(StochasticGates(one.net))
        found = shared.explain(one.rows, baselines=ReferenceSet(one.rows), seed=seed)
        spent = int(found.n_evaluations)
        sizes.setdefault("shared gates", []).append(smallest(one, found.log_alpha[0]))
        certified.append(
            (int(found.n_selected), float(kept(one, found.selected)), bool(found.certificate.holds))
        )
        for peer, method in PEERS.items():
            if peer == "SAGE" and importlib.util.find_spec("sage") is None:
                continue
            sizes.setdefault(peer, []).append(smallest(one, method(one, spent, seed)))
    for method_name, values in sizes.items():
        note = ""
        if method_name == "shared gates":
            size, share = (statistics.mean(c[i] for c in certified) for i in (0, 1))
            note = f"{size:.1f} columns, keep {share:.0%}, {sum(c[2] for c in certified)} of {len(SEEDS)}"
        print(
            f"| {name} | {method_name} | {statistics.mean(values):.1f} ({min(values)}-{max(values)}) "
            f"| {spent} | {note} |",
            flush=True,
        )


def main(arguments: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="bench population", description=__doc__)
    parser.add_argument("tables", nargs="*", default=["copies", "cancer", "digits", "wine"])
    parser.add_argument("--certified", type=int, default=0, metavar="N", help="claims against the truth")
    chosen = parser.parse_args(arguments)
    if chosen.certified:
        print("| table | rows | certified | false | size | smallest | evaluations |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name in chosen.tables:
            certified(name, chosen.certified)
        return 0
    print("| table | method | k | evaluations | certified |\n|---|---|---:|---:|---|")
    for name in chosen.tables:
        run(name)
    return 0
