"""Timing side by side: a solve, and the calls of the model that it made, bare."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from stg_attr.solve import Solver
from stg_attr.solve.state import SolverState


def seconds(device: torch.device) -> float:
    """CPU time of this process; on another device wall time, when all work is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass
class Recorded:
    """A model that notes the calls it gets: how many rows, with or without a gradient, in the loop or not."""

    net: Callable[..., Tensor]
    calls: list[tuple[int, bool, bool]] = field(default_factory=list)
    in_loop: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """The model's output."""
        self.calls.append((len(x), torch.is_grad_enabled() and x.requires_grad, self.in_loop))
        return self.net(x)


def recorded(net: nn.Module, solve: Callable[[Callable[..., Tensor]], object]) -> Recorded:
    """The calls of a solve."""
    model = Recorded(net)
    with _around_the_loop(lambda run: _flagged(model, run)):
        solve(model)
    return model


def replay(model: Recorded, rows: Tensor, in_loop: bool) -> None:
    """The same calls on plain rows: a forward, and the gradient of one output with respect to the input."""
    for n, differentiated, looped in model.calls:
        if looped != in_loop:
            continue
        if differentiated:
            leaf = rows[:n].detach().requires_grad_()
            torch.autograd.grad(model.net(leaf)[:, 0].sum(), leaf)
        else:
            with torch.no_grad():
                model.net(rows[:n])


@dataclass(frozen=True)
class Ratios:
    """Time of a solve over that of its bare calls, in every round.

    Attributes:
        loop: the updates alone.
        whole: with the set-up and the reading.
        bare: median seconds of the bare calls of the loop.
        n_calls: of the model in the loop.
    """

    loop: list[float]
    whole: list[float]
    bare: float
    n_calls: int


def ratios(
    net: nn.Module, inputs: Tensor, solve: Callable[[Callable[..., Tensor]], object], rounds: int
) -> Ratios:
    """Solve and bare calls one after the other, in rounds after one of warming up.

    Args:
        net: the bare model.
        inputs: [batch, ...].
        solve: explains the model it is given.
        rounds: measured.
    """
    model, device = recorded(net, solve), inputs.device
    most = max(n for n, _, _ in model.calls)
    rows = inputs.repeat(-(-most // len(inputs)), *[1] * (inputs.dim() - 1))
    loop, whole, bare = [], [], []
    spent: list[float] = []
    with _around_the_loop(lambda run: _timed(run, device, spent)):
        for _ in range(rounds + 1):
            times = [seconds(device)]
            for part in (True, False):
                replay(model, rows, part)
                times.append(seconds(device))
            spent.clear()
            solve(net)
            times.append(seconds(device))
            loop.append(sum(spent) / (times[1] - times[0]))
            whole.append((times[3] - times[2]) / (times[2] - times[0]))
            bare.append(times[1] - times[0])
    n_calls = sum(looped for _, _, looped in model.calls)
    return Ratios(loop[1:], whole[1:], statistics.median(bare[1:]), n_calls)


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def nobody_leaves() -> AbstractContextManager[object]:
    """No example settles, so that every solve takes all its steps."""
    return mock.patch.object(SolverState, "unsettled", return_value=None)


@contextmanager
def _around_the_loop(around: Callable[[Callable[[], Any]], Any]) -> Iterator[None]:
    fit = Solver.fit
    Solver.fit = lambda *args, **named: around(lambda: fit(*args, **named))  # type: ignore[method-assign]
    try:
        yield
    finally:
        Solver.fit = fit  # type: ignore[method-assign]


def _flagged(model: Recorded, run: Callable[[], Any]) -> Any:
    model.in_loop = True
    try:
        return run()
    finally:
        model.in_loop = False


def _timed(run: Callable[[], Any], device: torch.device, spent: list[float]) -> Any:
    start = seconds(device)
    try:
        return run()
    finally:
        spent.append(seconds(device) - start)
