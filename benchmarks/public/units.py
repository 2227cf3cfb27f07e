"""The units of XAI-Units (Lee et al., 2025): rows, a net made by hand, and the attributions it must have.

Written from the definitions of the paper, with the sizes of its experiments: ten features, and ten more that
say which are cancelled in `conflicting`. The nets are made of linear layers and ReLU, as there; features are
standard normal, and weights uniform in [-1, 1], where nothing else is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

N = 10  # features
BLOCK, SWITCH = 100.0, 1000.0  # what closes a hidden unit for good, in `conflicting` and in `interacting`
PN_FACTOR = 10.0  # weight of an absent feature over that of a present one, in `pertinent negatives`
NARROW, STEEP, BIAS = 0.05, 50.0, 0.5  # deviation of the rows, scale of weights, offset, in `shattered`


class Net(nn.Sequential):
    """Linear layers with ReLU, which counts the rows that it is run on."""

    rows = 0

    def forward(self, x: Tensor) -> Tensor:
        """Scores of rows [rows, features] -> [rows, outputs]."""
        self.rows += len(x)
        scores: Tensor = super().forward(x)
        return scores


@dataclass(frozen=True)
class Unit:
    """Rows, a net, and the truth.

    Attributes:
        net: rows [rows, features] -> scores [rows, outputs].
        rows: what is explained, [rows, features].
        baselines: what they are compared with, [rows, features].
        target: the explained output of each row, [rows].
        truth: the attributions that the net has by design, [rows, features]; None where the paper gives none.
        judged: the features whose error counts.
        choices: the two values of features that have only two, [features, 2]; not a number for the others.
    """

    net: Net
    rows: Tensor
    baselines: Tensor
    target: Tensor
    truth: Tensor | None
    judged: slice
    choices: Tensor


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer with these weights [outputs, features] and bias [outputs]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return layer.requires_grad_(False)


def _both_signs(hidden: Tensor) -> Net:
    """Sum over rows h of `hidden` of relu(h x) - relu(-h x), which is the sum of h x."""
    return _paired(hidden, -hidden)


def _paired(plus: Tensor, minus: Tensor) -> Net:
    """Sum of relu(plus x) - relu(minus x)."""
    signs = torch.cat([torch.ones(len(plus)), -torch.ones(len(minus))]).unsqueeze(0)
    return Net(linear(torch.cat([plus, minus])), nn.ReLU(), linear(signs))


def _unit(net: Net, rows: Tensor, truth: Tensor | None, two_values: dict[int, tuple[float, float]]) -> Unit:
    """A unit with one output and zero as the baseline."""
    choices = torch.full((rows.shape[1], 2), torch.nan)
    for feature, values in two_values.items():
        choices[feature] = torch.tensor(values)
    target = torch.zeros(len(rows), dtype=torch.long)
    return Unit(net, rows, torch.zeros_like(rows), target, truth, slice(None), choices)


def _weights(generator: torch.Generator, n: int = N) -> Tensor:
    return 2 * torch.rand(n, generator=generator) - 1


def weighted(n_rows: int, generator: torch.Generator) -> Unit:
    """The score is the weighted sum; each feature is worth its weight times its value."""
    w, x = _weights(generator), torch.randn(n_rows, N, generator=generator)
    return _unit(_both_signs(w.diag()), x, w * x, {})


def conflicting(n_rows: int, generator: torch.Generator) -> Unit:
    """A flag for each feature cancels it; the flag is worth what it takes away."""
    w, x = _weights(generator), torch.randn(n_rows, N, generator=generator)
    flags = (torch.rand(n_rows, N, generator=generator) < 0.5).float()
    block = -BLOCK * torch.eye(N)
    net = _paired(torch.cat([w.diag(), block], dim=1), torch.cat([-w.diag(), block], dim=1))
    two_values = dict.fromkeys(range(N, 2 * N), (0.0, 1.0))
    return _unit(net, torch.cat([x, flags], dim=1), torch.cat([w * x, -w * x * flags], dim=1), two_values)


def interacting(n_rows: int, generator: torch.Generator) -> Unit:
    """Of each two features the first is 0 or 1 and chooses which weight the second has."""
    pairs, places = N // 2, torch.arange(N // 2)
    own, off, on = (_weights(generator, pairs) for _ in range(3))
    flags = (torch.rand(n_rows, pairs, generator=generator) > 0.5).float()
    values = torch.randn(n_rows, pairs, generator=generator)
    flag, always, switched = (torch.zeros(pairs, N) for _ in range(3))
    flag[places, 2 * places], always[places, 2 * places + 1] = own, on
    switched[places, 2 * places + 1] = off - on
    closing = torch.zeros(pairs, N)
    closing[places, 2 * places] = -SWITCH
    plus = torch.cat([flag, always, switched + closing])
    minus = torch.cat([-flag, -always, closing - switched])
    rows = torch.stack([flags, values], dim=2).flatten(1)
    truth = torch.stack([own * flags, torch.where(flags > 0, on, off) * values], dim=2).flatten(1)
    return _unit(_paired(plus, minus), rows, truth, dict.fromkeys(range(0, N, 2), (0.0, 1.0)))


def uncertain(n_rows: int, generator: torch.Generator) -> Unit:
    """Probabilities of five classes; the last five features add the same to all, so are worth nothing."""
    x = torch.randn(n_rows, N, generator=generator)
    net = Net(linear(torch.cat([torch.eye(N // 2), torch.ones(N // 2, N // 2)], dim=1)), nn.Softmax(dim=1))
    target = net(x).argmax(1)
    no_choice = torch.full((N, 2), torch.nan)
    return Unit(net, x, torch.zeros_like(x), target, torch.zeros_like(x), slice(N // 2, N), no_choice)


def shattered(n_rows: int, generator: torch.Generator) -> Unit:
    """A steep ReLU whose kink lies where the rows are, so that slopes jump; the truth is unknown."""
    ratios = torch.randint(-5, 5, (N,), generator=generator).float()
    ratios[0], ratios[1] = ratios[0].abs() + 1, -ratios[1].abs() - 1
    positive, negative = ratios.clamp_min(0).sum() + BIAS / STEEP, ratios.clamp_max(0).sum()
    w = torch.where(ratios > 0, STEEP, -STEEP * positive / negative)
    x = NARROW * torch.randn(n_rows, N, generator=generator)
    return _unit(Net(linear(w.unsqueeze(0)), nn.ReLU()), x, None, {})


def pertinent_negatives(n_rows: int, generator: torch.Generator) -> Unit:
    """The first five are 0 or 1, and 0 counts ten times as much; beside zero, 1 is worth 1 - 10 weights."""
    some = torch.zeros(N)
    some[: N // 2] = 1
    w, x = _weights(generator), torch.randn(n_rows, N, generator=generator)
    x[:, : N // 2] = (torch.rand(n_rows, N // 2, generator=generator) < 0.5).float()
    signs = torch.cat([w, torch.where(some > 0, PN_FACTOR * w, -w)]).unsqueeze(0)
    two_signs = torch.cat([torch.eye(N), -torch.eye(N)])
    net = Net(linear(torch.eye(N) + some.diag(), -some), linear(two_signs), nn.ReLU(), linear(signs))
    truth = torch.where(some > 0, w * x * (1 - PN_FACTOR), w * x)
    return _unit(net, x, truth, dict.fromkeys(range(N // 2), (0.0, 1.0)))


def _boolean(n_rows: int, generator: torch.Generator, special: float) -> Unit:
    """One row of the truth table, all `special`, has that score, and the others have the opposite.

    The features that are not `special` share the difference of 2; in the special row all share it.
    """
    table = torch.tensor(list(itertools.product((1.0, -1.0), repeat=N)))
    lone = (table == special).all(1)
    counted = lone if special > 0 else ~lone  # the rows of the table whose score is 1
    each = table[counted]
    net = Net(
        linear(each),
        nn.ReLU(),
        linear(torch.eye(len(each)), torch.full((len(each),), -(N - 1.0))),
        nn.ReLU(),
        linear(torch.full((1, len(each)), 2.0), torch.tensor([-1.0])),
    )
    x = table[torch.randperm(len(table), generator=generator)[:n_rows]]
    other = (x != special).float()
    alone = other.sum(1, keepdim=True) == 0
    truth = torch.where(
        alone, 2 * special / N, -2 * special * other / other.sum(1, keepdim=True).clamp_min(1)
    )
    unit = _unit(net, x, truth, dict.fromkeys(range(N), (-1.0, 1.0)))
    baselines = torch.where(alone, -special, special).expand_as(x)
    return Unit(unit.net, x, baselines.clone(), unit.target, truth, slice(None), unit.choices)


def boolean_and(n_rows: int, generator: torch.Generator) -> Unit:
    """1 where all are 1, else -1; the baseline is all 1."""
    return _boolean(n_rows, generator, 1.0)


def boolean_or(n_rows: int, generator: torch.Generator) -> Unit:
    """-1 where all are -1, else 1; the baseline is all -1."""
    return _boolean(n_rows, generator, -1.0)


UNITS: dict[str, Callable[[int, torch.Generator], Unit]] = {
    "weighted": weighted,
    "conflicting": conflicting,
    "interacting": interacting,
    "uncertain": uncertain,
    "shattered gradients": shattered,
    "pertinent negatives": pertinent_negatives,
    "boolean and": boolean_and,
    "boolean or": boolean_or,
}
