"""Sparse, checkable attributions for any PyTorch model, by stochastic gates over its input."""

from .amortized import AmortizedSettings, AmortizedStochasticGates
from .attribution import (
    LayerStochasticGates,
    LLMStochasticGates,
    NamedInputs,
    StochasticGates,
)
from .components import ComponentStochasticGates
from .errors import ArgumentError
from .explanation import Explanation, Settings, Status, show_with
from .gates import (
    Bernoulli,
    BinaryConcrete,
    FillIn,
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
from .objective import Delete, Hybrid, OutputMatch, Preserve, RetainedScore
from .population import SharedStochasticGates
from .select import Budget, FixedWeight, OnAverage, OnMost, Sweep
from .solve import Reparameterized, ScoreFunction
from .tables import one_hot_groups

__all__ = [
    "AmortizedSettings",
    "AmortizedStochasticGates",
    "ArgumentError",
    "Bernoulli",
    "BinaryConcrete",
    "Budget",
    "ComponentStochasticGates",
    "Delete",
    "Explanation",
    "FillIn",
    "FixedWeight",
    "Gaussian",
    "Hybrid",
    "LLMStochasticGates",
    "LayerStochasticGates",
    "NamedInputs",
    "OnAverage",
    "OnMost",
    "OutputMatch",
    "Preserve",
    "ReferenceSet",
    "Reparameterized",
    "RetainedScore",
    "ScoreFunction",
    "Settings",
    "SharedStochasticGates",
    "Status",
    "StochasticGates",
    "Sweep",
    "column_mask",
    "grid_mask",
    "one_hot_groups",
    "pixel_mask",
    "position_mask",
    "references",
    "sentence_mask",
    "superpixel_mask",
    "token_mask",
    "word_mask",
]

__version__ = "0.1.0"


def _picture(explanation: Explanation) -> str:
    from .viz import html  # imported at the first picture, since matplotlib is an extra and slow to import

    return html(explanation)


show_with(_picture)
