"""What the gates have to do: a loss of the scores of what is kept and of what is removed."""

from .fidelity import Anchors, Fidelity, OutputMatch, RetainedScore, retained_share
from .objective import Delete, Hybrid, Objective, Preserve

__all__ = [
    "Anchors",
    "Delete",
    "Fidelity",
    "Hybrid",
    "Objective",
    "OutputMatch",
    "Preserve",
    "RetainedScore",
    "retained_share",
]
