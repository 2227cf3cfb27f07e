"""From an order of features to a set: rankings, the search for sufficient sets, and where it stops."""

from .ranking import Ranking
from .search import SetSearch
from .settings import SearchSettings
from .sparsity import Budget, FixedWeight, Sparsity, Sweep

__all__ = ["Budget", "FixedWeight", "Ranking", "SearchSettings", "SetSearch", "Sparsity", "Sweep"]
