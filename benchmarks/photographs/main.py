"""The table of photographs: insertion and deletion of cells beside Captum's methods, all in one run.

Crops of photographs that ship with packages, nets with ImageNet weights, score = probability of the
class that the net assigns. Every attribution is averaged over the cells of a grid of 14 x 14, which are
inserted and removed in order of it, with two baselines: zero (mean grey) and a blur. `ins-del`: the area
under the insertion curve minus that under the deletion curve; `share`: the smallest share of the cells
that alone keeps 90 % of the score; `evals`: rows the net is run on per example. The photographs that no
method was designed on, and the second net, have tables of their own.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stg_attr import grid_mask, references
from stg_attr.metrics import budget_curves

from .cases import HELD_OUT, NETS, TUNED, Cases, cases, in_folder, load_net, photographs, probabilities
from .peers import Counter, Method, methods

CELL = 16  # pixels, so that 224 are 14 cells
COUNTS = (0, 1, 2, 4, 6, 9, 13, 18, 25, 34, 46, 62, 84, 112, 150, 196)  # cells that are shown or hidden
BASELINES = {"zero": 0.0, "blur": references.blur(10)}


@dataclass(frozen=True)
class Measured:
    """What an attribution of one case achieves.

    Attributes:
        difference: ins-del with each baseline.
        share: of the cells that suffice with each baseline.
        rows: that the net was run on.
        seconds: of processor time.
    """

    difference: dict[str, float]
    share: dict[str, float]
    rows: int
    seconds: float


def curves(model: torch.nn.Module, x: Tensor, y: Tensor, attribution: Tensor) -> tuple[dict[str, float], ...]:
    """ins-del, and the share of cells that suffices, with each baseline."""
    cells, difference, share = grid_mask(x, CELL), {}, {}
    for name, baseline in BASELINES.items():
        found = budget_curves(
            model,
            x,
            attribution.expand_as(x),
            baseline,
            y,
            feature_mask=cells,
            counts=torch.tensor([COUNTS]),
            perturbations_per_eval=16,
        )
        difference[name] = (found.insertion_area - found.deletion_area).item()
        share[name] = found.smallest_sufficient().item() / COUNTS[-1]
    return difference, share


def measure(model: torch.nn.Module, method: Method, x: Tensor, y: Tensor, seed: int) -> Measured:
    """Explain one case and measure it."""
    torch.manual_seed(seed)
    counter, start = Counter(model), time.process_time()
    attribution = method(counter, x, y, seed)
    seconds = time.process_time() - start
    difference, share = curves(model, x, y, attribution)
    return Measured(difference, share, counter.rows, seconds)


def table(title: str, model: torch.nn.Module, found: Cases, n_samples: int, only: str) -> None:
    """Measure and print the methods on some cases; differences are to Grad-CAM, case by case."""
    print(f"\n{title}: {len(found.names)} crops of {', '.join(dict.fromkeys(found.names))}\n")
    print(
        "| method | evals | CPU s | ins-del, zero | - Grad-CAM | ins-del, blur | - Grad-CAM "
        "| share, zero / blur |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    reference: list[Measured] = []
    for name, method in methods(n_samples).items():
        if not re.search(only, name) and name != "Grad-CAM":
            continue
        pairs = zip(found.inputs.split(1), found.target.split(1), strict=True)
        rows = [measure(model, method, x, y, seed) for seed, (x, y) in enumerate(pairs)]
        reference = rows if name == "Grad-CAM" else reference
        print(_line(name, rows, reference), flush=True)


def _line(name: str, rows: list[Measured], reference: list[Measured]) -> str:
    cells = [
        name,
        f"{statistics.fmean(r.rows for r in rows):.0f}",
        f"{statistics.fmean(r.seconds for r in rows):.1f}",
    ]
    for kind in BASELINES:
        cells.append(f"{statistics.fmean(r.difference[kind] for r in rows):.3f}")
        more = [r.difference[kind] - o.difference[kind] for r, o in zip(rows, reference, strict=False)]
        cells.append(
            f"{statistics.fmean(more):+.3f} +- {_error(more):.3f}" if more and rows is not reference else ""
        )
    cells.append(" / ".join(f"{statistics.fmean(r.share[kind] for r in rows):.2f}" for kind in BASELINES))
    return f"| {' | '.join(cells)} |"


def _error(values: list[float]) -> float:
    """Standard error of the mean."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench photographs", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one crop of each photograph, 100 masks, one net"
    )
    parser.add_argument("--crops", type=int, default=2, help="crops of each photograph, at most")
    parser.add_argument("--samples", type=int, default=400, help="model rows of RISE, KernelSHAP and LIME")
    parser.add_argument("--model", action="append", help="lite0, lite1 or torchvision:NAME; lite0 and lite1")
    parser.add_argument(
        "--images", type=Path, help="a folder of photographs in place of those of the packages"
    )
    parser.add_argument("--only", default="", help="the rows whose names match this expression")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    most, n_samples = (1, 100) if options.quick else (options.crops, options.samples)
    for name in options.model or list(NETS)[: 1 if options.quick else None]:
        model = probabilities(load_net(name))
        groups = {"Tuned": photographs(TUNED), "Held out": photographs(HELD_OUT)}
        if options.images is not None:
            groups = {str(options.images): in_folder(options.images)}
        for title, pictures in groups.items():
            found = cases(pictures, model, most, name)
            table(f"{title}, {NETS.get(name, name)}", model, found, n_samples, options.only)
    return 0
