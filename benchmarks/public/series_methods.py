"""Ways to attribute series to their cells: one solve of the gates with its readings, and peers.

Peers are read as the sources read them: the attribution of a cell is the one for the prediction at its own
time, from the series until then, in absolute value; ExtremalMask learns one mask for the predictions at all
times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from captum.attr import Lime
from torch import Tensor, nn

from stg_attr import OutputMatch, Preserve, StochasticGates

from .series import Classifier

IG_STEPS, LIME_SAMPLES = 50, 50  # Captum's defaults
Found = dict[str, Tensor]


@dataclass
class Task:
    """What is explained.

    Attributes:
        outputs: (series [rows, times, channels], arguments) -> all outputs [rows, times, ...].
        score: the same -> one score a row, [rows].
        x: the explained series, [series, times, channels].
        truth: the cells that matter, bool like x.
        arguments: further arguments of both, with one row a series.
        references: rows of the data, [references, times, channels], or None.
        net: that the outputs are of, or None where they are a formula.
        rows: the number of series that a model was run on, counted.
    """

    outputs: Callable[..., Tensor]
    score: Callable[..., Tensor]
    x: Tensor
    truth: Tensor
    arguments: tuple[Tensor, ...]
    references: Tensor | None = None
    net: Classifier | None = None
    rows: int = field(default=0)

    def counted(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same function, whose rows are counted."""

        def run(x: Tensor, *arguments: Tensor) -> Tensor:
            self.rows += len(x)
            return function(x, *arguments)

        return run


def gates(task: Task, seed: int, name: str, references: Tensor | None) -> Found:
    """The readings of one solve with the defaults; the objective and the baseline are those of the docs."""
    stg = StochasticGates(task.counted(task.score), objective=Preserve(OutputMatch()))
    found = stg.explain(task.x, references, additional_forward_args=task.arguments, seed=seed)
    readings = {"attributions": found.active_probabilities, "influence": found.influence}
    if found.averaged is not None:
        readings["averaged"] = found.averaged
    return {
        f"**gates**, {name}, `{reading}`": value.reshape(task.x.shape) for reading, value in readings.items()
    }


def with_zero(task: Task, seed: int) -> Found:
    """Zero as the baseline."""
    return gates(task, seed, "zero", None)


def with_rows(task: Task, seed: int) -> Found:
    """Series of the data as the baseline."""
    return gates(task, seed, "rows", task.references)


def saliency(task: Task, _: int) -> Found:
    """Absolute slope of the score."""
    x = task.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(task.counted(task.score)(x, *task.arguments).sum(), x)
    return {"Saliency": slope.abs()}


def white_integrated_gradients(task: Task, _: int) -> Found:
    """Integrated Gradients of the score, by the middle points of the steps."""
    total = torch.zeros_like(task.x)
    score = task.counted(task.score)
    for k in range(IG_STEPS):
        x = ((k + 0.5) / IG_STEPS * task.x).requires_grad_()
        total += torch.autograd.grad(score(x, *task.arguments).sum(), x)[0]
    return {"IntegratedGradients": (task.x * total / IG_STEPS).abs()}


def own_slopes(net: Classifier, x: Tensor, target: Tensor) -> Tensor:
    """Slope of the target's score at each time in the cells of this time only, [rows, times, channels].

    The states before a time do not depend on its cells, so that one step of the GRU from each of them gives
    the slopes of all times at once.

    Args:
        net: sees no later times.
        x: series, [rows, times, channels].
        target: class that is explained at each time, [rows, times].
    """
    with torch.no_grad():
        hidden = net.states(x)[0]
    before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1).flatten(0, 1)
    cells = x.flatten(0, 1).unsqueeze(1).detach().requires_grad_()
    after = net.states(cells, before.unsqueeze(0))[0][:, 0]
    scores = net.read(after).gather(1, target.reshape(-1, 1))
    return torch.autograd.grad(scores.sum(), cells)[0].reshape(x.shape)


def integrated_gradients(task: Task, _: int) -> Found:
    """Integrated Gradients for the prediction at each time, by the middle points of the steps."""
    assert task.net is not None
    target = task.outputs(task.x).argmax(2)
    total = torch.zeros_like(task.x)
    for k in range(IG_STEPS):
        task.rows += len(task.x)
        total += own_slopes(task.net, (k + 0.5) / IG_STEPS * task.x, target)
    return {"IntegratedGradients": (task.x * total / IG_STEPS).abs()}


def lime(task: Task, _: int) -> Found:
    """Captum's Lime for the prediction at each time, with its defaults."""
    net = task.net
    assert net is not None

    def last(x: Tensor) -> Tensor:
        return net.read(net.states(x)[0][:, -1])

    target, method = task.outputs(task.x).argmax(2), Lime(task.counted(last))
    found = torch.zeros_like(task.x)
    for row, x in enumerate(task.x):
        for t in range(len(x)):
            given = {"n_samples": LIME_SAMPLES, "perturbations_per_eval": LIME_SAMPLES}
            values = method.attribute(x[None, : t + 1], target=int(target[row, t]), **given)
            found[row, t] = values[0, -1].abs()
    return {"Lime": found}


class Replacement(nn.Module):
    """What ExtremalMask shows in place of hidden cells: a GRU in both directions and a linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.states = nn.GRU(channels, channels, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Series in the shape of those given."""
        found: Tensor = self.head(self.states(x)[0])
        return found


def extremal_mask(task: Task, seed: int, *, epochs: int, learned: bool) -> Found:
    """ExtremalMask, written from its definition: a mask for each series, and what hidden cells show.

    Minimises mean |m| + mean |r(x)| + mean (f(m x + (1 - m) r(x)) - f(x))^2 over m in [0, 1] and r by Adam;
    without r, hidden cells are zero. Learning Perturbations to Explain Time Series Predictions
    (Enguehard 2023, https://arxiv.org/abs/2305.18840).

    Args:
        task: what is explained.
        seed: of the weights of r.
        epochs: updates.
        learned: whether r is learned.
    """
    torch.manual_seed(seed)
    mask = torch.full_like(task.x, 0.5).requires_grad_()
    replace = Replacement(task.x.shape[2]) if learned else None
    optimizer = torch.optim.Adam([mask, *(replace.parameters() if replace else ())], 0.01)
    outputs = task.counted(task.outputs)
    with torch.no_grad():
        full = outputs(task.x, *task.arguments)
    for _ in range(epochs):
        shown = mask.clamp(0, 1)
        other = replace(task.x) if replace else torch.zeros_like(task.x)
        off = outputs(task.x * shown + other * (1 - shown), *task.arguments) - full
        loss = mask.abs().mean() + other.abs().mean() + off.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"ExtremalMask": mask.detach().clamp(0, 1)}
