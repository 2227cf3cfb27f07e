"""What is compared: a named way to attribute, run with its model evaluations and its CPU time counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import sklearn.linear_model  # noqa: F401  # captum imports it in its first call, whose time would include it
import torch
from torch import Tensor

from .problem import Problem

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Answer:
    """What a method gives that says more than one attribution.

    Args:
        attributions: in the shape of the inputs.
        readings: other attributions that the same run gives, by name.
        facts: numbers about the run, by name.
    """

    attributions: Tensor
    readings: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A named way to attribute.

    Args:
        name: printed in the tables.
        attribute: (problem, the forward to call, seed) -> attributions in the shape of the inputs, or an
            answer.
        random: whether the seed matters.
        gates: whether attributions are probabilities that a feature is selected.
        whole: whether to give it the forward with all outputs, where a problem has several.
        fits: whether the method can be run on a problem.
    """

    name: str
    attribute: Callable[[Problem, Forward, int], Tensor | Answer]
    random: bool = True
    gates: bool = False
    whole: bool = False
    fits: Callable[[Problem], bool] = lambda problem: True


class Outcome(NamedTuple):
    """What a method gives, model rows evaluated per example, and CPU seconds per example."""

    answer: Answer
    evaluations: float
    seconds: float

    @property
    def attributions(self) -> Tensor:
        """In the shape of the inputs."""
        return self.answer.attributions


class Counted:
    """A forward that counts the rows it is given; a backward pass counts with its forward."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.rows = 0

    def __call__(self, rows: Tensor, *arguments: Tensor) -> Tensor:
        """The forward's scores."""
        self.rows += len(rows)
        return self.forward(rows, *arguments)


def run(method: Method, problem: Problem, seed: int) -> Outcome:
    """Attribute all rows of a problem; the global random states are as before afterwards."""
    forward = Counted(problem.outputs if method.whole and problem.outputs else problem.forward)
    numpy_state = np.random.get_state()  # captum's GradientShap draws from it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        start = time.process_time()
        found = method.attribute(problem, forward, seed)
        seconds = time.process_time() - start
    np.random.set_state(numpy_state)
    n = len(problem.inputs)
    answer = found if isinstance(found, Answer) else Answer(found.detach())
    return Outcome(answer, forward.rows / n, seconds / n)
