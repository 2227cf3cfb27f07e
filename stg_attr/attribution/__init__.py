"""What is offered: attribution classes and the explanation they return."""

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .records import Restarts
from .sets import SufficientSets

__all__ = ["Curve", "Explanation", "Restarts", "Scores", "Status", "StochasticGates", "SufficientSets"]
