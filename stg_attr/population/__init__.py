"""Gates that all rows of a data set share."""

from .shared import SharedStochasticGates

__all__ = ["SharedStochasticGates"]
