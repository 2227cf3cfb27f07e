"""Gates on components of a model: heads, MLP blocks, channels, units."""

from .closed import MeanActivation
from .gates import ComponentStochasticGates
from .places import channel_sites, head_sites, mlp_sites
from .site import Site, named_sites

__all__ = [
    "ComponentStochasticGates",
    "MeanActivation",
    "Site",
    "channel_sites",
    "head_sites",
    "mlp_sites",
    "named_sites",
]
