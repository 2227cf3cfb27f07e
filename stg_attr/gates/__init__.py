"""What is learned: gates, the features they switch, and what the model sees when they close."""

from . import references
from .blending import Baseline, Blend, ReferenceSet, as_references
from .distributions import Bernoulli, BinaryConcrete, GateDistribution, Gaussian
from .features import FeatureGroups
from .masks import column_mask, default_masks, grid_mask, pixel_mask, position_mask, superpixel_mask
from .modules import BinaryConcreteStochasticGates, GaussianStochasticGates
from .tensors import unusual

__all__ = [
    "Baseline",
    "Bernoulli",
    "BinaryConcrete",
    "BinaryConcreteStochasticGates",
    "Blend",
    "FeatureGroups",
    "GateDistribution",
    "Gaussian",
    "GaussianStochasticGates",
    "ReferenceSet",
    "as_references",
    "column_mask",
    "default_masks",
    "grid_mask",
    "pixel_mask",
    "position_mask",
    "references",
    "superpixel_mask",
    "unusual",
]
