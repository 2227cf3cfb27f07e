"""How gates are learned: estimators, the update rule, the loop, and the reading of its result."""

from .estimators import Estimate, Estimator, Reparameterized
from .family import Ranking, SelectionFamily
from .fit import Solution, Solver
from .noise import Noise
from .score_function import ScoreFunction

__all__ = [
    "Estimate",
    "Estimator",
    "Noise",
    "Ranking",
    "Reparameterized",
    "ScoreFunction",
    "SelectionFamily",
    "Solution",
    "Solver",
]
