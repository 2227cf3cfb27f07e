"""Series whose hidden state says which channel decides, by the protocols of time_interpret and ContraLSP.

`hmm`: two states, 200 times, the label of each time is 1 with the probability sigmoid(2 d), where d is the
value of channel 1 or 2 by the state (Explaining Time Series Predictions with Dynamic Masks, Crabbé, van der
Schaar 2021, https://arxiv.org/abs/2106.05303). `switch`: three states, 100 times, sigmoid(3 d), d is the
value of channel 0, 1 or 2 (What Went Wrong and When?, Tonekaboni et al. 2020,
https://arxiv.org/abs/2003.02821); the channels are Gaussian processes whose lengthscale of 0.2 makes whole
times independent. True are the cells (t, channel that decides at t). Data, net and training are written
from these definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.metrics import auc, average_precision_score, precision_recall_curve
from torch import Tensor, nn

from ..quality.nets import trained

TINY = 1e-5  # of the stretching of the measures, as in the source


@dataclass(frozen=True)
class Kind:
    """What the series of a kind have, and how their net is trained.

    Attributes:
        times: of a series.
        means: of the channels in each state, [states, channels].
        deciding: the channel that decides in each state.
        steepness: of the probability of the label.
        variance: of the channels.
    """

    name: str
    times: int
    means: tuple[tuple[float, ...], ...]
    deciding: tuple[int, ...]
    steepness: float
    variance: float
    hidden: int = 200
    epochs: int = 50
    batch: int = 32
    rate: float = 1e-4
    decay: float = 1e-3
    n_train: int = 640


HMM = Kind("hmm", 200, ((0.1, 1.6, 0.5), (-0.1, -0.4, -1.5)), (1, 2), 2.0, 0.801)
SWITCH = Kind("switch", 100, ((0.8, -0.5, -0.2), (0.0, -1.0, 0.0), (-0.2, -0.2, 0.8)), (0, 1, 2), 3.0, 0.1)
KINDS = {kind.name: kind for kind in (HMM, SWITCH)}
SHARED = 0.01  # covariance of channel 0 and the one that decides, in `hmm`
STAY, LEAVE, TIRES = 0.95, 0.05, 1 / 500  # of `hmm`: state 1 is left more and more easily
MOVES = ((0.95, 0.02, 0.03), (0.02, 0.95, 0.03), (0.03, 0.02, 0.95))  # of `switch`


@dataclass(frozen=True)
class Series:
    """Series, their labels and the truth.

    Attributes:
        x: [series, times, channels].
        labels: of each time, [series, times].
        truth: the cells that decide, bool like x.
    """

    x: Tensor
    labels: Tensor
    truth: Tensor


def states(kind: Kind, n: int, drawn: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    """The states, [series, times]."""
    found = np.empty((n, kind.times), dtype=np.int64)
    if kind.name == "switch":
        state = (drawn.random(n) < 1 / 3).astype(np.int64)
        moves = np.array(MOVES).cumsum(1)
        for t in range(kind.times):
            state = (drawn.random(n)[:, None] > moves[state]).sum(1).clip(max=2)
            found[:, t] = state
        return found
    state, same = drawn.integers(2, size=n), np.zeros(n)
    for t in range(kind.times):
        new = (drawn.random(n) < np.where(state == 1, STAY - TIRES * same, LEAVE)).astype(np.int64)
        same = np.where(new == state, same + 1, 0)
        found[:, t] = state = new
    return found


def sample(kind: Kind, n: int, seed: int) -> Series:
    """Series of one kind."""
    drawn = np.random.default_rng(seed)
    state = states(kind, n, drawn)
    means, deciding = np.array(kind.means), np.array(kind.deciding)[state]
    noise = drawn.standard_normal((n, kind.times, means.shape[1]))
    if kind.name == "hmm":  # the Cholesky factor of a matrix that is diagonal but for one pair
        share = SHARED / kind.variance
        one = np.take_along_axis(noise, deciding[..., None], 2)
        one = share * noise[..., :1] + np.sqrt(1 - share**2) * one
        np.put_along_axis(noise, deciding[..., None], one, 2)
    x = means[state] + np.sqrt(kind.variance) * noise
    value = np.take_along_axis(x, deciding[..., None], 2)[..., 0]
    labels = drawn.random(value.shape) < 1 / (1 + np.exp(-kind.steepness * value))
    truth = np.arange(means.shape[1]) == deciding[..., None]
    return Series(
        torch.tensor(x, dtype=torch.float32), torch.from_numpy(labels).long(), torch.from_numpy(truth)
    )


class Classifier(nn.Module):
    """A GRU, and at each time batch normalisation, ReLU, dropout and two scores."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.states = nn.GRU(len(kind.means[0]), kind.hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(kind.hidden)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(kind.hidden, 2))

    def read(self, hidden: Tensor) -> Tensor:
        """Scores of hidden states [rows, hidden] -> [rows, 2]."""
        found: Tensor = self.head(self.norm(hidden))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Scores at every time of series [rows, times, channels] -> [rows, times, 2]."""
        hidden = self.states(x)[0]
        return self.read(hidden.flatten(0, 1)).reshape(*hidden.shape[:2], 2)


def train(net: nn.Module, kind: Kind, seed: int) -> None:
    """As in the source: each step asks for the label of one random time, and sees the series until then."""
    assert isinstance(net, Classifier)
    series = sample(kind, kind.n_train, 1000 + seed)
    with torch.random.fork_rng(devices=[]):  # dropout draws from it
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(net.parameters(), kind.rate, weight_decay=kind.decay)
        for _ in range(kind.epochs):
            for rows in torch.randperm(kind.n_train).split(kind.batch):
                t = int(torch.randint(kind.times, (1,)))
                scores = net.read(net.states(series.x[rows, : t + 1])[0][:, -1])
                optimizer.zero_grad()
                nn.functional.cross_entropy(scores, series.labels[rows, t]).backward()
                optimizer.step()


def classifier(kind: Kind, seed: int) -> Classifier:
    """The trained net; kept on disk."""
    net = trained(
        f"public-{kind.name}",
        seed,
        kind,
        partial(Classifier, kind),
        partial(train, kind=kind, seed=seed),
    )
    assert isinstance(net, Classifier)
    return net


def areas(found: Tensor, truth: Tensor) -> dict[str, float]:
    """AUP, AUR and AUPRC as in time_interpret: of all cells at once, scores stretched within each series.

    AUP and AUR are the areas under precision and recall over the threshold, by the trapezoid rule; AUPRC is
    the average precision, and does not depend on the scale.
    """
    flat = found.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    scores, true = ((flat - low) / (high - low + TINY)).flatten().numpy(), truth.flatten().numpy()
    precision, recall, levels = precision_recall_curve(true, scores)
    enough = len(levels) > 1
    return {
        "AUP": float(auc(levels, precision[:-1])) if enough else 0.0,
        "AUR": float(auc(levels, recall[:-1])) if enough else 0.0,
        "AUPRC": float(average_precision_score(true, scores)),
    }
