"""P11: clusters of Gaussians, each with a linear rule on features of its own, behind a trained net.

Five clusters in 20 columns, x ~ N(m_c, I) with m_c ~ N(0, 1.5^2 I). Cluster c has four features of its own
and weights w_c of random signs and sizes 1 to 2:

    P(Y=1 | x, c) = sigmoid(w_c . (x - m_c) on the features of c)

The features of a row's cluster are its truth; that the others tell the cluster is not asked for. After
OpenXAI: Towards a Transparent Evaluation of Model Explanations (Agarwal et al. 2022, https://arxiv.org/abs/2206.11104).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from . import measures
from .nets import TwoClasses, fit, trained
from .problem import Problem, Variant

CLUSTERS, OWN = 5, 4
WIDTH = CLUSTERS * OWN
SPREAD = 1.5  # of the centres
VARIANTS = (
    Variant("", "match", "rows"),
    Variant("match, mean", "match", "mean"),
    Variant("match, zero", "match", "zero"),
    Variant("match, noise", "match", "noise"),
    Variant("Hybrid, zero", "score", "zero"),
)
PEERS = ("Saliency", "InputXGradient", "IntegratedGradients", "GradientShap", "FeatureAblation", "KernelShap")


@dataclass(frozen=True)
class Recipe:
    """All that the trained net depends on."""

    hidden: int = 100
    steps: int = 3000
    batch: int = 256
    lr: float = 3e-3


@dataclass(frozen=True)
class Rules:
    """What the clusters are.

    Args:
        centres: `[clusters, columns]`.
        weights: of the rules, 0 for columns that are not the cluster's, `[clusters, columns]`.
    """

    centres: Tensor
    weights: Tensor

    @classmethod
    def draw(cls, seed: int) -> Rules:
        """The clusters of a seed."""
        generator = torch.Generator().manual_seed(3000 + seed)
        centres = SPREAD * torch.randn(CLUSTERS, WIDTH, generator=generator)
        own = torch.randperm(WIDTH, generator=generator).reshape(CLUSTERS, OWN)
        sizes = 1 + torch.rand(CLUSTERS, OWN, generator=generator)
        signs = 2.0 * torch.randint(2, (CLUSTERS, OWN), generator=generator) - 1
        return cls(centres, torch.zeros(CLUSTERS, WIDTH).scatter(1, own, signs * sizes))

    def sample(self, n_rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows `[n, columns]` and their clusters `[n]`."""
        cluster = torch.randint(CLUSTERS, (n_rows,), generator=generator)
        return self.centres[cluster] + torch.randn(n_rows, WIDTH, generator=generator), cluster

    def log_odds(self, x: Tensor, cluster: Tensor) -> Tensor:
        """True log-odds of rows `[n, columns]` of these clusters, `[n]`."""
        return ((x - self.centres[cluster]) * self.weights[cluster]).sum(1)


def build(recipe: Recipe) -> nn.Module:
    """Net 20-100-100-1 with a score for each class."""
    return TwoClasses(
        nn.Sequential(
            nn.Linear(WIDTH, recipe.hidden),
            nn.ReLU(),
            nn.Linear(recipe.hidden, recipe.hidden),
            nn.ReLU(),
            nn.Linear(recipe.hidden, 1),
            nn.Flatten(0),
        )
    )


def train(net: TwoClasses, recipe: Recipe, rules: Rules, seed: int) -> None:
    """Cross-entropy against the true probability, on fresh rows at every step."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(_: int) -> Tensor:
        x, cluster = rules.sample(recipe.batch, generator)
        wanted = rules.log_odds(x, cluster).sigmoid()
        return nn.functional.binary_cross_entropy_with_logits(net.log_odds(x), wanted)

    fit(net, loss, recipe.steps, lr=recipe.lr)


def load(name: str, model_seed: int, *, n_rows: int = 100, n_references: int = 1000) -> Problem:
    """The clusters of this seed and their trained net."""
    recipe, rules = Recipe(), Rules.draw(model_seed)
    net = trained(
        name,
        model_seed,
        recipe,
        partial(build, recipe),
        partial(train, recipe=recipe, rules=rules, seed=model_seed),
    )
    generator = torch.Generator().manual_seed(2000 + model_seed)
    rows, cluster = rules.sample(n_rows, generator)
    references, theirs = rules.sample(n_references, generator)
    right = (net(references).argmax(1) == 1) == (rules.log_odds(references, theirs) > 0)
    return Problem(
        name,
        model_seed,
        net,
        rows,
        (measures.precision_at_k,),
        "match",
        target=net(rows).argmax(1),
        data=references,
        truth=rules.weights[cluster] != 0,
        accuracy=float(right.float().mean()),
        variants=VARIANTS,
        peers=PEERS,
    )
