"""What the gates have to do: a loss of the scores of what is kept and of what is removed."""

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
