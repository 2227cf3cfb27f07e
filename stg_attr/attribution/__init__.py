"""What is offered: attribution classes and the explanation they return."""

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .layer import LayerStochasticGates

__all__ = ["Curve", "Explanation", "LayerStochasticGates", "Scores", "Status", "StochasticGates"]
