"""How gates are learned: estimators, the update rule, the loop, and the reading of its result."""

from .estimators import Estimate, Estimator, LossFunction, Reparameterized
from .family import SelectionFamily
from .fit import Solver
from .noise import Noise
from .ranking import Ranking
from .record import Learned, Solution
from .score_function import ScoreFunction

__all__ = [
    "Estimate",
    "Estimator",
    "Learned",
    "LossFunction",
    "Noise",
    "Ranking",
    "Reparameterized",
    "ScoreFunction",
    "SelectionFamily",
    "Solution",
    "Solver",
]
