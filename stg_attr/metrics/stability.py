"""Stability: how much attributions of the same examples agree between seeds, restarts or noisy inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count, check_number, check_share
from stg_attr.gates import FeatureGroups
from stg_attr.model import Inputs, checked_inputs

__all__ = ["Stability", "agreement", "under_noise"]


@dataclass(frozen=True)
class Stability:
    """How much several attributions of the same examples agree.

    Attributes:
        rank_correlation: Spearman's, mean over the pairs of runs, [batch]; NaN if fewer than two features
            are compared or a run gives all of them the same value.
        top_overlap: share of the top features that two runs have in common, mean over the pairs, [batch].
        sensitivity: largest change of a run against the first, over the norm of the first, [batch]. With
            runs from `under_noise` it is that of On the (In)fidelity and Sensitivity of Explanations (Yeh et
            al., 2019), https://arxiv.org/abs/1901.09392.
    """

    rank_correlation: Tensor
    top_overlap: Tensor
    sensitivity: Tensor


def agreement(
    runs: Sequence[Inputs],
    *,
    top: float = 0.1,
    among: Tensor | None = None,
    feature_mask: Inputs | None = None,
) -> Stability:
    """Compare attributions of the same examples, from several seeds or under noise.

    Args:
        runs: two or more attributions by any method, each in the structure and shape of the inputs.
        top: share of the features whose overlap is taken, in (0, 1]; at least one feature. Ties go to the
            feature that comes first.
        among: features that the rank correlation is taken over, bool [batch, features] or, one for each run,
            [runs, batch, features], where two runs are compared on what both name; None for all.
        feature_mask: groups of elements that are one feature.

    Raises:
        ArgumentError: fewer than two runs, runs of different shapes, or a share outside its range.

    Example:
        >>> runs = [torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[4.0, 3.0, 1.0, 2.0]])]
        >>> agreement(runs, top=0.5).top_overlap
        tensor([1.], dtype=torch.float64)
    """
    given = _checked_runs(runs)
    check_share("top", top, mend="0.1 asks for the top ten percent.")
    groups = FeatureGroups.from_mask(feature_mask, given[0])
    values = torch.stack([groups.reduce(run) for run in given])  # [runs, batch, features]
    exists = groups.exists.expand_as(values[0])
    return Stability(
        _rank_correlation(values, _compared(among, values, exists)),
        _top_overlap(values.masked_fill(~exists, -torch.inf), exists, top),
        _sensitivity([torch.cat([part.flatten(1).double() for part in run], 1) for run in given]),
    )


def under_noise(
    attribute: Callable[[Inputs], Inputs],
    inputs: Inputs,
    *,
    radius: float = 0.02,
    n_draws: int = 10,
    seed: int = 0,
) -> list[Inputs]:
    """Attributions of the inputs, and of the inputs under small uniform noise.

    Args:
        attribute: maps inputs to attributions.
        inputs: what is explained, each [batch, ...].
        radius: largest change of an input element.
        n_draws: noisy copies.
        seed: of the noise; the global random state is not used.

    Returns:
        The attributions, of the inputs first; for `agreement`.

    Raises:
        ArgumentError: a number is outside its range, or the inputs are not floating-point.
    """
    given = checked_inputs(inputs)
    if not all(x.is_floating_point() for x in given):
        raise ArgumentError(
            "inputs",
            expected="floating-point inputs, to which noise can be added",
            found=str([str(x.dtype) for x in given]),
            mend="Explain their embeddings.",
        )
    check_count("n_draws", n_draws, mend="10 draws are usual.")
    check_number("radius", radius, least=0, mend="0.02 is usual for inputs in [0, 1].")
    generator = torch.Generator().manual_seed(seed % 2**63)
    found = [attribute(inputs)]
    for _ in range(n_draws):
        noise = (
            radius * (2 * torch.rand(x.shape, generator=generator, dtype=torch.float32, device="cpu") - 1)
            for x in given
        )
        noisy = tuple(x.detach() + n.to(x.device, x.dtype) for x, n in zip(given, noise, strict=True))
        found.append(attribute(noisy[0] if isinstance(inputs, Tensor) else noisy))
    return found


def _checked_runs(runs: Sequence[Inputs]) -> list[tuple[Tensor, ...]]:
    given = [(run,) if isinstance(run, Tensor) else tuple(run) for run in runs]
    shapes = [[tuple(part.shape) for part in run] for run in given]
    if len(given) < 2 or any(shape != shapes[0] for shape in shapes):
        raise ArgumentError(
            "runs",
            expected="two or more attributions of one shape",
            found=str(shapes[:4]),
            mend="For example [stg.attribute(x, seed=seed) for seed in range(5)].",
        )
    if not all(bool(part.isfinite().all()) for run in given for part in run):
        raise ArgumentError(
            "runs",
            expected="finite attributions",
            found="NaN or inf",
            mend="Leave the examples out for which the model failed: found.rows(found.converged), say.",
        )
    return [tuple(part.detach() for part in run) for run in given]


def _compared(among: Tensor | None, values: Tensor, exists: Tensor) -> Tensor:
    if among is None:
        return exists.expand_as(values)
    if among.dtype != torch.bool or tuple(among.shape) not in (values.shape[1:], values.shape):
        raise ArgumentError(
            "among",
            expected=f"bool of shape {tuple(values.shape[1:])} or {tuple(values.shape)}",
            found=f"{among.dtype} of shape {tuple(among.shape)}",
            mend="For example explanation.selected.",
        )
    return (among & exists).expand_as(values)


def _rank_correlation(values: Tensor, compared: Tensor) -> Tensor:
    """Spearman's correlation, which is Pearson's of the ranks, mean over the pairs of runs, [batch]."""
    pairs = [
        _pearson(
            _ranks(values[i], compared[i] & compared[j]),
            _ranks(values[j], compared[i] & compared[j]),
            compared[i] & compared[j],
        )
        for i, j in combinations(range(len(values)), 2)
    ]
    return torch.stack(pairs).nanmean(0)


def _ranks(values: Tensor, compared: Tensor) -> Tensor:
    """Ranks among the compared features, the mean rank for ties, [batch, features].

    `scipy.stats.rankdata` does the same, and the tests compare with it. It is not used here because scipy is
    no dependency of this package (113 MB installed), and because these rows stay on their device.
    """
    ordered, order = values.masked_fill(~compared, torch.inf).sort(dim=1)
    tie = (ordered.diff(dim=1) != 0).long().cumsum(1)
    tie = torch.nn.functional.pad(tie, (1, 0))
    place = torch.arange(values.shape[1], dtype=torch.float64, device=values.device).expand_as(ordered)
    total = torch.zeros_like(place).scatter_add(1, tie, place)
    count = torch.zeros_like(place).scatter_add(1, tie, torch.ones_like(place))
    mean = (total / count.clamp_min(1)).gather(1, tie)
    return torch.empty_like(mean).scatter_(1, order, mean)


def _pearson(a: Tensor, b: Tensor, compared: Tensor) -> Tensor:
    """Correlation over the compared features, [batch]; NaN where it is not defined."""
    n = compared.sum(1, keepdim=True)
    a, b = ((x - (x * compared).sum(1, keepdim=True) / n) * compared for x in (a, b))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def _top_overlap(values: Tensor, exists: Tensor, top: float) -> Tensor:
    count = (top * exists.sum(1, keepdim=True)).round().clamp_min(1)
    rank = values.argsort(dim=2, descending=True, stable=True).argsort(2)
    chosen = rank < count
    pairs = [(chosen[i] & chosen[j]).sum(1) for i, j in combinations(range(len(values)), 2)]
    return torch.stack(pairs).double().mean(0) / count.squeeze(1)


def _sensitivity(flat: list[Tensor]) -> Tensor:
    """Largest change of the runs, each [batch, elements], against the first, [batch]."""
    size = flat[0].norm(dim=1)
    changes = torch.stack([(run - flat[0]).norm(dim=1) for run in flat[1:]])
    return changes.amax(0) / torch.where(size == 0, 1.0, size)
