"""Command line of the speed benchmarks: `python run.py bench speed [parts] [--quick] [--device cuda]`."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from . import growth, memory, overhead, reach, start

RESULTS = Path(__file__).resolve().parent.parent / "results"
TITLES = {
    "overhead": "Overhead over the bare calls of the model",
    "reach": "Evaluations and CPU time to the quality of other methods",
    "stopping": "What early stopping saves",
    "growth": "Growth",
    "memory": "Peak memory",
    "start": "Import",
}


def main(argv: list[str]) -> int:
    """Print the tables, and write them to a file named after the device."""
    parser = argparse.ArgumentParser(prog="python run.py bench speed", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(TITLES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer runs; about ten minutes")
    parser.add_argument("--device", help="cuda where there is one, else cpu, by default")
    parser.add_argument("--cuda", dest="device", action="store_const", const="cuda", help="--device cuda")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(TITLES):
        parser.error(f"no part {sorted(unknown)}; there are {', '.join(TITLES)}")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(1)
    written = [f"# Speed on {device_name(device)}, torch {torch.__version__}"]
    print(written[0], flush=True)
    for part in options.parts or TITLES:
        begun = time.perf_counter()
        for line in [f"\n## {TITLES[part]}\n"]:
            written.append(line)
            print(line)
        for line in _lines(part, device, options.quick):
            written.append(line)
            print(line, flush=True)
        print(f"\n({time.perf_counter() - begun:.0f} s)", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"speed-{device.type}.md").write_text("\n".join(written) + "\n")
    return 0


def _lines(part: str, device: torch.device, quick: bool) -> Iterator[str]:
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "overhead": lambda: overhead.lines(device, quick),
        "reach": lambda: reach.lines(quick),
        "stopping": lambda: reach.early_stopping(quick),
        "growth": lambda: growth.lines(device, quick),
        "memory": lambda: memory.lines(device, quick),
        "start": start.lines,
    }
    return parts[part]()


def device_name(device: torch.device) -> str:
    """The name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}, one thread"
