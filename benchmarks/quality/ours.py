"""The one place that calls the project: one configuration, two questions, and the variants of a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from torch import Tensor

from stg_attr import Hybrid, LayerStochasticGates, OutputMatch, Preserve, StochasticGates, references
from stg_attr.explanation import Explanation

from . import metrics
from .method import Answer, Forward, Method
from .problem import Problem, Question, Variant

NAME = "stg_attr"
NOISE = 0.5  # standard deviation of the noise that is a baseline


def _averaged(found: Explanation) -> Tensor:
    """The active probabilities where the averaged ones were not measured."""
    return found.active_probabilities if found.averaged is None else found.averaged


READINGS: dict[str, Callable[[Explanation], Tensor]] = {
    "averaged": _averaged,
    "influence": lambda found: found.influence,
    "effect": lambda found: found.effect,
}


def objective_for(question: Question) -> Hybrid | Preserve:
    """By the table of "how to choose": match the output, or the score of what is kept and removed."""
    return Preserve(OutputMatch()) if question == "match" else Hybrid()


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
    objective = objective_for(problem.question)
    stg = StochasticGates(problem.forward if forward is None else forward, objective=objective)
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


OURS = Method(NAME, lambda problem, forward, seed: ours(problem, seed, forward=forward), gates=True)


def methods_of(problem: Problem) -> tuple[Method, ...]:
    """The project on a problem: the default, or each of the variants that are compared."""
    if not problem.variants:
        return (OURS,)
    return tuple(
        Method(f"{NAME}: {variant.name}" if variant.name else NAME, partial(explained, variant), gates=True)
        for variant in problem.variants
    )


def explained(variant: Variant, problem: Problem, forward: Forward, seed: int) -> Answer:
    """One variant of the project on a problem: every reading of one solve, and what it selects.

    Args:
        variant: how the project is called.
        problem: what to explain, one gate for each element.
        forward: to call in place of the problem's own, for counting.
        seed: of the solve.
    """
    objective = objective_for(variant.question)
    stg = (
        StochasticGates(forward, objective=objective)
        if problem.layer is None
        else LayerStochasticGates(forward, problem.layer, objective=objective)
    )
    found = stg.explain(
        problem.inputs,
        baselines=_baselines(variant, problem),
        target=problem.target,
        additional_forward_args=problem.forward_args or None,
        feature_mask=problem.feature_mask,
        seed=seed,
        max_evals=variant.max_evals,
    )
    shape = problem.inputs.shape
    readings = {name: read(found).reshape(shape) for name, read in READINGS.items()}
    return Answer(found.active_probabilities.reshape(shape), readings, facts(found, problem))


def _baselines(variant: Variant, problem: Problem) -> object:
    if variant.baseline == "zero":
        return 0
    if variant.baseline == "noise":
        return references.noise(NOISE)
    return problem.data if variant.baseline == "rows" else references.mean(problem.data)


def facts(found: Explanation, problem: Problem) -> dict[str, float]:
    """What is selected, and how often each status is given.

    `precision` and `recall` are means over examples, of the selected features beside the true ones.
    """
    quality = metrics.selection(found.selected, problem.truth)
    statuses = Counter(status.name for status in found.status)
    return {
        "selected": float(found.n_selected.double().mean()),
        "precision": 1 - quality.false_discovery_rate,
        "recall": quality.true_positive_rate,
        **{f"status {name}": count / len(found) for name, count in statuses.items()},
    }
