"""Features and their gates: which elements share a gate, and what the model sees when gates are closed."""

from stg_attr.distributions import Bernoulli, BinaryConcrete, GateDistribution, Gaussian
from stg_attr.modules import BinaryConcreteStochasticGates, GaussianStochasticGates

from . import references
from .baselines import Baseline, ReferenceSet, as_references
from .blending import Blend
from .features import FeatureGroups
from .filling import FillIn, NearestRows, Table
from .image_references import photograph_baseline
from .layer_masks import activation_masks
from .masks import column_mask, default_masks, grid_mask, pixel_mask, position_mask, superpixel_mask
from .pairs import PairedBlend, Pairs
from .tensors import unusual
from .text_masks import sentence_mask, token_mask, word_mask

__all__ = [
    "Baseline",
    "Bernoulli",
    "BinaryConcrete",
    "BinaryConcreteStochasticGates",
    "Blend",
    "FeatureGroups",
    "FillIn",
    "GateDistribution",
    "Gaussian",
    "GaussianStochasticGates",
    "NearestRows",
    "PairedBlend",
    "Pairs",
    "ReferenceSet",
    "Table",
    "activation_masks",
    "as_references",
    "column_mask",
    "default_masks",
    "grid_mask",
    "photograph_baseline",
    "pixel_mask",
    "position_mask",
    "references",
    "sentence_mask",
    "superpixel_mask",
    "token_mask",
    "unusual",
    "word_mask",
]
