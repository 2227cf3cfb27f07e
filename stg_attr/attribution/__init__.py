"""What is offered: attribution classes and the explanation they return."""

from .explanation import Curve, Explanation, Scores, Status
from .input import StochasticGates
from .layer import LayerStochasticGates
from .llm import LLMStochasticGates
from .named import NamedInputs
from .progress import Progress
from .records import Restarts
from .sets import SufficientSets
from .text import sentence_mask, token_mask, word_mask

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
