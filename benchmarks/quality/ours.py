"""The one place that calls the project: one configuration, two questions."""

from __future__ import annotations

from torch import Tensor

from stg_attr import Hybrid, OutputMatch, Preserve, StochasticGates

from .method import Forward, Method
from .problem import Problem


def objective_for(problem: Problem) -> Hybrid | Preserve:
    """By the table of "how to choose": match the output, or the score of what is kept and removed."""
    return Preserve(OutputMatch()) if problem.question == "match" else Hybrid()


def ours(
    problem: Problem,
    seed: int,
    *,
    forward: Forward | None = None,
    max_evals: int | None = None,
) -> Tensor:
    """Active probabilities, in the shape of the inputs.

    Args:
        problem: what to explain.
        seed: of the solve.
        forward: to call in place of the problem's own, for counting.
        max_evals: model evaluations for each example, at most; None for the default effort.
    """
    stg = StochasticGates(problem.forward if forward is None else forward, objective=objective_for(problem))
    attributions: Tensor = stg.attribute(
        problem.inputs,
        baselines=problem.references,
        target=problem.target,
        additional_forward_args=problem.forward_args or None,
        feature_mask=problem.feature_mask,
        seed=seed,
        max_evals=max_evals,
    )
    return attributions


OURS = Method("stg_attr", lambda problem, forward, seed: ours(problem, seed, forward=forward), gates=True)
