"""What is offered: the attribution classes, which ask, solve and read."""

from stg_attr.explanation import Curve, Explanation, Restarts, Scores, Status, SufficientSets

from .input import OnStep, StochasticGates
from .layer import LayerStochasticGates
from .llm import LLMStochasticGates
from .named import NamedInputs
from .text import sentence_mask, token_mask, word_mask

__all__ = [
    "Curve",
    "Explanation",
    "LLMStochasticGates",
    "LayerStochasticGates",
    "NamedInputs",
    "OnStep",
    "Restarts",
    "Scores",
    "Status",
    "StochasticGates",
    "SufficientSets",
    "sentence_mask",
    "token_mask",
    "word_mask",
]
