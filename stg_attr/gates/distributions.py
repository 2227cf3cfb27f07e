"""The former place of `stg_attr.distributions`.

A pickle names the file of each class, so pickles that were written before the move still need this one.
"""

from stg_attr.distributions import Bernoulli, BinaryConcrete, GateDistribution, Gaussian

__all__ = ["Bernoulli", "BinaryConcrete", "GateDistribution", "Gaussian"]
