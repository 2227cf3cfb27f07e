"""The question that the gates answer: an objective, which is a loss of the score, and a sparsity."""

from .fidelity import (
    Anchors,
    Delete,
    Fidelity,
    Hybrid,
    Objective,
    OutputMatch,
    Preserve,
    RetainedScore,
    retained_share,
)
from .sparsity import Budget, FixedWeight, Sparsity, Sweep

__all__ = [
    "Anchors",
    "Budget",
    "Delete",
    "Fidelity",
    "FixedWeight",
    "Hybrid",
    "Objective",
    "OutputMatch",
    "Preserve",
    "RetainedScore",
    "Sparsity",
    "Sweep",
    "retained_share",
]
