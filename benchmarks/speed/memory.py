"""(d) Peak memory of a solve beside that of the bare model on as many rows in a call."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from stg_attr import StochasticGates

from .nets import RESNET, TRANSFORMER, Case, cells

ROWS = 16
CALLS = 16  # of the bare model, as many as the solves make, or fewer
MIB = 2**20


def bare(case: Case, device: torch.device, n_calls: int) -> None:
    """Forward and backward of a batch, again and again: what is left of freed memory grows with the calls."""
    net, x = case.net(device), case.inputs(ROWS, device)
    for _ in range(n_calls):
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)


def solve(case: Case, device: torch.device, n_steps: int, n_samples: int, each: bool) -> None:
    """A solve of the batch, one sample in a call; a gate for each pixel, or the mask of the case."""
    mask = cells(224, 1) if each else case.mask
    StochasticGates(case.net(device)).attribute(
        case.inputs(ROWS, device),
        feature_mask=None if mask is None else mask.to(device),
        target=0,
        n_steps=n_steps,
        n_samples=n_samples,
        perturbations_per_eval=1,
    )


def lines(device: torch.device, quick: bool) -> Iterator[str]:
    """The table; every line is a process of its own."""
    yield f"\n| what, batch {ROWS} | peak, MiB | over bare |\n|---|---:|---:|"
    efforts = ((1, 2), (2, 2)) if quick else ((1, 8), (3, 8), (1, 16))
    for case in (RESNET, TRANSFORMER):
        once, unit = _peak(bare, case, device, 1), _peak(bare, case, device, CALLS)
        yield f"| {case.name}: forward and backward of {ROWS} rows, once | {once:.0f} | {once / unit:.2f} |"
        yield f"| {case.name}: the same {CALLS} times | {unit:.0f} | 1 |"
        for n_steps, n_samples in efforts:
            found = _peak(solve, case, device, n_steps, n_samples, case is RESNET)
            gates = 50176 if case is RESNET else 128
            yield (
                f"| {case.name}: {gates} gates, {n_steps} steps of {n_samples} samples | {found:.0f} | "
                f"{found / unit:.2f} |"
            )


def _peak(work: Callable[..., None], case: Case, device: torch.device, *arguments: object) -> float:
    """Peak of a fresh process above what it held before the work, MiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, work, case.name, device, arguments))
    process.start()
    sender.close()
    peak: float = receiver.recv()
    process.join()
    return peak


def _measure(
    sender: Connection,
    work: Callable[..., None],
    name: str,
    device: torch.device,
    arguments: tuple[object, ...],
) -> None:
    torch.set_num_threads(1)
    case = {case.name: case for case in (RESNET, TRANSFORMER)}[name]
    small = torch.zeros(1, 3, 8, 8, requires_grad=True)
    torch.nn.functional.conv2d(small, torch.zeros(4, 3, 3, 3)).sum().backward()  # libraries are loaded now
    start = _now(device)
    work(case, device, *arguments)
    sender.send((_now(device) - start) / MIB)


def _now(device: torch.device) -> float:
    """Peak memory so far, bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # the peak of this process alone; getrusage starts with that of its parent
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS: bytes
