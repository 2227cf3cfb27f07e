"""(c) How time grows with gates, examples, samples and steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from stg_attr import StochasticGates

from .nets import SMALL_CNN, cells
from .timing import nobody_leaves, seconds

SIDE = 224
CELLS = {16: 56, 64: 28, 256: 14, 1024: 7, 3136: 4, 12544: 2, 50176: 1}  # gates -> side of a cell


def lines(device: torch.device, quick: bool) -> Iterator[str]:
    """Four tables; of each the first line is the unit."""
    net, rounds = SMALL_CNN.net(device), 3
    large = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).to(device)
    yield "\nGates: an image of 3 x 224 x 224, 2 steps of 4 samples.\n"
    yield from _table(
        "gates",
        {n: _solve(net, large, cells(SIDE, cell).to(device), 2, 4) for n, cell in CELLS.items()},
        rounds,
        device,
    )
    few = (1, 4, 16, 64) if quick else (1, 4, 16, 64, 256, 1024)
    mask = SMALL_CNN.mask_on(device)
    yield "\nExamples: images of 3 x 32 x 32, 2 steps of 2 samples.\n"
    yield from _table(
        "examples", {n: _solve(net, SMALL_CNN.inputs(n, device), mask, 2, 2) for n in few}, rounds, device
    )
    x = SMALL_CNN.inputs(4, device)
    yield "\nSamples: 4 images of 3 x 32 x 32, 4 steps.\n"
    yield from _table("samples", {n: _solve(net, x, mask, 4, n) for n in (2, 4, 8, 16, 32)}, rounds, device)
    yield "\nSteps: 4 images of 3 x 32 x 32, 4 samples; no example is let go early.\n"
    with nobody_leaves():
        yield from _table(
            "steps", {n: _solve(net, x, mask, n, 4) for n in (3, 6, 12, 24, 48)}, rounds, device
        )


def _solve(
    net: nn.Module, x: Tensor, mask: Tensor | None, n_steps: int, n_samples: int
) -> Callable[[], object]:
    stg = StochasticGates(net)
    return lambda: stg.attribute(x, feature_mask=mask, target=0, n_steps=n_steps, n_samples=n_samples)


def _table(
    what: str, solves: dict[int, Callable[[], object]], rounds: int, device: torch.device
) -> Iterator[str]:
    times: dict[int, list[float]] = {n: [] for n in solves}
    for _ in range(rounds + 1):
        for n, solve in solves.items():
            start = seconds(device)
            solve()
            times[n].append(seconds(device) - start)
    first, unit = next(iter(solves)), statistics.median(next(iter(times.values()))[1:])
    yield f"| {what} | CPU ms | over the first | per one of them, over the first |\n|---:|---:|---:|---:|"
    for n, found in times.items():
        middle = statistics.median(found[1:])
        yield f"| {n} | {1000 * middle:.3g} | {middle / unit:.2f} | {middle / unit * first / n:.3f} |"
