"""Start: where the parameters of a solve begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, is_number
from stg_attr.gates import FeatureGroups
from stg_attr.gates.layout import Layout
from stg_attr.objective import Objective, RetainedScore

from .activation_map import activation_map
from .gated import GatedModel

__all__ = ["Map", "Start"]

#: A map to start from: for each input a tensor that broadcasts to it; a number for equal gates.
Map: TypeAlias = Tensor | float | tuple[Tensor, ...] | None

_DIMS = (4, 5)  # of images and volumes

_MEND = "Pass a map such as Grad-CAM's, enlarged to the size of the input; 0 for none."


@dataclass(frozen=True, eq=False)
class Start:
    """Where the parameters of a solve begin.

    Attributes:
        given: the map that the user gave, mean over the elements of each gate, [batch, gates]; None for none.
        looks: whether a map is made of the last feature maps of the model.
    """

    given: Tensor | None = None
    looks: bool = False

    @classmethod
    def of(
        cls,
        given: Map,
        inputs: Sequence[Tensor],
        groups: FeatureGroups,
        objective: Objective,
        slopes: bool,
    ) -> Start:
        """What is given; if that is None, a map is looked for where gates are regions of an image.

        Args:
            given: the argument `start`.
            inputs: each [batch, ...].
            groups: their gates.
            objective: a map says what speaks for a score, so only objectives of a score look for one.
            slopes: whether the estimator differentiates the model; only then a map is looked for.

        Raises:
            ArgumentError: what is given is no map of the inputs.
        """
        if given is None:
            scored = isinstance(objective.fidelity, RetainedScore) and slopes
            image = len(inputs) == 1 and inputs[0].dim() in _DIMS and inputs[0].is_floating_point()
            image = image and Layout.of(inputs[0].shape).channel == 1
            return cls(looks=scored and image and groups.neighbours.shape[2] > 0)
        if is_number(given):
            return cls()
        maps = given if isinstance(given, tuple) else (given,)
        if len(maps) != len(inputs):
            raise _wrong(f"a map for each of {len(inputs)} inputs", f"{len(maps)}")
        return cls(groups.reduce([_spread_out(part, x) for part, x in zip(maps, inputs, strict=True)]))

    @property
    def rows(self) -> int:
        """Model rows that it takes for each example."""
        return int(self.looks)

    def of_rows(self, model: GatedModel, rows: slice | Tensor, size: float) -> Tensor | None:
        """What is added to the parameters of some examples, [batch, gates]; None for nothing.

        A map is moved and scaled to a mean of 0 and a standard deviation of `size` over the gates of each
        example, so that only its shape counts.
        """
        found = activation_map(model) if self.looks else None if self.given is None else self.given[rows]
        if found is None:
            return None
        exists = model.groups.exists
        found = found.nan_to_num(0.0, 0.0, 0.0).masked_fill(~exists, 0.0)
        n = exists.sum(1, keepdim=True)
        centred = (found - found.sum(1, keepdim=True) / n).masked_fill(~exists, 0.0)
        spread = (centred.square().sum(1, keepdim=True) / n).sqrt()
        flat = spread <= torch.finfo(found.dtype).eps * found.abs().amax(1, keepdim=True)
        return (size * centred / spread).masked_fill(flat, 0.0).to(model.device, model.dtype)


def _spread_out(given: Any, x: Tensor) -> Tensor:
    """A map in the shape of its input."""
    if not isinstance(given, Tensor) or given.is_complex():
        found = str(given.dtype) if isinstance(given, Tensor) else type(given).__name__
        raise _wrong("a tensor of real numbers", found)
    try:
        whole = given.detach().to(x.device).expand(x.shape)
    except RuntimeError as error:
        raise _wrong(f"a shape that broadcasts to {tuple(x.shape)}", str(tuple(given.shape))) from error
    if not bool(whole.isfinite().all()):
        raise _wrong("finite numbers", "NaN or infinity")
    return whole


def _wrong(expected: str, found: str) -> ArgumentError:
    return ArgumentError("start", expected=expected, found=found, mend=_MEND)
