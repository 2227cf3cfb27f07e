"""Worth: what each feature is worth to the objective, measured for the examples that need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .allowance import Allowance
from .gated import GatedModel
from .profile import Profile, ProfileSettings

__all__ = ["FeatureWorth", "expected_of_blind"]

_LEAST = 1e-4  # of the largest square: above 0, and next to nothing


def expected_of_blind(effect: Tensor, blind: Tensor) -> Tensor:
    """How much features without slopes are expected to contribute, in proportion, [batch, gates].

    Estimates of their effects are noisy, also those of features that change nothing, so squares are taken.

    Args:
        effect: their mean effects in a solve, [batch, gates].
        blind: features that slopes do not show, bool [batch, gates]; the others get 0.
    """
    square = effect.square() * blind
    least = (square.amax(1, keepdim=True) * _LEAST).clamp_min(torch.finfo(effect.dtype).tiny)
    return square.maximum(least) * blind


@dataclass(frozen=True)
class FeatureWorth:
    """Profiles of the examples that need one.

    Args:
        model: the model as a function of the gates.
        reacts: gates that the model reacts to, bool [batch, gates].
        blind: see `Profile.measure`, [batch, gates].
        slopes: whether slopes show what the model does with the others.
        seed: of the sets of features.
        settings: what a profile costs.
        allowance: notes a failure of the model.
    """

    model: GatedModel
    reacts: Tensor
    blind: Tensor
    slopes: bool
    seed: int
    settings: ProfileSettings
    allowance: Allowance

    @cached_property
    def profile(self) -> Profile:
        """Contributions and influence of all examples, where evaluations are left for them."""
        if not self.settings.rows(self.slopes):
            return Profile()
        everyone = torch.arange(len(self.reacts), device="cpu")
        return self._note(self._measured(everyone), everyone)

    @property
    def order(self) -> Callable[[Tensor], Tensor] | None:
        """What features are worth, [batch, gates], measured for the examples asked for, long [examples].

        None where that is not measured.
        """
        either = self.model.objective.fidelity.either_direction
        return self._of if self.settings.rows(self.slopes) and (self.slopes or not either) else None

    def _of(self, index: Tensor) -> Tensor:
        new = index.cpu()[~self._known[index.cpu()]]
        if len(new):
            self._note(self._measured(new), new)
        return self._order

    def _measured(self, index: Tensor) -> Profile:
        reacts, blind, slopes = self.reacts, self.blind, self.slopes
        return Profile.measure(
            self.model, reacts, blind, slopes, self.seed, self.settings, self.allowance, index
        )

    def _note(self, found: Profile, index: Tensor) -> Profile:
        order = found.order(self.model, index)
        self._known[index] = True
        if order is not None:
            self._order[index.to(self._order.device)] = order
        return found

    @cached_property
    def _known(self) -> Tensor:
        return torch.zeros(len(self.reacts), dtype=torch.bool, device="cpu")

    @cached_property
    def _order(self) -> Tensor:
        full = self.model.anchors.full
        return torch.zeros(self.reacts.shape, dtype=full.dtype, device=full.device)
