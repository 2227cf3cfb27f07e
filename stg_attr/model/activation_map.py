"""Activation map: where in an image the last feature maps of a net speak for its score."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from stg_attr.gates import FeatureGroups

from .chunks import Chunks
from .examples import Examples
from .gated_loss import of_arrays
from .randomness import uncompiled
from .scorer import Scorer, picked

__all__ = ["activation_map"]

_MODES = {4: "bilinear", 5: "trilinear"}


class Model(Protocol):
    """What is needed of a `GatedModel`; see there."""

    scorer: Scorer
    chunks: Chunks
    everyone: Examples

    @property
    def groups(self) -> FeatureGroups:
        """The gates of each example."""

    @property
    def direction(self) -> Tensor:
        """1 where the score rises from the references to the input, -1 where it falls, [batch, 1]."""


def activation_map(model: Model) -> Tensor | None:
    """Grad-CAM at the last feature maps that the model computes, larger where they speak for the score.

        map = sum_c A_c mean_ij(ds / dA_cij),  enlarged to the input, mean over the elements of each gate

    Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization (Selvaraju et al., 2017),
    https://arxiv.org/abs/1610.02391, without its last step, which sets negative values to 0. A is what the
    last module returns of as many dimensions as the input, with more than one place in each of those after
    the channels. It takes one model row for each example.

    Args:
        model: of one input, an image or a volume with the channels in dimension 1.

    Returns:
        [batch, gates]; None if the model has no such module, or its score no slope in what that returns.
    """
    maps = None
    for chunk in model.chunks.over(1, len(model.everyone.index)):
        with chunk:
            found = _map_of(model, model.everyone.part(chunk.examples))
            if found is None:
                return None
            maps = chunk.put(maps, found.unsqueeze(0))
    assert maps is not None
    enlarged = nn.functional.interpolate(
        maps[0], model.everyone.blend.inputs[0].shape[2:], mode=_MODES[maps[0].dim()]
    )
    return model.groups.reduce([enlarged]) * model.direction


def _map_of(model: Model, some: Examples) -> Tensor | None:
    """The map of some examples at the size at which the model computes it, [examples, 1, ...]."""
    x = some.blend.inputs[0].clone().requires_grad_()
    with of_arrays(), torch.enable_grad(), uncompiled(), _feature_maps(x.shape) as seen:
        output = model.scorer.output([x], some)
        score = picked(output, some)
    if not seen or output.dim() > 2 or not score.requires_grad:
        return None
    found: tuple[Tensor | None, ...] = torch.autograd.grad(score.sum(), seen[-1], allow_unused=True)
    slope = found[0]
    if slope is None:
        return None
    places = tuple(range(2, slope.dim()))
    return (seen[-1].detach() * slope.mean(places, keepdim=True)).sum(1, keepdim=True)


@contextlib.contextmanager
def _feature_maps(shape: Sequence[int]) -> Iterator[list[Tensor]]:
    """The last feature maps that a module returned in this thread; inputs have the given shape."""
    seen: list[Tensor] = []
    thread = threading.get_ident()

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        if threading.get_ident() != thread or not isinstance(output, Tensor):
            return
        fits = output.dim() == len(shape) and output.shape[0] == shape[0] and min(output.shape[2:]) > 1
        if fits and output.requires_grad and output.is_floating_point():
            seen[:] = [output]  # what earlier modules returned need not stay in memory

    hook = register_module_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()
