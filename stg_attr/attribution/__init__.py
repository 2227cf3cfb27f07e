"""What is offered: the attribution classes, which ask, solve and read."""

from stg_attr.explanation import Curve, Explanation, Restarts, Scores, Status, SufficientSets
from stg_attr.gates import sentence_mask, token_mask, word_mask
from stg_attr.model import NamedInputs

from .input import StochasticGates
from .layer import LayerStochasticGates
from .llm import LLMStochasticGates
from .parts import OnStep

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
