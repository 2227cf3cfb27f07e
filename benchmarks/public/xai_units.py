"""The table of the units of XAI-Units (Lee et al., 2025, https://arxiv.org/abs/2506.01059).

`error`: mean squared error against the attributions that the net has by design, for `uncertain` of the
features that must get none. `r`: correlation of the absolute attributions with the absolute truth, which
has no unit, mean over rows. `infidelity`: Captum's, with the perturbation of the source: noise of 0.01,
and a fifth of the features with two values drawn anew. `sensitivity`: the largest relative change of the
attributions over ten moves of the row by at most 0.02, as Captum's `sensitivity_max`, on the first rows of
each seed; a method that samples draws anew. `evals`: rows that the net is run on for each example. Mean over
the seeds and standard deviation over them.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import torch
from captum.metrics import infidelity
from torch import Tensor

from .methods import METHODS, Attribute, Found, attributed, first, moved
from .units import UNITS, Unit

NOISE, REDRAWN, PERTURBATIONS = 0.01, 0.2, 100  # of the infidelity
RADIUS, MOVES = 0.02, 10  # of the sensitivity
TINY = 1e-6  # printed as zero
MEASURES = ("error", "r", "infidelity", "sensitivity")


def perturb(unit: Unit, rows: Tensor, baselines: Tensor) -> tuple[Tensor, Tensor]:
    """The change as a share of the distance to the baseline, and the changed rows, as Captum asks.

    Args:
        unit: says which features have two values.
        rows: [rows, features].
        baselines: of the same shape.
    """
    two = ~unit.choices[:, 0].isnan()
    drawn = torch.randint(0, 2, rows.shape)
    other = torch.where(drawn > 0, unit.choices[:, 1], unit.choices[:, 0])
    redrawn = torch.where(torch.rand(rows.shape) < REDRAWN, other, rows)
    changed = torch.where(two, redrawn, rows + NOISE * torch.randn(rows.shape))
    distance = rows - baselines
    return (rows - changed) / torch.where(distance == 0, 1.0, distance), changed


def infidelities(unit: Unit, found: Tensor, seed: int) -> float:
    """Captum's infidelity, mean over the rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        each = infidelity(
            unit.net,
            lambda rows, baselines: perturb(unit, rows, baselines),
            unit.rows,
            found,
            baselines=unit.baselines,
            target=unit.target,
            n_perturb_samples=PERTURBATIONS,
        )
    return float(each.mean())


def sensitivities(method: Attribute, unit: Unit, found: Found, seed: int, n_rows: int) -> dict[str, float]:
    """Largest relative change of each reading over moves of the first rows, mean over these rows."""
    unit, found = first(unit, n_rows), {name: value[:n_rows] for name, value in found.items()}
    generator = torch.Generator().manual_seed(seed)
    moves = RADIUS * (2 * torch.rand(MOVES * len(unit.rows), unit.rows.shape[1], generator=generator) - 1)
    near, _ = attributed(method, moved(unit, unit.rows.repeat(MOVES, 1) + moves, MOVES), seed + 1)
    largest = {}
    for name, value in found.items():
        change = (near[name].reshape(MOVES, *value.shape) - value).norm(dim=2)
        size = value.norm(dim=1)  # a change from nothing is not relative, as in Captum
        largest[name] = float((change / torch.where(size == 0, 1.0, size)).amax(0).mean())
    return largest


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's of each row, mean; a row that says nothing counts as zero."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)).mean())


def measured(method: Attribute, unit: Unit, seed: int, n_sensitive: int) -> dict[str, dict[str, float]]:
    """The measures of every reading of a method."""
    found, evaluations = attributed(method, unit, seed)
    largest, rows = sensitivities(method, unit, found, seed, n_sensitive), {}
    for name, value in found.items():
        rows[name] = {
            "evals": evaluations,
            "error": math.nan,
            "r": math.nan,
            "infidelity": infidelities(unit, value, seed),
            "sensitivity": largest[name],
        }
        if unit.truth is not None:
            off = (value - unit.truth)[:, unit.judged]
            rows[name]["error"] = float(off.square().mean())
            if unit.truth.any():
                rows[name]["r"] = correlation(value.abs(), unit.truth.abs())
    return rows


def _cell(values: list[float]) -> str:
    """Mean and spread, or a dash where there is no truth."""
    if math.isnan(values[0]):
        return "-"
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    return " ± ".join(
        "0" if value < TINY else f"{value:.{digits}g}" for value, digits in ((mean, 3), (spread, 2))
    )


def table(name: str, n_rows: int, n_sensitive: int, seeds: range) -> None:
    """Print the table of one unit."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in seeds:
        unit = UNITS[name](n_rows, torch.Generator().manual_seed(seed))
        for method in METHODS:
            for reading, row in measured(method, unit, seed, n_sensitive).items():
                found[reading].append(row)
    print(f"\n{name} ({len(seeds)} seeds of {n_rows} rows, sensitivity on {n_sensitive})\n")
    print(f"| method | evals | {' | '.join(MEASURES)} |\n|---|---:|{'---:|' * len(MEASURES)}")
    for reading, rows in found.items():
        cells = [_cell([row[measure] for row in rows]) for measure in MEASURES]
        evaluations = statistics.fmean(row["evals"] for row in rows)
        print(f"| {reading} | {evaluations:.0f} | {' | '.join(cells)} |", flush=True)


def run(quick: bool, names: tuple[str, ...] = ()) -> None:
    """Print the tables of some units; of all by default."""
    for name in names or UNITS:
        table(name, *((5, 1, range(2)) if quick else (8, 2, range(5))))
