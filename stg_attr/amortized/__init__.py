"""Gates that a net proposes for each row in one pass."""

from .amortized import AmortizedStochasticGates
from .settings import AmortizedSettings

__all__ = ["AmortizedSettings", "AmortizedStochasticGates"]
