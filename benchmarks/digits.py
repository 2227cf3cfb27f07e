"""The digits table: insertion and deletion on scikit-learn's digits, every method in one run.

Small CNN on 8 x 8 digits, 48 test images, one gate per pixel, black baseline, score = probability of the
predicted class. `ins` and `del`: mean probability while pixels are inserted and removed in order of
attribution (higher and lower is better); `suff` and `nec`: mean size of the smallest top-k that keeps 90 %
of the retained score, and whose removal leaves 10 % (lower is better); `evals`: rows the model is run on
per example, everything included, counted by a wrapper around the model.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import FeatureAblation, IntegratedGradients, KernelShap, ShapleyValueSampling
from torch import Tensor

from stg_attr import StochasticGates
from stg_attr.metrics import budget_curves

from .quality.problem import Problem
from .quality.problems import load

SEEDS = range(5)


@dataclass
class Counter:
    """The model of a problem, counting the rows it is run on."""

    problem: Problem
    rows: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Class probabilities, [rows, classes]."""
        self.rows += len(x)
        return self.problem.forward(x)


Method = Callable[[Counter, Tensor, Tensor], Tensor]


def gates(seed: int, **effort: int) -> Method:
    """The project, with some effort."""

    def attribute(model: Counter, x: Tensor, y: Tensor) -> Tensor:
        found = StochasticGates(model).attribute(x, target=y, seed=seed, **effort)
        assert isinstance(found, Tensor)
        return found

    return attribute


def kernel_shap(model: Counter, x: Tensor, y: Tensor) -> Tensor:
    """One example at a time, as captum recommends."""
    method = KernelShap(model)
    rows = zip(x.split(1), y.tolist(), strict=True)
    return torch.cat(
        [
            method.attribute(row, target=label, n_samples=800, perturbations_per_eval=200)
            for row, label in rows
        ]
    )


def methods(seed: int) -> dict[str, Method]:
    """Every row of the table; the peers with a fixed result ignore the seed."""
    return {
        "Integrated Gradients, 50 steps": lambda m, x, y: IntegratedGradients(m).attribute(x, target=y),
        "Feature Ablation": lambda m, x, y: FeatureAblation(m).attribute(
            x, target=y, perturbations_per_eval=16
        ),
        "Shapley sampling, 12 permutations": lambda m, x, y: ShapleyValueSampling(m).attribute(
            x, target=y, n_samples=12, perturbations_per_eval=16
        ),
        "KernelSHAP, 800 samples": kernel_shap,
        "**gates**, `max_evals=50`": gates(seed, max_evals=50),
        "**gates**, `max_evals=100`": gates(seed, max_evals=100),
        "**gates**, `max_evals=200`": gates(seed, max_evals=200),
        "**gates**, default": gates(seed),
    }


def measure(problem: Problem, method: Method, seed: int) -> dict[str, float]:
    """One row of the table for one seed."""
    assert problem.target is not None
    torch.manual_seed(seed)
    model = Counter(problem)
    attributions = method(model, problem.inputs, problem.target)
    curves = budget_curves(problem.forward, problem.inputs, attributions, target=problem.target)
    return {
        "evals": model.rows / len(problem.inputs),
        "ins": curves.insertion.mean().item(),
        "del": curves.deletion.mean().item(),
        "ins-del": (curves.insertion - curves.deletion).mean().item(),
        "suff": curves.smallest_sufficient().float().mean().item(),
        "nec": curves.smallest_necessary().float().mean().item(),
    }


def main(argv: list[str]) -> int:
    """Print the table."""
    argparse.ArgumentParser(prog="python run.py bench digits", description=__doc__).parse_args(argv)
    torch.set_num_threads(1)
    problem = load("digits", 0)
    print(f"\nDigits ({len(problem.inputs)} images, net {problem.accuracy:.1%} right, {len(SEEDS)} seeds)\n")
    print("| method | evals | ins | del | ins-del | spread of ins-del | suff | nec |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in methods(0):
        rows = [measure(problem, methods(seed)[name], seed) for seed in SEEDS]
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        spread = statistics.stdev(row["ins-del"] for row in rows)
        print(
            f"| {name} | {mean['evals']:.0f} | {mean['ins']:.3f} | {mean['del']:.3f} | {mean['ins-del']:.3f} "
            f"| {spread:.3f} | {mean['suff']:.1f} | {mean['nec']:.1f} |",
            flush=True,
        )
    return 0
