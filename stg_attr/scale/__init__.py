"""Explain a whole data set: in one process, on the ranks of a job, or on Ray."""

from .results import DatasetAttributions, Summary, load_attributions, summarise
from .running import Outcome, explain_dataset
from .worker import RayActors

__all__ = [
    "DatasetAttributions",
    "Outcome",
    "RayActors",
    "Summary",
    "explain_dataset",
    "load_attributions",
    "summarise",
]
