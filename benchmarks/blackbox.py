"""Models without gradients: the digits table at fixed numbers of evaluations, and the switch.

Digits: the net and the measures of `digits`, whose gradient nobody uses. `evals`: rows the model is run on
per example, counted by a wrapper around it, with everything that a method runs it for; `CPU ms`: processor
time per example on one thread, the model's included.

Switch: ten standard normal columns, but the tenth is around 3 or -3, and its sign decides which function of
which four columns is the score (Learning to Explain, Chen et al., 2018, https://arxiv.org/abs/1802.07814).
The model has no gradient in that column. `switch found`: share of examples that have it among the top 5; `all
five`: share of the top 5 that the score uses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from captum.attr import KernelShap, ShapleyValueSampling
from torch import Tensor

from stg_attr import OutputMatch, Preserve, ReferenceSet, Reparameterized, ScoreFunction, StochasticGates
from stg_attr.metrics import budget_curves

from .digits import Counter
from .quality.problem import Problem
from .quality.problems import load

SEEDS = range(5)
EVALUATIONS = (200, 400, 800, 1600)

Method = Callable[[Counter, Tensor, Tensor, int, int], Tensor]


def gates(model: Counter, x: Tensor, y: Tensor, evaluations: int, seed: int) -> Tensor:
    """The project with its defaults, all images together."""
    stg = StochasticGates(model, estimator=ScoreFunction())
    found = stg.attribute(x, target=y, max_evals=evaluations, seed=seed)
    assert isinstance(found, Tensor)
    return found


def kernel_shap(model: Counter, x: Tensor, y: Tensor, evaluations: int, seed: int) -> Tensor:
    """One image at a time, as captum asks for, in calls of 200 rows."""
    method = KernelShap(model)
    rows = zip(x.split(1), y.tolist(), strict=True)
    return torch.cat(
        [method.attribute(r, target=t, n_samples=evaluations, perturbations_per_eval=200) for r, t in rows]
    )


def shapley(model: Counter, x: Tensor, y: Tensor, evaluations: int, seed: int) -> Tensor:
    """As many permutations as fit, all images together, 16 steps of a permutation in one call."""
    method = ShapleyValueSampling(model)
    return method.attribute(x, target=y, n_samples=evaluations // x[0].numel(), perturbations_per_eval=16)


METHODS: dict[str, Method] = {
    "**gates**, `ScoreFunction()`": gates,
    "KernelShap": kernel_shap,
    "ShapleyValueSampling": shapley,
}


def measure(problem: Problem, method: Method, evaluations: int, seed: int) -> dict[str, float]:
    """One row of the table for one seed."""
    assert problem.target is not None
    torch.manual_seed(seed)
    model, began = Counter(problem), time.process_time()
    with torch.no_grad():
        attributions = method(model, problem.inputs, problem.target, evaluations, seed)
    spent = time.process_time() - began
    curves = budget_curves(problem.forward, problem.inputs, attributions, target=problem.target)
    return {
        "evals": model.rows / len(problem.inputs),
        "ins": curves.insertion.mean().item(),
        "del": curves.deletion.mean().item(),
        "ins-del": (curves.insertion - curves.deletion).mean().item(),
        "CPU ms": 1000 * spent / len(problem.inputs),
    }


def digits() -> None:
    """Print the table of the digits."""
    problem = load("digits", 0)
    print(f"\nDigits without gradients ({len(problem.inputs)} images, 64 gates, {len(SEEDS)} seeds)\n")
    print("| at most | method | evals | ins | del | ins-del | spread | CPU ms |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for evaluations in EVALUATIONS:
        for name, method in METHODS.items():
            rows = [measure(problem, method, evaluations, seed) for seed in SEEDS]
            mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
            spread = statistics.stdev(row["ins-del"] for row in rows)
            print(
                f"| {evaluations} | {name} | {mean['evals']:.0f} | {mean['ins']:.3f} | {mean['del']:.3f} "
                f"| {mean['ins-del']:.3f} | {spread:.3f} | {mean['CPU ms']:.1f} |",
                flush=True,
            )


def switch(x: Tensor) -> Tensor:
    """Scores of rows, [rows, 10] -> [rows]: the orange skin, or a sum of four functions."""
    orange_skin = x[:, :4].square().sum(1) - 4
    additive = -10 * torch.sin(0.2 * x[:, 4]) + x[:, 5].abs() + x[:, 6] + torch.exp(-x[:, 7]) - 2.4
    return torch.where(x[:, 9] > 0, orange_skin, additive)


def switch_rows(n: int, seed: int) -> Tensor:
    """Rows of the switch data, [n, 10]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    x[:, 9] += torch.where(torch.rand(n, generator=generator) < 0.5, 3.0, -3.0)
    return x


def switch_found(stg: StochasticGates, seed: int, n: int = 200, **effort: int) -> dict[str, float]:
    """How well the columns that a score uses are found in fresh rows."""
    x, data = switch_rows(n, seed), switch_rows(1000, 100 + seed)
    found = stg.explain(x, baselines=ReferenceSet(data), seed=seed, **effort)
    top = found.log_alpha.topk(5, dim=1).indices
    used = torch.where(x[:, 9:] > 0, torch.tensor([0, 1, 2, 3, 9]), torch.tensor([4, 5, 6, 7, 9]))
    return {
        "evals": found.n_evaluations.double().mean().item(),
        "switch": (top == 9).any(1).double().mean().item(),
        "used": (top.unsqueeze(2) == used.unsqueeze(1)).any(2).double().mean().item(),
    }


def switches() -> None:
    """Print the table of the switch."""
    print(f"\nSwitch (200 rows of each of {len(SEEDS)} seeds, `Preserve(OutputMatch())`, rows of the data)\n")
    print("| estimator | effort | evals | switch found | least of the seeds | all five |")
    print("|---|---|---:|---:|---:|---:|")
    efforts = ({}, {"max_evals": 1000}, {"n_steps": 24}, {"max_evals": 2000})
    for estimator in (ScoreFunction(), Reparameterized()):
        stg = StochasticGates(switch, objective=Preserve(OutputMatch()), estimator=estimator)
        for effort in efforts if isinstance(estimator, ScoreFunction) else efforts[:1]:
            rows = [switch_found(stg, seed, **effort) for seed in SEEDS]
            mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
            setting = ", ".join(f"{key}={value}" for key, value in effort.items()) or "default"
            print(
                f"| `{type(estimator).__name__}()` | {setting} | {mean['evals']:.0f} | {mean['switch']:.1%} "
                f"| {min(row['switch'] for row in rows):.1%} | {mean['used']:.1%} |",
                flush=True,
            )


def main(argv: list[str]) -> int:
    """Print both tables."""
    argparse.ArgumentParser(prog="python run.py bench blackbox", description=__doc__).parse_args(argv)
    torch.set_num_threads(1)
    digits()
    switches()
    return 0
