"""Behaviours of nets, and what every subset of their components keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stg_attr import ComponentStochasticGates, Explanation, Preserve
from stg_attr.components import Site

from .nets import Kind

__all__ = ["RETAIN", "SAME", "Case", "Truth", "case", "together"]

RETAIN = 0.9
SAME = 1e-3  # shares of the score that differ by less count as equal


@dataclass(frozen=True)
class Case:
    """A behaviour of a net: its score on inputs, and what closed components show.

    Attributes:
        forward: inputs and two further arguments -> scores, [rows].
        sites: where the components are.
        inputs: [rows, ...].
        others: counterfactual inputs of the same shape; None for 0.
        arguments: passed on to `forward`.
    """

    forward: Callable[..., Tensor]
    sites: list[Site]
    inputs: Tensor
    others: Tensor | None
    arguments: tuple[Tensor, Tensor]

    def explained(self, **effort: int) -> Explanation:
        """The smallest set of each row."""
        method = ComponentStochasticGates(self.forward, self.sites, objective=Preserve())
        return method.explain(self.inputs, self.others, None, self.arguments, **effort)


def case(kind: Kind, net: nn.Module, number: int, n: int) -> Case:
    """Inputs of a net's task that it answers rightly, with others that it answers otherwise.

    The score is the difference of two outputs: that of the right answer and that of the answer of the other
    input, the logit difference. Of a net with one output it is the output; then inputs have a higher one than
    their others.
    """
    task, made = kind.task(number), torch.Generator().manual_seed(10_000 + number)
    x, y = task.draw(8 * n, made)
    found = net(x)
    if task.classes:
        own = found.argmax(1)
        x, y = x[own == y], y[own == y]
        order = y.argsort()  # half of the rows further on, there are other answers
        pair = torch.stack([order, order.roll(len(order) // 2)])
        pair = pair[:, y[pair[0]] != y[pair[1]]]
        pair = pair[:, torch.randperm(pair.shape[1], generator=made)[:n]]
        arguments = y[pair[0]], y[pair[1]]
    else:
        order = found[:, 0].argsort(descending=True)
        pair = torch.stack([order[:n], order[-n:]])
        arguments = torch.zeros(n, dtype=torch.long), torch.full((n,), -1)

    def forward(x: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        output = nn.functional.pad(net(x), (0, 1))  # -1 is 0, for nets of one output
        rows = torch.arange(len(output))
        return output[rows, right] - output[rows, wrong]

    others = x[pair[1]] if kind.shown == "others" else None
    return Case(forward, kind.sites(net), x[pair[0]], others, arguments)


def together(one: Case) -> Case:
    """The mean over all rows as the score of one example."""

    def forward(x: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        n = x.shape[1]
        scores = one.forward(x.flatten(0, 1), right.flatten(), wrong.flatten())
        return scores.reshape(-1, n).mean(1)

    others = None if one.others is None else one.others.unsqueeze(0)
    right, wrong = (a.unsqueeze(0) for a in one.arguments)
    return Case(forward, one.sites, one.inputs.unsqueeze(0), others, (right, wrong))


@dataclass(frozen=True)
class Truth:
    """What all subsets of the components keep of the score.

    Attributes:
        kept: [2 ** components, rows]; bit i of the number of a subset is component i.
        size: number of members, long [2 ** components].
    """

    kept: Tensor
    size: Tensor

    @classmethod
    def of(cls, explanation: Explanation, rows_of_a_call: int = 8192) -> Truth:
        """Score all subsets by the model of an explanation."""
        n_rows, n = explanation.selected.shape
        members = (torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) & 1
        parts = [
            explanation.score_of(some.bool().unsqueeze(1).expand(-1, n_rows, -1))
            for some in members.split(max(1, rows_of_a_call // n_rows))
        ]
        base, full = explanation.scores.baseline, explanation.scores.full
        return cls((torch.cat(parts) - base) / (full - base), members.sum(1))

    def number(self, selected: Tensor) -> Tensor:
        """Numbers of sets, bool [..., components] -> long [...]."""
        return (selected.long() << torch.arange(selected.shape[-1])).sum(-1)

    def of_sets(self, selected: Tensor) -> tuple[Tensor, Tensor]:
        """Size and kept share of one set for each row, bool [rows, components]; each [rows]."""
        return selected.sum(1), self.kept.gather(0, self.number(selected).unsqueeze(0))[0]

    def best(self) -> tuple[Tensor, Tensor]:
        """The size of the smallest sufficient sets, and the most that one of that size keeps, each [rows]."""
        size = self.size.unsqueeze(1).expand_as(self.kept)
        least = size.masked_fill(self.kept < RETAIN, size.max() + 1).amin(0)
        return least, self.kept.masked_fill(size != least, -torch.inf).amax(0)
