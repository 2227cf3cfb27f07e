"""Certificates: how often what is certified is true, for reference rows that nobody searched with.

Nets on breast cancer, Wine, digits, and a generated table of the shape of California housing. References are
drawn from
a population that can be drawn from again: rows of the data with a little noise. An explanation sees 256 of
    them; the
truth is the mean over 4,000 others. `coverage`: share of the certified examples whose claim is true, with its
exact 95 % interval; `certified`: share of the examples that have a truly sufficient set smaller than all
features; `size`: features of certified sets over those of the smallest truly sufficient prefix of the same
ranking, all together and the median; `evals` with the certificate and without.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from captum.attr import IntegratedGradients, ShapleyValueSampling
from scipy.stats import binomtest
from torch import Tensor, nn

from stg_attr import OutputMatch, Preserve, ReferenceSet, Settings, StochasticGates, Sweep
from stg_attr.attribution.certificate import Certifier
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.model import Allowance, GatedModel, Scorer, undisturbed
from stg_attr.objective import Objective
from stg_attr.select import Claim, OnAverage, OnMost, Ranking
from stg_attr.select.testing import held_out

RETAIN = 0.9
N_REFERENCES, N_TRUTH = 256, 4000
NET_SEEDS = range(3)


@dataclass(frozen=True)
class Case:
    """A net, rows that it was not trained on, and a population of references.

    Attributes:
        name: of the data.
        net: the net.
        rows: what is explained, [rows, columns].
        draw: draws so many references by a seed, [references, columns].
    """

    name: str
    net: nn.Module
    rows: Tensor
    draw: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Found:
    """What was found for one example: certified, true, sizes, whether smaller sets suffice, evaluations."""

    certified: bool
    true: bool
    size: int
    smallest: int
    possible: bool
    evaluations: int


def tables(name: str) -> tuple[Tensor, Tensor, bool]:
    """Columns, targets, and whether the targets are classes."""
    from sklearn import datasets

    if name == "housing":
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(4000, 8, generator=generator)
        x[:, 1] += 0.6 * x[:, 0]
        x[:, 6:] = torch.sin(2 * x[:, 6:]) + 0.3 * x[:, 6:]
        y = 2 * x[:, 0] + x[:, 5].abs() - (x[:, 6] * x[:, 7]) + 0.5 * torch.relu(x[:, 2] - x[:, 3])
        return x, y + 0.2 * torch.randn(4000, generator=generator), False
    load = {"cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "digits": datasets.load_digits}
    x, y = load[name](return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    scale = 16.0 if name == "digits" else x.std(0) + 1e-9
    return (x if name == "digits" else x - x.mean(0)) / scale, y, True


def cases(name: str, n_rows: int) -> Iterator[Case]:
    """Nets of several seeds on different halves of the data."""
    x, y, classes = tables(name)
    for seed in NET_SEEDS:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        train, other = order[: len(x) // 2], order[len(x) // 2 :]
        net = trained(x[train], y[train], classes, seed)
        noise = 0.0 if name == "digits" else 0.1

        def draw(n: int, seed: int, pool: Tensor = x[train], noise: float = noise) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            rows = pool[torch.randint(len(pool), (n,), generator=generator)]
            return rows + noise * torch.randn(rows.shape, generator=generator)

        yield Case(name, net, x[other][:n_rows], draw)


def trained(x: Tensor, y: Tensor, classes: bool, seed: int) -> nn.Module:
    """A small MLP."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        n_outputs = int(y.max()) + 1 if classes else 1
        net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, n_outputs))
        optimizer = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=1e-3)
        for _ in range(200):
            optimizer.zero_grad()
            output = net(x)
            loss = nn.functional.cross_entropy(output, y) if classes else (output[:, 0] - y).square().mean()
            loss.backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


class Truth:
    """What selections of one example truly keep, over the population of references."""

    def __init__(self, case: Case, example: int, target: int, objective: Objective, claim: Claim) -> None:
        self.case, self.x, self.target = case, case.rows[example], target
        self.references = case.draw(N_TRUTH, 10_000)
        self.match, self.claim = isinstance(objective.fidelity, OutputMatch), claim
        self.full = float(case.net(self.x.unsqueeze(0))[0, target])
        self.baseline = case.net(self.references)[:, target]

    def holds(self, selected: Tensor) -> bool:
        """Whether the claim is true of a selection, bool [columns]."""
        output = self.case.net(torch.where(selected, self.x, self.references))
        scores, span = output[:, self.target], self.full - float(self.baseline.mean())
        if isinstance(self.claim, OnMost):
            shares = (scores - self.baseline.mean()) / span
            kept = output.argmax(1) == self.target if self.claim.same_class else shares >= RETAIN
            return float(kept.double().mean()) >= self.claim.share
        if self.match:
            scale = (self.baseline - self.full).square().mean().sqrt()
            return 1 - float((scores - self.full).abs().mean() / scale) >= RETAIN
        return (float(scores.mean()) - float(self.baseline.mean())) / span >= RETAIN

    def smallest(self, order: Tensor) -> int:
        """Size of the shortest beginning of an order for which the claim is true; all if none is."""
        selected = torch.zeros_like(self.x, dtype=torch.bool)
        for size, column in enumerate(order.tolist(), start=1):
            selected[column] = True
            if self.holds(selected):
                return size
        return len(order)


def ours(case: Case, objective: Objective, claim: Claim | None, seed: int) -> tuple[Tensor, ...]:
    """Certified, selected, order, evaluations and targets of the default method."""
    stg = StochasticGates(case.net, objective=objective, sparsity=Sweep(retain=RETAIN, claim=claim))
    found = stg.explain(case.rows, ReferenceSet(case.draw(N_REFERENCES, seed)), target=_target(case))
    holds = torch.zeros(len(case.rows), dtype=torch.bool)
    if found.certificate is not None:
        holds = found.certificate.holds
    order = found.log_alpha.argsort(dim=1, descending=True, stable=True)
    return holds, found.selected, order, found.n_evaluations, _targets(case)


def peer(case: Case, objective: Objective, claim: Claim, seed: int, name: str) -> tuple[Tensor, ...]:
    """The same of another method's order, cut where the same test passes."""
    references, targets = case.draw(N_REFERENCES, seed), _targets(case)
    if name == "Integrated Gradients":
        method, spent = IntegratedGradients(case.net), 50
        values = method.attribute(case.rows, references.mean(0, keepdim=True), target=targets, n_steps=50)
    else:
        method, n = ShapleyValueSampling(case.net), 12
        baseline = references.mean(0, keepdim=True)
        values = method.attribute(case.rows, baseline, target=targets, n_samples=n)
        spent = 1 + n * case.rows.shape[1]
    settings, sparsity = Settings(), Sweep(retain=RETAIN, claim=claim)
    groups = FeatureGroups.from_mask(None, (case.rows,))
    kept = partial(held_out, sparsity=sparsity, settings=settings.certificate)
    blend = Blend.of((case.rows,), ReferenceSet(references), groups, kept)
    with undisturbed(case.net, torch.device("cpu"), 0):
        scorer = Scorer(case.net, (), len(case.rows))
        model = GatedModel(blend, scorer, objective, targets.unsqueeze(1), None)
        certifier = Certifier(model, sparsity, settings.certificate, Allowance())
        ranking = Ranking.of(values.detach().double(), torch.ones_like(values, dtype=torch.bool))
        ranking, count, certificate = certifier.certified(ranking, torch.ones(len(values), dtype=torch.long))
    selected = ranking.top(count.unsqueeze(1))[0]
    return certificate.holds, selected, ranking.rank.argsort(1), model.evaluations + spent, targets


def _targets(case: Case) -> Tensor:
    return case.net(case.rows).argmax(1)


def _target(case: Case) -> list[int]:
    return [int(target) for target in _targets(case)]


def judged(case: Case, objective: Objective, claim: Claim, results: tuple[Tensor, ...]) -> list[Found]:
    """Each example's result against the truth."""
    holds, selected, order, evaluations, targets = results
    found = []
    for i in range(len(case.rows)):
        truth = Truth(case, i, int(targets[i]), objective, claim)
        smallest = truth.smallest(order[i])
        found.append(
            Found(
                bool(holds[i]),
                truth.holds(selected[i]),
                int(selected[i].sum()),
                smallest,
                smallest < selected.shape[1],
                int(evaluations[i]),
            )
        )
    return found


def row(found: list[Found], without: float | None) -> str:
    """A row of the table."""
    certified = [one for one in found if one.certified]
    possible = [one for one in found if one.possible]
    true = sum(one.true for one in certified)
    evals = f"{statistics.mean(one.evaluations for one in found):.0f}"
    evals += "" if without is None else f" ({without:.0f})"
    if not certified:
        return f"{len(found)} | 0 | - | - | {evals} |"
    low, high = binomtest(true, len(certified)).proportion_ci(0.95, "exact")
    share = sum(one.certified for one in possible) / max(1, len(possible))
    total = sum(one.size for one in certified) / sum(one.smallest for one in certified)
    median = statistics.median(one.size / one.smallest for one in certified)
    coverage = f"{true / len(certified):.1%} ({low:.1%} to {high:.1%}) of {len(certified)}"
    return f"{len(found)} | {share:.0%} | {coverage} | {total:.2f}, {median:.2f} | {evals} |"


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench certificate", description=__doc__)
    parser.add_argument("--rows", type=int, default=85, help="examples of each net")
    parser.add_argument("--quick", action="store_true", help="ten examples of each net")
    options = parser.parse_args(arguments)
    n_rows = 10 if options.quick else options.rows
    questions: list[tuple[str, Objective, Claim]] = [
        ("`Preserve()`, `OnAverage()`", Preserve(), OnAverage()),
        ("`Preserve(OutputMatch())`, `OnAverage()`", Preserve(OutputMatch()), OnAverage()),
        ("`Preserve()`, `OnMost(0.9)`", Preserve(), OnMost(share=0.9)),
        ("`Preserve()`, `OnMost(0.95, same_class=True)`", Preserve(), OnMost(share=0.95, same_class=True)),
    ]
    print("| data | question | examples | certified | coverage | size | evals |")
    print("|---|---|---:|---:|---|---:|---:|")
    for name in ("cancer", "wine", "digits", "housing"):
        some = list(cases(name, n_rows))
        for title, objective, claim in questions:
            if name == "housing" and isinstance(claim, OnMost) and claim.same_class:
                continue  # it has no classes
            found: list[Found] = []
            without: list[float] = []
            for seed, case in enumerate(some):
                found += judged(case, objective, claim, ours(case, objective, claim, seed))
                without.append(float(ours(case, objective, None, seed)[3].double().mean()))
            print(f"| {name} | {title} | {row(found, statistics.mean(without))}", flush=True)
        for method in ("Integrated Gradients", "Shapley sampling"):
            found = []
            for seed, case in enumerate(some):
                results = peer(case, Preserve(), OnAverage(), seed, method)
                found += judged(case, Preserve(), OnAverage(), results)
            print(f"| {name} | {method}, cut where `OnAverage()` passes | {row(found, None)}", flush=True)
    return 0
