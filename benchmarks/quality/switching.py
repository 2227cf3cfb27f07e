"""P9: series of 50 times and 3 channels whose hidden state says which channel decides, behind a trained GRU.

The state s_t in {0, 1} is a Markov chain; d_t is channel 1 + s_t at time t, and the cells (t, 1 + s_t) are
the truth. Two variants of the data and of the decision:

    switching_each         means of the channels by state, (.1, 1.6, .5) and (-.1, -.4, -1.5), deviation .9; a
                           decision at each time, P(Y_t=1 | x) = sigmoid(3 d_t); their log-odds are summed up
    switching_accumulated  channel 0 tells the state, 2 s_t - 1 + N(0, .5^2), the others are N(0, 1); one
                           decision for all times so far, P(Y_t=1 | x) = sigmoid((d_0 + ... + d_t) / 2),
                           read at the end
    switching_inner        the same net read at time 24: it cannot see later cells

Channel 0 of the accumulated series is used by the net, too, to know the state; it is not among the truth. The
state stays with a probability of .9 (each) and .95. After What Went Wrong and When? Instance-wise Feature
Importance for Time-Series Black-Box Models (Tonekaboni et al. 2020, https://arxiv.org/abs/2003.02821).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import measures
from .nets import TwoClasses, fit, trained
from .problem import Problem, Variant

TIMES, CHANNELS = 50, 3
INNER = 24
MEANS = torch.tensor([[0.1, 1.6, 0.5], [-0.1, -0.4, -1.5]])
DEVIATION, TOLD_DEVIATION = 0.9, 0.5
STAY = {"each": 0.9, "accumulated": 0.95}
WINDOW = (3, 1)
VARIANTS = (
    Variant("", "match", "zero"),
    Variant("match, rows", "match", "rows"),
    Variant("Hybrid, zero", "score", "zero"),
)
PEERS = ("Saliency", "IntegratedGradients", "GradientShap", "FeatureAblation", "Occlusion")


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    kind: str
    hidden: int = 32
    steps: int = 500
    batch: int = 64
    lr: float = 5e-3


class Series(NamedTuple):
    """Series `[n, times, channels]`, and the channel that decides at each time, `[n, times]`."""

    x: Tensor
    channel: Tensor

    @property
    def deciding(self) -> Tensor:
        """The values that decide, d, `[n, times]`."""
        return self.x.gather(2, self.channel.unsqueeze(2)).squeeze(2)


def sample(kind: str, n_series: int, generator: torch.Generator) -> Series:
    """Series of one kind, "each" or "accumulated"."""
    first = torch.randint(2, (n_series, 1), generator=generator)
    switches = torch.rand(n_series, TIMES, generator=generator) >= STAY[kind]
    state = (first + switches.long().cumsum(1)) % 2
    noise = torch.randn(n_series, TIMES, CHANNELS, generator=generator)
    if kind == "each":
        return Series(MEANS[state] + DEVIATION * noise, 1 + state)
    noise[:, :, 0] = 2.0 * state - 1 + TOLD_DEVIATION * noise[:, :, 0]
    return Series(noise, 1 + state)


def log_odds(kind: str, series: Series) -> Tensor:
    """True log-odds of each decision, `[n, times]`."""
    return 3 * series.deciding if kind == "each" else series.deciding.cumsum(1) / 2


class Decisions(nn.Module):
    """GRU with one log-odds for each time, `[rows, times]`; it sees no later times."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.states = nn.GRU(CHANNELS, recipe.hidden, batch_first=True)
        self.head = nn.Linear(recipe.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds of series `[rows, times, channels]`."""
        return self.head(self.states(x)[0]).squeeze(2)


class Read(nn.Module):
    """What is explained of the decisions of a series: their sum, or the one at a time; `[rows]`."""

    def __init__(self, decisions: nn.Module, time: int | None) -> None:
        super().__init__()
        self.decisions, self.time = decisions, time

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds of series `[rows, times, channels]`."""
        found: Tensor = self.decisions(x)
        return found.sum(1) if self.time is None else found[:, self.time]


def train(net: nn.Module, recipe: Recipe, seed: int) -> None:
    """Cross-entropy against the true probability at every time, on fresh series at every step."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(_: int) -> Tensor:
        series = sample(recipe.kind, recipe.batch, generator)
        wanted = log_odds(recipe.kind, series).sigmoid()
        return nn.functional.binary_cross_entropy_with_logits(net(series.x), wanted)

    fit(net, loss, recipe.steps, lr=recipe.lr)


def load(name: str, model_seed: int, *, n_rows: int = 20, n_references: int = 200) -> Problem:
    """One of switching_each, switching_accumulated and switching_inner, with its trained net."""
    kind = "each" if name == "switching_each" else "accumulated"
    recipe = Recipe(kind)
    net = trained(
        f"switching_{kind}",
        model_seed,
        recipe,
        partial(Decisions, recipe),
        partial(train, recipe=recipe, seed=model_seed),
    )
    generator = torch.Generator().manual_seed(2000 + model_seed)
    series = sample(kind, n_rows, generator)
    references = sample(kind, n_references, generator)
    right = (net(references.x) > 0) == (log_odds(kind, references) > 0)
    last = INNER if name == "switching_inner" else TIMES - 1
    forward = TwoClasses(Read(net, None if kind == "each" else last))
    return Problem(
        name,
        model_seed,
        forward,
        series.x,
        _measures(name),
        "match",
        target=forward(series.x).argmax(1),
        data=references.x,
        truth=truth(series, last).flatten(1),
        accuracy=float((right if kind == "each" else right[:, last]).float().mean()),
        variants=VARIANTS,
        peers=PEERS,
        window=WINDOW,
    )


def truth(series: Series, last: int) -> Tensor:
    """The cells that decide, up to the time that is read, `[n, times, channels]`."""
    found = nn.functional.one_hot(series.channel, CHANNELS).bool()
    found[:, last + 1 :] = False
    return found


def _measures(name: str) -> tuple[measures.Measure, ...]:
    if name != "switching_inner":
        return (measures.precision_recall,)
    later = (torch.arange(TIMES) > INNER).repeat_interleave(CHANNELS)
    return (measures.precision_recall, partial(measures.unseen_above, unseen=later))
