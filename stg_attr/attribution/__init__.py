"""What is offered: attribution classes and the explanation they return."""

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .sets import SufficientSets

__all__ = ["Curve", "Explanation", "Scores", "Status", "StochasticGates", "SufficientSets"]
