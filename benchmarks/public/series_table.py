"""Tables of series: areas under precision and recall beside the published ones.

`AUP`, `AUR`, `AUPRC`: see `series.areas`, higher is better; `evals`: series that the model is run on for
each one, a run until an earlier time counts as one. Mean and standard deviation over the seeds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..quality import series as arma
from . import series_methods as methods
from .series import KINDS, Kind, areas, classifier, sample
from .series_methods import Found, Task

MEASURES = ("AUP", "AUR", "AUPRC")
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "hmm": {
        "ExtremalMask": (0.885, 0.781, 0.883),
        "Lime": (0.932, 0.438, 0.912),
        "IntegratedGradients": (0.918, 0.454, 0.909),
    },
    "switch": {"ContraLSP": (0.970, 0.851)},
    "rare_features": {"ExtremalMask": (0.992, 0.756)},
    "rare_times": {"ExtremalMask": (0.993, 0.820)},
}
EPOCHS, WHITE_EPOCHS = 500, 2000  # of ExtremalMask, as in its experiments
N_REFERENCES = 256
QUICK_EPOCHS = 5  # of the net, which is then worse
Method = Callable[[Task, int], Found]


def task(kind: Kind, seed: int, n_rows: int) -> Task:
    """Test series and the trained net; the score is the sum of the log-odds of the predicted classes."""
    net, series = classifier(kind, seed), sample(kind, n_rows, 2000 + seed)

    def log_odds(x: Tensor) -> Tensor:
        scores: Tensor = net(x)
        return scores[:, :, 1] - scores[:, :, 0]

    with torch.no_grad():
        sign = log_odds(series.x).sign()
    return Task(
        lambda x, *_: net(x),
        lambda x, sign: (sign * log_odds(x)).sum(1),
        series.x,
        series.truth,
        (sign,),
        sample(kind, N_REFERENCES, 3000 + seed).x,
        net,
    )


def white_box(name: str, seed: int, n_rows: int) -> Task:
    """The ARMA series of time_interpret, whose block is known."""
    problem = arma.load(name, seed, n_rows=n_rows)
    assert problem.truth is not None
    truth = problem.truth.reshape(problem.inputs.shape)
    return Task(arma.energies, arma.energy, problem.inputs, truth, problem.forward_args)


def methods_of(name: str, quick: bool) -> dict[Method, int | None]:
    """Ways to attribute, and the number of series that slow ones are given."""
    share = 10 if quick else 1
    if name not in KINDS:
        white = partial(methods.extremal_mask, epochs=WHITE_EPOCHS // share, learned=False)
        return dict.fromkeys(
            (methods.with_zero, white, methods.saliency, methods.white_integrated_gradients), None
        )
    learned = partial(methods.extremal_mask, epochs=EPOCHS // share, learned=True)
    some = (methods.with_zero, methods.with_rows, learned, methods.saliency, methods.integrated_gradients)
    return {**dict.fromkeys(some, None), methods.lime: 1 if quick else 3}


def attributed(method: Method, given: Task, seed: int) -> tuple[Found, float]:
    """The attributions, and the series that the model is run on for each one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = method(given, seed)
    return found, given.rows / len(given.x)


def first(given: Task, n: int) -> Task:
    """The task with its first series only."""
    arguments = tuple(argument[:n] for argument in given.arguments)
    return replace(given, x=given.x[:n], truth=given.truth[:n], arguments=arguments, rows=0)


def _kind(name: str, quick: bool) -> Kind:
    return replace(KINDS[name], epochs=QUICK_EPOCHS) if quick else KINDS[name]


def table(name: str, n_rows: int, seeds: range, quick: bool) -> None:
    """Print the table of one kind of series."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in seeds:
        load = partial(task, _kind(name, quick)) if name in KINDS else partial(white_box, name)
        given = load(seed=seed, n_rows=n_rows)
        for method, few in methods_of(name, quick).items():
            some = first(given, few or n_rows)
            found, evaluations = attributed(method, some, seed)
            for reading, value in found.items():
                rows[reading].append({"evals": evaluations, **areas(value, some.truth)})
    print(f"\n{name} ({len(seeds)} seeds of {n_rows} series)\n")
    print(f"| method | evals | {' | '.join(MEASURES)} |\n|---|---:|{'---:|' * len(MEASURES)}")
    for reading, each in rows.items():
        cells = []
        for measure in MEASURES:
            values = [row[measure] for row in each]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        evaluations = statistics.fmean(row["evals"] for row in each)
        print(f"| {reading} | {evaluations:.0f} | {' | '.join(cells)} |", flush=True)
    for method, published in PUBLISHED[name].items():
        values = [f"{value:.3f}" for value in published] + ["-"] * (len(MEASURES) - len(published))
        print(f"| {method}, published | - | {' | '.join(values)} |")


def run(quick: bool) -> None:
    """Print all tables."""
    for name in PUBLISHED:
        if quick:
            table(name, 3, range(1), quick)
        else:
            table(name, *((5, range(2)) if name in KINDS else (10, range(3))), quick)
