"""Metrics of any attribution: how faithful it is (budget curves), and how stable."""

from .curves import ERASER_BUDGETS, BudgetCurves, budget_curves
from .quantus import quantus_explainer
from .stability import Stability, agreement, under_noise
from .supersets import SupersetStability, superset_stability

__all__ = [
    "ERASER_BUDGETS",
    "BudgetCurves",
    "Stability",
    "SupersetStability",
    "agreement",
    "budget_curves",
    "quantus_explainer",
    "superset_stability",
    "under_noise",
]
