"""What is offered: attribution classes and the explanation they return."""

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .layer import LayerStochasticGates
from .named import NamedInputs

__all__ = [
    "Curve",
    "Explanation",
    "LayerStochasticGates",
    "NamedInputs",
    "Scores",
    "Status",
    "StochasticGates",
]
