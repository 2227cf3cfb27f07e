"""(a) What a solve costs beyond the calls of the model that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from stg_attr import Budget, StochasticGates, Sweep
from stg_attr.gates import FeatureGroups

from .nets import MLP, RESNET, SMALL_CNN, TRANSFORMER, Case
from .timing import ratios, spread

HEAD = (
    "| model | gates | batch | steps x samples | bare call, ms | loop over bare | whole solve over bare |\n"
    "|---|---:|---:|---|---:|---:|---:|"
)
#: Model, batch, steps, samples (None for the defaults), rounds; whether a quick run has it.
RUNS: tuple[tuple[Case, int, int | None, int | None, int, bool], ...] = (
    (SMALL_CNN, 1, None, None, 7, True),
    (SMALL_CNN, 16, 6, None, 5, True),
    (SMALL_CNN, 128, 2, 4, 5, False),
    (RESNET, 1, 2, 8, 5, True),
    (RESNET, 16, 1, 2, 3, True),
    (RESNET, 128, 1, 1, 2, False),
    (TRANSFORMER, 1, 6, None, 5, True),
    (TRANSFORMER, 16, 2, 4, 5, True),
    (TRANSFORMER, 128, 1, 1, 3, False),
    (MLP, 1, None, None, 30, True),
    (MLP, 16, None, None, 30, True),
    (MLP, 128, None, None, 15, True),
)


def lines(device: torch.device, quick: bool) -> Iterator[str]:
    """The rows of the table."""
    yield HEAD
    for case, batch, n_steps, n_samples, rounds, is_quick in RUNS:
        if quick and not is_quick:
            continue
        net, x, mask = case.net(device), case.inputs(batch, device), case.mask_on(device)
        solve = _solve(x, mask, n_steps, n_samples)
        found = ratios(net, x, solve, max(2, rounds // 2) if quick else rounds)
        gates = FeatureGroups.from_mask(mask, (x,)).n_gates
        call = 1000 * found.bare / found.n_calls
        yield (
            f"| {case.name} | {gates} | {batch} | {n_steps or 'default'} x {n_samples or 'default'} | "
            f"{call:.3g} | {spread(found.loop)} | {spread(found.whole)} |"
        )


def _solve(
    x: Tensor, mask: Tensor | None, n_steps: int | None, n_samples: int | None
) -> Callable[[Callable[..., Tensor]], object]:
    """With less than the default effort, without the search for the smallest set: it would be most of it."""
    effort = {"n_samples": n_samples} | ({} if n_steps is None else {"n_steps": n_steps})
    sparsity = Sweep() if n_steps is None else Budget()
    return lambda model: StochasticGates(model, sparsity=sparsity).attribute(
        x, feature_mask=mask, target=0, **effort
    )
