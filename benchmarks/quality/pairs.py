"""P10: sentences in which two planted words decide only together, behind an embedding and a trained LSTM.

Sentences of 20 words; the words A and B each stand in them once or not at all, at random places among others.

    pair_in_context  class 1 where A and B are both there; else one of them, or neither
    pair_in_order    class 1 where A stands before B; else B before A, one of them, or neither

Half of the sentences are of class 1. A word that is left out is the padding. The nets know it from half of
their sentences, whose class is that of what is left; those of the problems that end in `_unpadded` do not.
Sentences of class 1 that the net puts there are explained; A and B are the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from . import measures
from .nets import TwoClasses, fit, one_cycle, trained
from .problem import Problem, Variant

PAD, A, B, FIRST_FILLER, VOCABULARY = 0, 1, 2, 3, 40
LENGTH = 20
VARIANTS = (
    Variant("", "score", "zero"),
    Variant("max_evals=100", "score", "zero", 100),
    Variant("match", "match", "zero"),
)
PEERS = ("FeatureAblation", "LayerIntegratedGradients", "Occlusion", "KernelShap")


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    ordered: bool
    knows_padding: bool
    width: int = 16
    hidden: int = 32
    steps: int = 800
    batch: int = 128
    lr: float = 1e-2


def sample(ordered: bool, n_sentences: int, generator: torch.Generator) -> Tensor:
    """Word ids `[n, 20]`, none of them padding."""
    ids = torch.randint(FIRST_FILLER, VOCABULARY, (n_sentences, LENGTH), generator=generator)
    places = torch.rand(n_sentences, LENGTH, generator=generator).argsort(1)[:, :2]
    kind = torch.randint(8 if ordered else 6, (n_sentences,), generator=generator)
    positive = torch.rand(n_sentences, generator=generator) < 0.5
    wrong_order = ordered & ~positive & (kind >= 6)
    has_a = positive | wrong_order | (kind % 3 == 1)
    has_b = positive | wrong_order | (kind % 3 == 2)
    if ordered:  # places are in order, but for what is to be the wrong one
        places = places.sort(1).values
        places = torch.where(wrong_order.unsqueeze(1), places.flip(1), places)
    rows = torch.arange(n_sentences)
    ids[rows[has_a], places[has_a, 0]] = A
    ids[rows[has_b], places[has_b, 1]] = B
    return ids


def label(ordered: bool, ids: Tensor) -> Tensor:
    """Whether sentences `[n, 20]` are of class 1, bool `[n]`."""
    is_a, is_b = ids == A, ids == B
    if not ordered:
        return is_a.any(1) & is_b.any(1)
    before = is_a.long().cumsum(1) > 0
    return (before & is_b).any(1)


def padded(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The sentences, every second one with a random share of its words left out."""
    share = torch.rand(len(ids), 1, generator=generator) * (torch.arange(len(ids)) % 2)[:, None]
    return ids.masked_fill(torch.rand(ids.shape, generator=generator) < share, PAD)


class Sentence(nn.Module):
    """Embedding, LSTM, and the log-odds of class 1 from its last state, `[rows]`."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, recipe.width)
        self.states = nn.LSTM(recipe.width, recipe.hidden, batch_first=True)
        self.head = nn.Linear(recipe.hidden, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds of sentences `[rows, 20]`."""
        return self.head(self.states(self.embedding(ids))[0][:, -1]).squeeze(1)


def train(net: nn.Module, recipe: Recipe, seed: int) -> None:
    """Cross-entropy on fresh sentences at every step."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(_: int) -> Tensor:
        ids = sample(recipe.ordered, recipe.batch, generator)
        ids = padded(ids, generator) if recipe.knows_padding else ids
        return nn.functional.binary_cross_entropy_with_logits(net(ids), label(recipe.ordered, ids).float())

    fit(net, loss, recipe.steps, lr=recipe.lr, schedule=one_cycle)


def load(name: str, model_seed: int, *, n_rows: int = 50) -> Problem:
    """pair_in_context or pair_in_order, padded or not, with its trained net."""
    recipe = Recipe(name.startswith("pair_in_order"), not name.endswith("_unpadded"))
    net = trained(
        name, model_seed, recipe, partial(Sentence, recipe), partial(train, recipe=recipe, seed=model_seed)
    )
    ids = sample(recipe.ordered, 20 * n_rows, torch.Generator().manual_seed(2000 + model_seed))
    wanted, found = label(recipe.ordered, ids), net(ids) > 0
    rows = ids[wanted & found][:n_rows]
    return Problem(
        name,
        model_seed,
        TwoClasses(net),
        rows,
        (measures.precision_at_k,),
        "score",
        target=torch.ones(len(rows), dtype=torch.long),
        truth=(rows == A) | (rows == B),
        accuracy=float((wanted == found).float().mean()),
        variants=VARIANTS,
        peers=PEERS,
        layer=net.embedding,
        window=(2,),
    )
