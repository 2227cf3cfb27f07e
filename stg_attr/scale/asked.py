"""The question that a run asks of every row, in words: for readers of its folder, and not compared."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stg_attr.amortized import AmortizedStochasticGates
from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.explanation import in_words
from stg_attr.gates import ReferenceSet

from .arguments import ExplainArguments

__all__ = ["asked_in_words", "shown_in_words"]


def asked_in_words(explainer: object, arguments: ExplainArguments) -> dict[str, str]:
    """Objective, claim, confidence and baselines of a run; without the first where it is not known here.

    Args:
        explainer: what explains, or a function that makes it on another machine.
        arguments: of `explain`.
    """
    words = {"baselines": shown_in_words(arguments.get("baselines"))}
    if "layer_baselines" in arguments:
        words["layer_baselines"] = shown_in_words(arguments["layer_baselines"])
    if not isinstance(explainer, AmortizedStochasticGates | StochasticGates | LayerStochasticGates):
        return words
    method = explainer.method if isinstance(explainer, AmortizedStochasticGates) else explainer
    words |= {"method": type(explainer).__name__, "objective": in_words(method.objective)}
    words["retain"] = f"{method.sparsity.retain:g}"
    claim = method.sparsity.claim
    if claim is not None:
        said = claim.sentence(method.sparsity.retain, not method.objective.keeps)
        words |= {"claim": said, "confidence": f"{claim.confidence:g}"}
    return words


def shown_in_words(baselines: Any) -> str:
    """What removed features show, in words."""
    if isinstance(baselines, tuple) and len(baselines) == 1:
        return shown_in_words(baselines[0])
    if isinstance(baselines, ReferenceSet):
        return f"{len(baselines.rows)} reference rows"
    if isinstance(baselines, Tensor) and baselines.dim() and len(baselines) > 1:
        return f"{len(baselines)} reference rows"
    if baselines is None:
        return "the value 0 in every column, or a blur of a photograph"
    if isinstance(baselines, int | float):
        return f"the value {baselines:g} in every column"
    if hasattr(baselines, "columns") and len(baselines) > 1:
        return f"{len(baselines)} reference rows"
    if isinstance(baselines, Tensor) or hasattr(baselines, "columns"):
        return "one fixed row"
    if callable(baselines):
        return "what a function of the row returns"
    return "given values for each input"
