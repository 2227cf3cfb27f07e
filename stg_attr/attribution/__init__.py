"""What is offered: attribution classes and the explanation they return."""

from stg_attr.gates import sentence_mask, token_mask, word_mask

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .layer import LayerStochasticGates
from .llm import LLMStochasticGates
from .named import NamedInputs
from .progress import Progress
from .records import Restarts
from .sets import SufficientSets

__all__ = [
    "Curve",
    "Explanation",
    "LLMStochasticGates",
    "LayerStochasticGates",
    "NamedInputs",
    "Progress",
    "Restarts",
    "Scores",
    "Status",
    "StochasticGates",
    "SufficientSets",
    "sentence_mask",
    "token_mask",
    "word_mask",
]
