"""Stability of attributions over seeds, and under noise too small to see.

Overlap of the top ten percent and rank correlation among the selected features, over the pairs of seeds;
largest relative change under uniform noise within 0.02, as captum's sensitivity_max takes it. On the nets of
P6 (Syn2) and P7 (digits).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from captum.attr import GradientShap, IntegratedGradients
from torch import Tensor

from stg_attr import ReferenceSet, StochasticGates
from stg_attr.metrics import Stability, agreement, under_noise

from .quality.ours import objective_for
from .quality.problem import Problem
from .quality.problems import load

PROBLEMS = {"digits": "digits", "Syn2": "syn2"}
MODEL_SEEDS = range(3)
SEEDS = range(4)
RADIUS, DRAWS = 0.02, 10
Attribute = Callable[[Tensor, int], Tensor]  # rows and seed -> attributions


def gates(problem: Problem) -> tuple[Attribute, Tensor]:
    """Our default configuration, and what each seed selects, [seeds, batch, features]."""
    stg = StochasticGates(problem.forward, objective=objective_for(problem.question))
    references = None if problem.references is None else ReferenceSet(problem.references)

    def attribute(x: Tensor, seed: int) -> Tensor:
        found = stg.attribute(x, references, problem.target, feature_mask=problem.feature_mask, seed=seed)
        assert isinstance(found, Tensor)
        return found

    several = stg.explain(
        problem.inputs, references, problem.target, feature_mask=problem.feature_mask, n_restarts=len(SEEDS)
    )
    assert several.restarts is not None
    return attribute, several.restarts.selected


def integrated_gradients(problem: Problem) -> tuple[Attribute, None]:
    """Without chance of its own."""
    method = IntegratedGradients(problem.forward)
    return lambda x, seed: method.attribute(x, target=problem.target), None


def gradient_shap(problem: Problem) -> tuple[Attribute, None]:
    """250 references, new ones for every seed."""
    method = GradientShap(problem.forward)
    references = torch.zeros_like(problem.inputs[:1]) if problem.references is None else problem.references

    def attribute(x: Tensor, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found: Tensor = method.attribute(x, references, n_samples=250, target=problem.target)
        return found

    return attribute, None


def averaged(problem: Problem) -> tuple[Attribute, None]:
    """The averaged reading of our default configuration."""
    stg = StochasticGates(problem.forward, objective=objective_for(problem.question))
    references = None if problem.references is None else ReferenceSet(problem.references)

    def attribute(x: Tensor, seed: int) -> Tensor:
        found = stg.explain(x, references, problem.target, feature_mask=problem.feature_mask, seed=seed)
        assert found.averaged is not None
        laid_out = found.laid_out(found.averaged)
        assert isinstance(laid_out, Tensor)
        return laid_out

    return attribute, None


METHODS = {
    "**gates** (default)": gates,
    "**gates**, averaged": averaged,
    "Integrated Gradients, 50 steps": integrated_gradients,
    "GradientSHAP, 250 samples": gradient_shap,
}


def measure(
    problem: Problem, method: Callable[[Problem], tuple[Attribute, Tensor | None]]
) -> dict[str, float]:
    """One row of the table for one net."""
    attribute, selected = method(problem)
    runs = [attribute(problem.inputs, seed) for seed in SEEDS]
    over_seeds: Stability = agreement(runs, among=selected, feature_mask=problem.feature_mask)
    noisy = under_noise(lambda x: attribute(x, 0), problem.inputs, radius=RADIUS, n_draws=DRAWS)
    return {
        "overlap": over_seeds.top_overlap.mean().item(),
        "rank": over_seeds.rank_correlation.nanmean().item(),
        "sensitivity": agreement(noisy).sensitivity.mean().item(),
    }


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench stability", description=__doc__)
    parser.add_argument("problems", nargs="*", choices=[*PROBLEMS, []], help="all by default")
    torch.set_num_threads(1)
    for title in parser.parse_args(argv).problems or PROBLEMS:
        name = PROBLEMS[title]
        print(f"\n{title} ({len(MODEL_SEEDS)} nets, {len(SEEDS)} seeds, noise within {RADIUS})\n")
        print("| method | overlap of the top 10 % | rank correlation | sensitivity_max |")
        print("|---|---:|---:|---:|")
        for label, method in METHODS.items():
            rows = [measure(load(name, seed), method) for seed in MODEL_SEEDS]
            mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
            print(
                f"| {label} | {mean['overlap']:.3f} | {mean['rank']:.3f} | {mean['sensitivity']:.3f} |",
                flush=True,
            )
    return 0
