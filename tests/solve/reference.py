"""Naive twins of the solver's parts: plain Python, slow and obviously right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def dual_averaging(gradients: Sequence[Sequence[float]], start: float) -> list[float]:
    """Parameters of one example's gates after these gradients, one list per step; later ones weigh more."""
    n_gates = len(gradients[0])
    total, scale = [0.0] * n_gates, 0.0
    for step, gradient in enumerate(gradients, start=1):
        weighted = [math.sqrt(step) * part for part in gradient]
        total = [so_far - part for so_far, part in zip(total, weighted, strict=True)]
        scale += sum(part**2 for part in weighted) / n_gates
    if scale == 0:
        return [start] * n_gates
    return [start + part / math.sqrt(scale) for part in total]


def shift_to_budget(
    active_probability: Callable[[float], float], parameters: Sequence[float], budget: float
) -> float:
    """The shift of one example's parameters at which their mean active probability is `budget`."""
    low, high = -1000.0, 1000.0
    for _ in range(200):
        middle = (low + high) / 2
        mean = sum(active_probability(parameter + middle) for parameter in parameters) / len(parameters)
        low, high = (middle, high) if mean < budget else (low, middle)
    return (low + high) / 2


def all_masks(n: int) -> Tensor:
    """Every hard selection of n features, float [2^n, n]."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def expectation(value: Callable[[Tensor], Tensor], n_gates: int, points: int = 400) -> Tensor:
    """E[value(u)] over independent uniform noise, by the midpoint rule on a grid of points^n_gates.

    Args:
        value: noise [samples, gates] -> values [samples, ...].
        n_gates: at most 2.
        points: of the grid in each dimension.
    """
    middle = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    grid = torch.cartesian_prod(*[middle] * n_gates).reshape(-1, n_gates)
    return value(grid).mean(0)


def expectation_over_coins(value: Callable[[Tensor], Tensor], probability: Tensor) -> Tensor:
    """E[value(z)] over independent z ~ Bernoulli(probability), summed over all 2^n outcomes.

    Args:
        value: gate values [outcomes, gates] -> [outcomes].
        probability: of each gate, [gates].
    """
    masks = all_masks(len(probability)).to(probability.dtype)
    weights = torch.where(masks == 1, probability, 1 - probability).prod(1)
    return (weights * value(masks)).sum()


def smallest_faithful_size(retained: Tensor, sizes: Tensor, retain: float) -> Tensor:
    """Size of the smallest of all selections that retains enough, per example.

    Args:
        retained: share that every selection retains, [selections, batch].
        sizes: features in every selection, [selections].
        retain: share asked for.
    """
    return torch.where(retained >= retain, sizes[:, None], torch.inf).amin(0)


class AskedLoss:
    """A loss as an estimator asks for it: gate values -> losses, or losses and their slopes in the gates."""

    def __init__(self, loss):
        self._loss = loss

    def __call__(self, z):
        with torch.no_grad():
            return self._loss(z)

    def with_slope(self, z):
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            found = self._loss(leaf)
        if not found.requires_grad:
            return found.detach(), torch.zeros_like(z)
        (slope,) = torch.autograd.grad(found.sum(), leaf, allow_unused=True)
        return found.detach(), slope


class Rows:
    """A name for some examples: their numbers."""

    def __init__(self, index):
        self.index = index

    def rows(self, rows):
        return Rows(self.index[rows])


class Problem:
    """What a solver is given: a loss of gate values, numbers of references and of examples.

    Args:
        loss: gate values [samples, examples, gates], references [samples], examples [examples] -> losses.
        groups: the gates.
        batch: number of examples.
        order: of the references.
        dtype: of the gates.
    """

    def __init__(self, loss, groups, batch, order, dtype):
        self.groups, self.batch, self.reference_order, self.dtype = groups, batch, order, dtype
        self.everyone = Rows(torch.arange(batch))
        self.differs = groups.exists.expand(batch, -1)
        self._loss = loss

    def loss(self, examples, references):
        return AskedLoss(lambda z: self._loss(z, references, examples.index))

    def missed(self, examples, seen, least):
        return torch.zeros_like(seen)


def score_function(steps, settings):
    """Gradients of one example's coins, by the score function with what earlier steps have taught, per step.

    The control variate is a ridge regression of all earlier losses on powers of the mean probability of a
    sample and on how far its gates are from their probabilities: each gate by itself, or all together.

    Args:
        steps: for each step the probabilities, gate values and losses of its samples, in antithetic pairs:
            [samples, gates], [samples, gates] and [samples].
        settings: the numbers of the estimator.
    """
    found, known, n_gates = [], [], steps[0][0].shape[1]
    own, n_powers = n_gates <= settings.most_slopes, settings.n_powers
    slopes = torch.zeros(n_gates, dtype=torch.float64)  # mean over steps
    for number, (p, z, loss) in enumerate(steps):
        n, variance = len(p), p * (1 - p)
        steepness = torch.eye(n_gates, dtype=torch.float64) if own else slopes[:, None]
        spread = n_gates * variance.mean(0) if own else (variance @ slopes**2).mean(0, keepdim=True)
        level = torch.full((n_powers,), settings.ridge, dtype=torch.float64)
        ridge = torch.cat([level, spread.clamp(min=settings.least_ridge)])
        terms = torch.cat([torch.stack([p.mean(1) ** k for k in range(n_powers)], 1), (z - p) @ steepness], 1)
        weights = torch.zeros_like(ridge)
        if known:
            t, y = (torch.cat(part) for part in zip(*known, strict=True))
            weights = torch.linalg.solve(t.T @ t + torch.diag(ridge), t.T @ y)
        known.append((terms, loss))
        left = loss - terms @ weights
        gradient = torch.empty_like(p)
        for i in range(n):
            others = [j for j in range(n) if j not in (i, (i + n // 2) % n)]
            rest = left[others].mean() if others else 0.0
            gradient[i] = (left[i] - rest) * (z[i] - p[i]) + (steepness @ weights[n_powers:]) * variance[i]
        step = gradient.mean(0) / variance.mean(0).clamp(min=settings.least_variance)
        slopes = slopes + (step - slopes) / (number + 1)
        found.append(gradient)
    return found
