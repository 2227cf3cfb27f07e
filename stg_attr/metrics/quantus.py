"""Quantus: attributions as an explanation function for the metrics of that package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import Attribution
from torch import nn

from stg_attr.attribution import StochasticGates
from stg_attr.model.isolation import module_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["quantus_explainer"]

# Keyword arguments that Quantus adds for itself; `attribute` does not know them.
_QUANTUS_OWN = ("method", "device", "xai_lib", "channel_first", "softmax", "model_predict_kwargs")


def quantus_explainer(
    method: Callable[[nn.Module], Attribution] = StochasticGates,
) -> Callable[..., NDArray[np.float64]]:
    """An explanation function for `quantus.evaluate` and for the metrics of Quantus.

    Quantus: An Explainable AI Toolkit for Responsible Evaluation of Neural Network Explanations and Beyond
    (Hedström et al., 2023), https://arxiv.org/abs/2202.06861.

    Args:
        method: makes the attribution of a model: a class of Captum's kind, or for settings a function such as
            `lambda model: StochasticGates(model, objective=Preserve())`.

    Returns:
        A function of `model`, `inputs` and `targets` as Quantus passes them, arrays [batch, ...] and [batch],
        that returns an array in the shape of the inputs. Its further keyword arguments, Quantus'
        `explain_func_kwargs`, go to `attribute`.

    Example:
        >>> explain = quantus_explainer()
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> explain(model, torch.ones(3, 1, 2, 2).numpy(), torch.tensor([0, 1, 1]).numpy(), n_steps=2).shape
        (3, 1, 2, 2)
    """

    def explain(
        model: nn.Module, inputs: NDArray[Any], targets: NDArray[Any] | None, **settings: Any
    ) -> NDArray[np.float64]:
        module = module_of(model)
        like = torch.empty(0)
        if module is not None:
            like = next(
                module.parameters(), like
            )  # the inputs need the model's device and precision; the arrays of Quantus are float64
        x = torch.as_tensor(inputs).to(like)
        target = None if targets is None else torch.as_tensor(targets).long()
        known = {name: value for name, value in settings.items() if name not in _QUANTUS_OWN}
        attributions: torch.Tensor = method(model).attribute(x, target=target, **known)
        found: NDArray[np.float64] = attributions.detach().cpu().double().numpy()
        return found

    return explain
