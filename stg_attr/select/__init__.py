"""From an order of features to a set: rankings, the search for sufficient sets, and where it stops."""

from .claims import Claim, OnAverage, OnMost
from .ranking import Ranking
from .search import SetSearch
from .settings import CertificateSettings, SearchSettings
from .sparsity import Budget, FixedWeight, Sparsity, Sweep

__all__ = [
    "Budget",
    "CertificateSettings",
    "Claim",
    "FixedWeight",
    "OnAverage",
    "OnMost",
    "Ranking",
    "SearchSettings",
    "SetSearch",
    "Sparsity",
    "Sweep",
]
