"""The model as a function of gates: its inputs, the score of each row, and the count of evaluations."""

from .allowance import Allowance
from .chunks import Chunks, ChunkSettings, is_out_of_memory
from .dependence import MOST_ALONE, depends_on_others, measured_again, most_again, tolerance
from .examples import Examples, goes_along
from .first_call import FirstCall
from .gated import GatedModel
from .inputs import Baselines, Gaps, Given, Inputs, as_arguments, checked_inputs, own_arguments
from .isolation import disturbing_layers, module_of, solve_device, undisturbed
from .layer_site import LayerForward, LayerSite
from .measured import Measured
from .memory import Memory
from .named import NamedInputs
from .prefixes import Prefixes
from .profile import Profile, ProfileSettings
from .randomness import watched
from .scorer import Scorer
from .signals import raised_by_handler
from .start import Map, Start
from .targets import Target, as_index
from .without_slopes import looks
from .worth import FeatureWorth

__all__ = [
    "MOST_ALONE",
    "Allowance",
    "Baselines",
    "ChunkSettings",
    "Chunks",
    "Examples",
    "FeatureWorth",
    "FirstCall",
    "Gaps",
    "GatedModel",
    "Given",
    "Inputs",
    "LayerForward",
    "LayerSite",
    "Map",
    "Measured",
    "Memory",
    "NamedInputs",
    "Prefixes",
    "Profile",
    "ProfileSettings",
    "Scorer",
    "Start",
    "Target",
    "as_arguments",
    "as_index",
    "checked_inputs",
    "depends_on_others",
    "disturbing_layers",
    "goes_along",
    "is_out_of_memory",
    "looks",
    "measured_again",
    "module_of",
    "most_again",
    "own_arguments",
    "raised_by_handler",
    "solve_device",
    "tolerance",
    "undisturbed",
    "watched",
]
