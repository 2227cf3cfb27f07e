"""How gates are learned: the loop, the estimators of its gradient, and the update rule."""

from .estimators import Estimate, Estimator, EstimatorState, LossFunction, Reparameterized
from .noise import Noise
from .score_function import ScoreFunction
from .settings import SolverSettings
from .solver import Problem, Solver
from .state import Learned, Solution

__all__ = [
    "Estimate",
    "Estimator",
    "EstimatorState",
    "Learned",
    "LossFunction",
    "Noise",
    "Problem",
    "Reparameterized",
    "ScoreFunction",
    "Solution",
    "Solver",
    "SolverSettings",
]
