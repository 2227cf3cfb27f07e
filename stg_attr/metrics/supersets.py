"""Superset stability: whether a set of features keeps the class when a few more features are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.model import (
    Allowance,
    Baselines,
    GatedModel,
    Inputs,
    Scorer,
    Target,
    as_arguments,
    as_index,
    checked_inputs,
    undisturbed,
    watched,
)
from stg_attr.objective import Preserve

__all__ = ["SupersetStability", "superset_stability"]


@dataclass(frozen=True)
class SupersetStability:
    """How often random supersets of a selection keep the class.

    Attributes:
        n_added: features that are shown beside the selected ones, long [batch, points]; 0 is the selection
            itself.
        share: of the random supersets with so many more features for which the model predicts the explained
            class, [batch, points].
        n_draws: supersets drawn for each point; the share has a standard error of at most 0.5 /
            sqrt(n_draws).
    """

    n_added: Tensor
    share: Tensor
    n_draws: int


def superset_stability(
    forward_func: Callable[..., Any],
    inputs: Inputs,
    selected: Tensor,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    n_draws: int = 50,
    perturbations_per_eval: int | None = None,
    seed: int = 0,
) -> SupersetStability:
    """Measure how often the class is kept when random features are shown beside the selected ones.

    If a few more features change the class, the set explains little, even if it keeps the class alone. The
    numbers of added features grow in geometric steps up to all others. Probabilistic Stability Guarantees
    for Feature Attributions (Jin, Xue, You, Goel, Wong, 2025), https://arxiv.org/abs/2504.13787, calls the
    share with at most so many added features soft stability; here each share is of exactly so many.

    Args:
        forward_func: the model, one row of outputs [rows, classes] per input row.
        inputs: what was explained, [batch, ...], or a tuple.
        selected: features of each example, bool [batch, features], in the order of their ids in
            `feature_mask`, such as `Explanation.selected`.
        baselines: what features that are not shown are replaced by, as for `StochasticGates.attribute`; of
            several references, each draw is shown another one.
        target: the class; None for each example's own prediction.
        additional_forward_args: passed on to the model.
        feature_mask: groups of elements, as for `StochasticGates.attribute`.
        n_draws: random supersets for each number of added features.
        perturbations_per_eval: supersets in one call of the model; None for what suits the device.
        seed: of the draws.

    Raises:
        ArgumentError: an argument cannot be used, or the outputs have no classes.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0] - 2 * x[:, 1], torch.zeros(len(x))], 1)
        >>> shown = torch.tensor([[True, False, False]])
        >>> superset_stability(model, torch.ones(1, 3), shown, target=0).share[0, 0]
        tensor(1.)
    """
    given = checked_inputs(inputs)
    check_count("n_draws", n_draws, mend="50 is the default.")
    check_count("seed", seed, least=None, mend="Leave it out for the default.")
    groups = FeatureGroups.from_mask(feature_mask, given)
    exists = groups.exists.expand(len(given[0]), -1)
    _check_selected(selected, exists)
    selected, device = selected.to(given[0].device), given[0].device
    with undisturbed(forward_func, device, seed) as forward:
        with watched(is_model=False):
            blend = Blend.of(tuple(x.detach().clone() for x in given), baselines, groups)
        scorer = Scorer(forward, as_arguments(additional_forward_args), len(given[0]))
        index = as_index(target, len(given[0]))
        model = GatedModel(blend, scorer, Preserve(), index, perturbations_per_eval)
        if model.target is None or model.target.shape[1] != 1:
            raise ArgumentError(
                "forward_func",
                expected="outputs [rows, classes], since the class has to be kept",
                found="one number for each row" if model.target is None else "outputs of several dimensions",
                mend="Return one output for each class; for other scores use budget_curves.",
            )
        counts = _added((exists & ~selected).sum(1))
        shares = [
            _share(model, selected, exists, counts[:, i], n_draws, seed) for i in range(counts.shape[1])
        ]
    return SupersetStability(counts, torch.stack(shares, 1), n_draws)


def _check_selected(selected: Tensor, exists: Tensor) -> None:
    fits = isinstance(selected, Tensor) and selected.dtype == torch.bool and selected.shape == exists.shape
    if not fits:
        found = (
            f"{selected.dtype} of shape {tuple(selected.shape)}"
            if isinstance(selected, Tensor)
            else type(selected).__name__
        )
        raise ArgumentError(
            "selected",
            expected=f"a bool tensor [batch, features], {tuple(exists.shape)}",
            found=found,
            mend="Pass explanation.selected, and the feature_mask that was explained.",
        )


def _added(n_others: Tensor) -> Tensor:
    """0, 1, 2, 4, ... and all of the others, long [batch, points]."""
    steps = [0]
    while steps[-1] < int(n_others.max()):
        steps.append(max(1, 2 * steps[-1]))
    return torch.tensor(steps, device=n_others.device).minimum(n_others.unsqueeze(1))


def _share(
    model: GatedModel, selected: Tensor, exists: Tensor, n_added: Tensor, n_draws: int, seed: int
) -> Tensor:
    """Share of random supersets that keep the class, [batch]."""
    batch, n_gates = selected.shape
    kept = torch.zeros(batch, device=selected.device)
    everyone = torch.arange(batch, device="cpu")
    order, allowance = model.blend.reference_order, Allowance()
    for draw in range(n_draws):
        # one stream for each draw, so that fewer draws are the first of more, and examples share them
        generator = torch.Generator().manual_seed((seed * 1_000_003 + draw) % 2**63)
        value = torch.rand(n_gates, generator=generator, dtype=torch.float32, device="cpu")
        value = value.to(selected.device)
        others = exists & ~selected
        place = value.expand(batch, -1).masked_fill(~others, 2.0).argsort(1).argsort(1)
        shown = selected | (others & (place < n_added.unsqueeze(1)))
        reference = order[draw % len(order)].reshape(1)
        kept += model.outcomes(shown, everyone, reference, True, allowance)[0].to(kept.dtype)
        if allowance.failure is not None:
            raise allowance.failure
    return kept / n_draws
