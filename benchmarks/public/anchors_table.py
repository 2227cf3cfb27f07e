"""Anchors' notion: the smallest set of features that keeps the class with a precision of .95.

The precision of a set is the share of reference rows for which the class stays when the features of the set
keep the values of the example and all others take those of the row (Anchors: High-Precision Model-Agnostic
Explanations, Ribeiro, Singh, Guestrin 2018, https://doi.org/10.1609/aaai.v32i1.11491). All methods may draw
from the same 256 references; the truth is the share of 4,000 others.

`size`: features, mean and the largest; `true`: share of the examples whose true precision is .95 at least;
`precision`: its mean and the least; `claimed`: share of the examples for which the method claims .95, and
`false`: how many of these claims are not true; `evals`: rows that the net is run on. `greedy, truth`: the
features that raise the true precision most, one after the other: what could be reached.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stg_attr import OnMost, Preserve, ReferenceSet, StochasticGates, Sweep

from .. import certificate

PRECISION, N_REFERENCES, N_TRUTH = 0.95, 256, 4000
DELTA, TAU, BEAM, BATCH = 0.05, 0.15, 1, 100  # of Anchors; but for the first, its defaults for tables
COVERAGE_ROWS = 1000
LEVELS = (3, 4, 3, 5, 2, 4, 3, 3)  # values of the columns of the table with categories


@dataclass
class Case:
    """A net, rows and references.

    Attributes:
        net: rows [rows, elements] -> scores [rows, classes].
        rows: what is explained, [rows, elements].
        references: what methods see, [references, elements].
        truth: other rows of the same population, [rows, elements].
        mask: feature of every element, [elements].
    """

    net: nn.Module
    rows: Tensor
    references: Tensor
    truth: Tensor
    mask: Tensor

    def kept(self, x: Tensor, some: Tensor, rows: Tensor) -> Tensor:
        """Whether the class stays, bool [rows], where `some` [features] keep the values of x [elements]."""
        shown = torch.where(some[self.mask], x, rows)
        stays: Tensor = self.net(shown).argmax(1) == self.net(x.unsqueeze(0)).argmax(1)
        return stays

    def precision(self, x: Tensor, some: Tensor) -> float:
        """True precision."""
        return float(self.kept(x, some, self.truth).double().mean())


@dataclass(frozen=True)
class Found:
    """Of one example: the set [features], whether a precision of .95 is claimed, rows evaluated."""

    some: Tensor
    claimed: bool
    evaluations: int


def categories(seed: int, n_rows: int) -> Case:
    """A table of eight columns with 2 to 5 values each, as 0 and 1; two rules of two columns decide."""
    drawn = np.random.default_rng(seed)
    values = np.stack([drawn.choice(n, 6000, p=_shares(n)) for n in LEVELS], 1)
    first = (values[:, 0] == 1) & (values[:, 3] >= 3)
    second = (values[:, 1] == 2) & (values[:, 5] != 0)
    y = torch.from_numpy((first | second) ^ (drawn.random(6000) < 0.02)).long()
    x = torch.cat(
        [nn.functional.one_hot(torch.from_numpy(c), n) for c, n in zip(values.T, LEVELS, strict=True)], 1
    )
    x = x.float()
    net = certificate.trained(x[:1500], y[:1500], True, seed)
    mask = torch.arange(len(LEVELS)).repeat_interleave(torch.tensor(LEVELS))
    some = x[1500 : 1500 + N_REFERENCES]
    return Case(net, x[5900 : 5900 + n_rows], some, x[1800 : 1800 + N_TRUTH], mask)


def _shares(n: int) -> np.ndarray:  # type: ignore[type-arg]
    shares = np.arange(n, 0, -1.0)
    return shares / shares.sum()


def cases(name: str, seeds: range, n_rows: int) -> Iterator[Case]:
    """Nets of several seeds."""
    if name == "categories":
        yield from (categories(seed, n_rows) for seed in seeds)
        return
    for seed, case in zip(seeds, certificate.cases(name, n_rows), strict=False):
        references, truth = case.draw(N_REFERENCES, seed), case.draw(N_TRUTH, 10_000)
        yield Case(case.net, case.rows, references, truth, torch.arange(case.rows.shape[1]))


def gates(case: Case, seed: int) -> list[Found]:
    """The sets of `explain` with the claim of this precision."""
    claim = OnMost(share=PRECISION, same_class=True)
    stg = StochasticGates(case.net, objective=Preserve(), sparsity=Sweep(claim=claim))
    references = ReferenceSet(case.references)
    found = stg.explain(case.rows, references, feature_mask=case.mask.unsqueeze(0), seed=seed)
    assert found.certificate is not None
    lists = (found.selected, found.certificate.holds.tolist(), found.n_evaluations.tolist())
    return [Found(some, holds, evaluations) for some, holds, evaluations in zip(*lists, strict=True)]


def greedy(case: Case, rows: Tensor) -> list[Found]:
    """Add the feature that raises the precision on these rows most, until it is .95."""
    found = []
    for x in case.rows:
        some = torch.zeros(int(case.mask.max()) + 1, dtype=torch.bool)
        evaluations = 0
        while not some.all():
            each = []
            for feature in (~some).nonzero()[:, 0].tolist():
                more = some.clone()
                more[feature] = True
                each.append((float(case.kept(x, more, rows).double().mean()), -feature))
            evaluations += len(each) * len(rows)
            best, feature = max(each)
            some[-feature] = True
            if best >= PRECISION:
                break
        found.append(Found(some, True, evaluations))
    return found


def anchors(case: Case, seed: int) -> list[Found]:
    """The beam search with KL-LUCB of the authors' package, for features that keep their values.

    It claims where the lower bound of the precision at a confidence of .95 is above .90, its default.
    """
    beam: Any = importlib.import_module("anchor.anchor_base").AnchorBaseBeam
    np.random.seed(seed)
    found = []
    for x in case.rows:
        evaluations = 1

        def sample(
            present: list[int], n: int, compute_labels: bool = True, x: Tensor = x
        ) -> tuple[Any, Any, Any]:
            nonlocal evaluations
            some = torch.zeros(int(case.mask.max()) + 1, dtype=torch.bool)
            some[list(present)] = True
            rows = case.references[torch.from_numpy(np.random.randint(len(case.references), size=n))]
            shared = torch.ones(n, len(some), dtype=torch.long)
            shared.scatter_reduce_(1, case.mask.expand(n, -1), (rows == x).long(), "amin")
            shared[:, some] = 1  # the search counts a row for every set whose values it shares
            labels: Any = []
            if compute_labels:
                evaluations += n
                labels = case.kept(x, some, rows).long().numpy()
            return np.zeros((n, 1)), shared.numpy(), labels

        settings = {"delta": DELTA, "epsilon": TAU, "batch_size": BATCH, "beam_size": BEAM}
        got = beam.anchor_beam(
            sample, desired_confidence=PRECISION, coverage_samples=COVERAGE_ROWS, **settings
        )
        some = torch.zeros(int(case.mask.max()) + 1, dtype=torch.bool)
        some[[int(feature) for feature in got["feature"]]] = True
        claimed = (got["mean"][-1] if got["mean"] else got["all_precision"]) >= PRECISION
        found.append(Found(some, bool(claimed), evaluations))
    return found


METHODS: dict[str, Callable[[Case, int], list[Found]]] = {
    "**gates**, `OnMost(0.95, same_class=True)`": gates,
    "Anchors": anchors,
    "greedy, references": lambda case, _: greedy(case, case.references),
    "greedy, truth": lambda case, _: greedy(case, case.truth),
}


def line(name: str, found: list[Found], precisions: list[float]) -> str:
    """One line of a table."""
    sizes = [int(one.some.sum()) for one in found]
    claims = [precision for one, precision in zip(found, precisions, strict=True) if one.claimed]
    true = statistics.fmean(precision >= PRECISION for precision in precisions)
    false = sum(precision < PRECISION for precision in claims)
    evaluations = statistics.fmean(one.evaluations for one in found)
    return (
        f"| {name} | {statistics.fmean(sizes):.1f}, {max(sizes)} | {true:.0%} | "
        f"{statistics.fmean(precisions):.3f}, {min(precisions):.3f} | {len(claims) / len(found):.0%} | "
        f"{false} of {len(claims)} | {evaluations:.0f} |"
    )


def run(quick: bool) -> None:
    """Print the tables."""
    seeds, n_rows = (range(1), 2) if quick else (range(2), 5)
    with_anchors = find_spec("anchor") is not None
    if not with_anchors:
        print("\nThe package of Anchors is not installed: pip install --no-deps anchor-exp, and lime")
    for data in ("cancer", "wine", "categories"):
        some = list(cases(data, seeds, n_rows))
        print(f"\nAnchors: {data} ({len(some)} nets, {n_rows} rows)\n")
        print("| method | size | true | precision | claimed | false | evals |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, method in METHODS.items():
            if name == "Anchors" and not with_anchors:
                continue
            found, precisions = [], []
            for seed, case in enumerate(some):
                each = method(case, seed)
                found += each
                precisions += [case.precision(x, one.some) for x, one in zip(case.rows, each, strict=True)]
            print(line(name, found, precisions), flush=True)
