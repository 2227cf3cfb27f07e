"""Gates as layers of a model: drop-in replacements for the two modules of `captum.module`."""

from .binary_concrete import BinaryConcreteStochasticGates
from .gaussian import GaussianStochasticGates

__all__ = ["BinaryConcreteStochasticGates", "GaussianStochasticGates"]
