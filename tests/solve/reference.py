"""Naive twins of the solver's parts: plain Python, slow and obviously right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stg_attr.solve import Noise
from stg_attr.solve.shift import BudgetShift


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


def top(parameters: Sequence[float], visible: Sequence[bool], k: int) -> list[bool]:
    """The k visible gates with the largest parameters; the first ones where some are equal."""
    order = sorted((i for i in range(len(parameters)) if visible[i]), key=lambda i: (-parameters[i], i))
    return [i in order[:k] for i in range(len(parameters))]


def smallest_sufficient(retained: Callable[[int], float], n: int, retain: float) -> int:
    """The smallest k >= 1 whose top k retain enough, tried one by one; all n where none does."""
    return next((k for k in range(1, n) if retained(k) >= retain), n)


def best_value(achieved: Callable[[int], float], n: int, price: float) -> int:
    """The k whose top k achieve most after `price` for each of them, trying all; the first of equals."""
    return max(range(n + 1), key=lambda k: achieved(k) - price * k)


def pruned(retained: Callable[[list[int]], float], selected: Sequence[int], retain: float) -> list[int]:
    """A set less the features it can spare, in rounds until it can spare none.

    In each, those that can be spared alone are sorted, least missed first, and later ones in the ranking
    first where they are missed alike; as many of the first four go together as the rest can spare.

    Args:
        retained: share that a set retains.
        selected: features, best first.
        retain: share asked for.
    """
    rest = list(selected)
    while rest:
        alone = {i: retained(_less(rest, [i])) for i in reversed(rest)}
        spared = sorted((i for i in alone if alone[i] >= retain), key=lambda i: -alone[i])
        together = [
            n for n in range(2, min(4, len(spared)) + 1) if retained(_less(rest, spared[:n])) >= retain
        ]
        if not spared:
            return rest
        rest = _less(rest, spared[: max([1, *together])])
    return rest


def eliminated(value: Callable[[list[int]], float], selected: Sequence[int]) -> list[int]:
    """A set in the order in which its features are missed, the most missed first.

    The one that the rest misses least leaves first, the later one in the set of equals; of more than six,
    all but the six that are missed most leave at once. Values count to a thousandth.
    """
    rest, order = list(selected), []
    while len(rest) > 1:
        missed = sorted(rest, key=lambda i: round(value(_less(rest, [i])) / 1e-3))
        stays = 6 if len(rest) > 6 else len(rest) - 1
        order = missed[stays:] + order
        rest = [i for i in rest if i in missed[:stays]]
    return rest + order


def exchanged(
    retained: Callable[[list[int]], float],
    value: Callable[[list[int]], float],
    selected: Sequence[int],
    promising: Sequence[int],
    trials: int,
    retain: float,
) -> list[int]:
    """A set whose features, the least missed first, have given way to those that do more in their place.

    Args:
        retained: share that a set retains, which must stay at `retain`.
        value: what a set achieves in all that is asked of it; it must rise by more than a thousandth.
        selected: features.
        promising: all features, the most promising first.
        trials: how many are tried, shared among the members.
        retain: share asked for.
    """
    rest, now = list(selected), value(list(selected))
    for member in sorted(selected, key=lambda i: -retained(_less(selected, [i]))):
        fewer = _less(rest, [member])
        tried = [i for i in promising if i not in rest][: trials // len(selected)]
        fits = [i for i in tried if retained([*fewer, i]) >= retain]
        best = max(fits, key=lambda i: value([*fewer, i]), default=None)
        if best is not None and value([*fewer, best]) > now + 1e-3:
            rest = [*fewer, best]
            now = value(rest)
    return rest


def extended(
    value: Callable[[list[int]], float],
    selected: Sequence[int],
    promising: Sequence[int],
    ranked: Sequence[int],
    trials: int,
) -> list[int]:
    """Features, of the most promising outside a set, that add more than .02 to it, at most six, best first.

    What they add counts in steps of .02; of equals, the first in the ranking comes first.
    """
    now = value(list(selected))
    gains = {i: value([*selected, i]) - now for i in [i for i in promising if i not in selected][:trials]}
    noted = [i for i in ranked if i in gains and gains[i] > 0.02]
    return sorted(noted, key=lambda i: -round(gains[i] / 0.02))[:6]


def _less(features: Sequence[int], dropped: Sequence[int]) -> list[int]:
    return [i for i in features if i not in dropped]


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


def with_slopes(loss):
    """A loss as a solve asks for it: gate values, ..., and whether slopes are wanted -> losses and slopes."""

    def asked(z, *given):
        *rest, wanted = given
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            found = loss(leaf, *rest)
        slope = None
        if wanted and found.requires_grad:
            (slope,) = torch.autograd.grad(found.sum(), leaf, allow_unused=True)
        return found.detach(), slope

    return asked


class AskedLoss:
    """A loss as an estimator asks for it."""

    def __init__(self, loss):
        self._asked = with_slopes(loss)

    def __call__(self, z):
        return self._asked(z, False)[0]

    def with_slope(self, z):
        return self._asked(z, True)


def score_function(steps, own):
    """Gradients of one example's coins, by the score function with what earlier steps have taught, per step.

    The control variate is a ridge regression of all earlier losses on powers of the mean probability of a
    sample and on how far its gates are from their probabilities: each gate by itself, or all together.

    Args:
        steps: for each step the probabilities, gate values and losses of its samples, in antithetic pairs:
            [samples, gates], [samples, gates] and [samples].
        own: whether each gate has a slope of its own.
    """
    found, known, n_gates = [], [], steps[0][0].shape[1]
    slopes = torch.zeros(n_gates, dtype=torch.float64)  # mean over steps
    for number, (p, z, loss) in enumerate(steps):
        n, variance = len(p), p * (1 - p)
        steepness = torch.eye(n_gates, dtype=torch.float64) if own else slopes[:, None]
        spread = n_gates * variance.mean(0) if own else (variance @ slopes**2).mean(0, keepdim=True)
        ridge = torch.cat([torch.full((4,), 1e-3, dtype=torch.float64), spread.clamp(min=1e-9)])
        terms = torch.cat([torch.stack([p.mean(1) ** k for k in range(4)], 1), (z - p) @ steepness], 1)
        weights = torch.zeros_like(ridge)
        if known:
            t, y = (torch.cat(part) for part in zip(*known, strict=True))
            weights = torch.linalg.solve(t.T @ t + torch.diag(ridge), t.T @ y)
        known.append((terms, loss))
        left = loss - terms @ weights
        gradient = torch.empty_like(p)
        for i in range(n):
            others = [j for j in range(n) if j not in (i, (i + n // 2) % n)]
            level = left[others].mean() if others else 0.0
            gradient[i] = (left[i] - level) * (z[i] - p[i]) + (steepness @ weights[4:]) * variance[i]
        step = gradient.mean(0) / variance.mean(0).clamp(min=0.02)
        slopes = slopes + (step - slopes) / (number + 1)
        found.append(gradient)
    return found


def solve(loss, gates, sparsity, order, n_steps, n_samples, seed, noise_order, smooth=lambda total: total):
    """One example learned alone, one gate sample after the other, in double precision.

    Args:
        loss: gate values [gates] and the number of a reference -> loss, a number in a tensor.
        gates, sparsity: distribution of the gates, and their budgets.
        order: numbers of the references, in the order in which they are shown.
        n_steps, n_samples: updates at most, and gate samples for each.
        seed: of the noise.
        noise_order: the noise variable of each gate, [gates].
        smooth: sum of gradients [1, gates] -> the same, drawn together between neighbours.

    Returns:
        The fields of a solution and of what it learned, of this example.
    """
    n, noise = len(noise_order), Noise(seed)
    shift = BudgetShift.of(gates, torch.ones(1, n, dtype=torch.bool), torch.float64)
    total, slopes, squares = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
    parameter = earlier = total + gates.start
    scale, trace, directions, errors = 0.0, [], [], []
    for step in range(n_steps):
        uniform = noise.uniform(step, n_samples, n)[:, 0, noise_order].double()
        budgets = sparsity.budgets(step * n_samples, n_samples, noise.start())
        level = (parameter / 0.5).round() * 0.5
        gradient, losses, n_swept = torch.zeros_like(total), 0.0, 0
        for i, budget in enumerate(budgets):
            swept = bool(budget.isfinite())
            moved = level + shift(level[None], budget.reshape(1, 1))[0, 0] if swept else level
            z, dz = gates.sample_with_slope(moved, uniform[i])
            z = z.detach().requires_grad_()
            value = loss(z, int(order[(step * n_samples + i) % len(order)]))
            (slope,) = torch.autograd.grad(value, z)
            part = slope * dz
            gradient += part - part.mean() if swept else part  # at a budget, the level is not asked about
            losses, n_swept = losses + value.item(), n_swept + swept
            slopes, squares = slopes + slope, squares + slope**2
        price = sparsity.reg_weight * (1 - n_swept / n_samples)
        gradient = gradient / n_samples + price * gates.openness(parameter)
        t = step + 1
        total = total - math.sqrt(t) * gradient
        scale += t * float((gradient**2).mean())
        parameter = gates.start + smooth(total[None])[0] / math.sqrt(scale)
        trace.append(losses / n_samples)
        earlier = parameter if 3 * t <= 2 * n_steps else earlier
        centred = parameter - parameter.mean()
        directions.append(centred / centred.norm())
        if t > 4:
            errors.append(float((directions[-1] - directions[-2]).norm()) * math.sqrt(t))
        if len(errors) > 1 and max(errors[-2:]) < 0.5:
            earlier = parameter
            break
    shown = len(trace) * n_samples
    return {
        "parameter": parameter,
        "earlier": earlier,
        "influence": (squares / shown).sqrt(),
        "effect": -slopes / shown,
        "loss_trace": trace,
        "settled": len(trace) < n_steps or (len(errors) > 1 and max(errors[-2:]) < 0.5),
        "error": errors[-1],
        "n_samples": shown,
    }
