"""The former place of `stg_attr.modules`.

A pickle names the file of each class, so pickles that were written before the move still need this one.
"""

from stg_attr.modules import BinaryConcreteStochasticGates, GaussianStochasticGates

__all__ = ["BinaryConcreteStochasticGates", "GaussianStochasticGates"]
