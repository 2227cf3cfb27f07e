"""Sparse, checkable attributions for any PyTorch model, by stochastic gates over its input."""

from .attribution import (
    Explanation,
    LayerStochasticGates,
    LLMStochasticGates,
    NamedInputs,
    Status,
    StochasticGates,
)
from .errors import ArgumentError
from .gates import (
    Bernoulli,
    BinaryConcrete,
    Gaussian,
    ReferenceSet,
    column_mask,
    grid_mask,
    pixel_mask,
    position_mask,
    references,
    sentence_mask,
    superpixel_mask,
    token_mask,
    word_mask,
)
from .objective import Budget, Delete, FixedWeight, Hybrid, OutputMatch, Preserve, RetainedScore, Sweep
from .solve import Reparameterized, ScoreFunction

__all__ = [
    "ArgumentError",
    "Bernoulli",
    "BinaryConcrete",
    "Budget",
    "Delete",
    "Explanation",
    "FixedWeight",
    "Gaussian",
    "Hybrid",
    "LLMStochasticGates",
    "LayerStochasticGates",
    "NamedInputs",
    "OutputMatch",
    "Preserve",
    "ReferenceSet",
    "Reparameterized",
    "RetainedScore",
    "ScoreFunction",
    "Status",
    "StochasticGates",
    "Sweep",
    "column_mask",
    "grid_mask",
    "pixel_mask",
    "position_mask",
    "references",
    "sentence_mask",
    "superpixel_mask",
    "token_mask",
    "word_mask",
]

__version__ = "0.1.0"
