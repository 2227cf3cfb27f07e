"""Selecting features: rankings, the search for a small set that suffices, and sparsities."""

from .ranking import Ranking
from .search import SetSearch
from .settings import SearchSettings
from .sparsity import Budget, FixedWeight, Sparsity, Sweep

__all__ = ["Budget", "FixedWeight", "Ranking", "SearchSettings", "SetSearch", "Sparsity", "Sweep"]
