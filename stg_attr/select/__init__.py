"""Selecting features: rankings, the search for a small set that suffices, and sparsities."""

from .averaging import averaged
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
    "averaged",
]
