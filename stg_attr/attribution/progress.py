"""Progress: what a solve tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .explanation import Explanation

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a solve is.

    Attributes:
        done: steps done.
        n_steps: steps in all.
        batch: number of examples that are solved together.
        read: reads and measures the explanation of these examples as it stands, which costs some
            evaluations of the model.
    """

    done: int
    n_steps: int
    batch: int
    read: Callable[[], Explanation]
