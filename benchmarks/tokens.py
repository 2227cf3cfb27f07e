"""Planted tokens, and smallest sufficient sets among 160 features, beside Captum's methods.

`planted`: sequences of 32 tokens; three of them, at random places, decide one bit each of the class (of 8),
the others are fillers. A small transformer learns that; how many of the three does a method rank first?
`tokens`: the same with 160 tokens, where each deciding token may stand there up to three times.
`columns`: 160 columns, ten of which decide by products, a maximum and a sum between two classes; an MLP.

Gates act on the embedding with the padding token as the baseline, as Integrated Gradients do; the other
methods replace tokens by it. Columns have the baseline zero, and rows of the class that zero is not of are
explained. The score is the probability of the predicted class. `suff`: mean size of the smallest top-k that
keeps 90 % of the retained score; `ins-del`: insertion minus deletion; `evals`: rows the model is run on per
example, everything included, counted by a wrapper around the model.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    KernelShap,
    LayerIntegratedGradients,
    Lime,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from stg_attr import LayerStochasticGates, StochasticGates
from stg_attr.metrics import budget_curves

from .quality import nets

SEEDS = range(3)
PAD, FIRST_FILLER, VOCABULARY = 0, 25, 65
SYNONYMS = 4  # tokens that say the same: bit b, value v are 1 + 8 b + 4 v, ..., + 3
BITS = 3
ROWS = 512  # rows in one call of the model, for the methods that take that setting


class Transformer(nn.Module):
    """Token ids [rows, length] -> log-odds of 8 classes, [rows, 8]."""

    def __init__(self, length: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(width, 2**BITS)

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds."""
        hidden = self.embedding(ids) + self.position
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden.mean(1))


@dataclass
class Task:
    """What is explained, counting the rows that the model is run on.

    Attributes:
        net: inputs to log-odds.
        inputs: [n, features].
        truth: the features that decide, bool [n, features]; None where that is not asked.
        evaluations: of the methods whose number can be chosen.
    """

    net: nn.Module
    inputs: Tensor
    truth: Tensor | None
    evaluations: int
    rows: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Class probabilities, [rows, classes]."""
        self.rows += len(x)
        return self.net(x).softmax(1)

    @property
    def embedding(self) -> nn.Module | None:
        """The layer in which tokens can be blended."""
        return getattr(self.net, "embedding", None)


def sequences(n: int, length: int, copies: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, deciding places and classes: [n, length], bool [n, length], [n]."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_FILLER, VOCABULARY, (n, length), generator=generator)
    values = torch.randint(2, (n, BITS), generator=generator)
    places = (
        torch.rand(n, length, generator=generator).argsort(1)[:, : BITS * copies].reshape(n, BITS, copies)
    )
    said = torch.randint(SYNONYMS, places.shape, generator=generator)
    tokens = 1 + 2 * SYNONYMS * torch.arange(BITS)[:, None] + SYNONYMS * values[:, :, None] + said
    present = torch.arange(copies) < torch.randint(1, copies + 1, (n, BITS, 1), generator=generator)
    fillers = ids.gather(1, places.flatten(1)).reshape(places.shape)
    ids.scatter_(1, places.flatten(1), torch.where(present, tokens, fillers).flatten(1))
    return ids, ids < FIRST_FILLER, (values * 2 ** torch.arange(BITS)).sum(1)


def _padded(ids: Tensor, seed: int) -> Tensor:
    """Half of the sequences with a share of their tokens padded, so that the net knows what padding means."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(len(ids), 1, generator=generator) * (torch.arange(len(ids)) % 2)[:, None]
    return ids.masked_fill(torch.rand(ids.shape, generator=generator) < share, PAD)


def text_task(length: int, copies: int, n: int, evaluations: int, seed: int, steps: int = 400) -> Task:
    """Sequences, and a transformer that was trained on others, 128 a step."""
    recipe = (length, copies, f"{steps} steps of 128, max rate 3e-3, padded")

    def train(net: nn.Module) -> None:
        def loss(step: int) -> Tensor:
            number = 10_000 * (seed + 1) + step
            ids, _, labels = sequences(128, length, copies, number)
            return nn.functional.cross_entropy(net(_padded(ids, number)), labels)

        nets.fit(net, loss, steps, lr=3e-3, schedule=nets.one_cycle)

    net = nets.trained(f"tokens{length}", seed, recipe, lambda: Transformer(length), train)
    ids, truth, labels = sequences(4 * n, length, copies, seed)
    right = (net(ids).argmax(1) == labels).nonzero().flatten()
    _report(f"{length} tokens", seed, len(right) / len(ids))
    return Task(net, ids[right[:n]], truth[right[:n]], evaluations)


def column_task(n: int, evaluations: int, seed: int) -> Task:
    """160 standard normal columns, and an MLP that was trained with missing ones, which are 0."""

    def labelled(rows: int, seed: int, share_missing: float) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, 160, generator=generator)
        missing = torch.rand(rows, 1, generator=generator) * share_missing
        x = x.masked_fill(torch.rand(x.shape, generator=generator) < missing, 0.0)
        products = x[:, 3] * x[:, 40] + x[:, 77] * x[:, 101] + x[:, 12] * x[:, 55]
        score = products + torch.maximum(x[:, 8], x[:, 150]) + x[:, 60] - x[:, 120]
        return x, (score > 3).long()

    def build() -> nn.Module:
        widths = [160, 64, 32]
        hidden = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(32, 2))

    def train(net: nn.Module) -> None:
        x, labels = labelled(60_000, 1000 + seed, 1.0)
        rows = nets.batches(len(x), 500, 20, seed)

        def loss(step: int) -> Tensor:
            return nn.functional.cross_entropy(net(x[rows[step]]), labels[rows[step]])

        nets.fit(net, loss, len(rows), lr=2e-3)

    net = nets.trained(
        "columns160", seed, "60 000 rows, 20 epochs, rate 2e-3, three products, 3, missing", build, train
    )
    x, labels = labelled(32 * n, seed, 0.0)
    predicted = net(x).argmax(1)
    right = ((predicted == labels) & (labels == 1)).nonzero().flatten()
    _report("160 columns", seed, (predicted == labels).double().mean().item())
    return Task(net, x[right[:n]], None, evaluations)


def _report(name: str, seed: int, share: float) -> None:
    print(f"{name}, net {seed}: {share:.1%} right", flush=True)


Method = Callable[[Task, Tensor, int], Tensor]


def gates(task: Task, target: Tensor, seed: int) -> Tensor:
    """The project, with its defaults."""
    if task.embedding is None:
        found = StochasticGates(task).attribute(task.inputs, target=target, seed=seed)
    else:
        stg = LayerStochasticGates(task, task.embedding)
        found = stg.attribute(
            task.inputs, PAD, target, seed=seed, return_input_shape=False, internal_batch_size=16
        )
    assert isinstance(found, Tensor)
    return found


def integrated_gradients(task: Task, target: Tensor, _: int) -> Tensor:
    """Over the embedding for tokens."""
    steps = {"n_steps": task.evaluations, "internal_batch_size": ROWS}
    if task.embedding is None:
        return IntegratedGradients(task).attribute(task.inputs, target=target, **steps)
    method = LayerIntegratedGradients(task, task.embedding)
    return method.attribute(task.inputs, torch.full_like(task.inputs, PAD), target, **steps).sum(2)


def shapley(task: Task, target: Tensor, _: int) -> Tensor:
    """As many permutations as make at least the evaluations."""
    permutations = -(-task.evaluations // task.inputs.shape[1])
    return ShapleyValueSampling(task).attribute(
        task.inputs, PAD, target, n_samples=permutations, perturbations_per_eval=ROWS // len(task.inputs)
    )


def ablation(task: Task, target: Tensor, _: int) -> Tensor:
    """One evaluation per feature."""
    return FeatureAblation(task).attribute(
        task.inputs, PAD, target, perturbations_per_eval=ROWS // len(task.inputs)
    )


def regression(kind: type[KernelShap] | type[Lime]) -> Method:
    """An example at a time, as these methods ask for."""

    def attribute(task: Task, target: Tensor, _: int) -> Tensor:
        method = kind(task)
        return torch.cat(
            [
                method.attribute(
                    row, PAD, label, n_samples=task.evaluations, perturbations_per_eval=ROWS // 2
                ).to(torch.float32)
                for row, label in zip(task.inputs.split(1), target.tolist(), strict=True)
            ]
        )

    return attribute


METHODS: dict[str, Method] = {
    "**gates** (default)": gates,
    "Integrated Gradients": integrated_gradients,
    "Shapley sampling": shapley,
    "KernelSHAP": regression(KernelShap),
    "LIME": regression(Lime),
    "Feature Ablation": ablation,
}


def precision(attributions: Tensor, truth: Tensor) -> float:
    """Share of the k deciding features among the first k, mean over examples."""
    rank = attributions.argsort(1, descending=True).argsort(1)
    return ((rank < truth.sum(1, keepdim=True)) & truth).sum(1).div(truth.sum(1)).mean().item()


def measure(task: Task, method: Method, seed: int) -> dict[str, float]:
    """One row of a table for one seed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        target = task.net(task.inputs).argmax(1)
    task.rows, started = 0, time.process_time()
    attributions = method(task, target, seed)
    found = {
        "evals": task.rows / len(task.inputs),
        "CPU ms": 1000 * (time.process_time() - started) / len(task.inputs),
    }
    if task.truth is not None:
        found["precision"] = precision(attributions, task.truth)
    curves = budget_curves(
        task,
        task.inputs,
        attributions,
        PAD,
        target,
        n_points=task.inputs.shape[1] + 1,
        perturbations_per_eval=16,
    )
    found["suff"] = curves.smallest_sufficient().float().mean().item()
    found["ins-del"] = (curves.insertion - curves.deletion).mean().item()
    return found


TASKS: dict[str, Callable[[int], Task]] = {
    "planted": lambda seed: text_task(32, 1, 48, 500, seed),
    "tokens": lambda seed: text_task(160, 3, 16, 500, seed),
    "columns": lambda seed: column_task(32, 500, seed),
}


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench tokens", description=__doc__)
    parser.add_argument(
        "tasks", nargs="*", choices=[*TASKS, []], help="planted, tokens, columns; all by default"
    )
    torch.set_num_threads(1)
    for name in parser.parse_args(argv).tasks or TASKS:
        tasks = [TASKS[name](seed) for seed in SEEDS]
        print(f"\n{name}: {len(tasks[0].inputs)} examples, {len(SEEDS)} nets and seeds\n")
        for i, (label, method) in enumerate(METHODS.items()):
            rows = [measure(task, method, seed) for seed, task in zip(SEEDS, tasks, strict=True)]
            if i == 0:
                print(f"| method | {' | '.join(rows[0])} |\n|---|{'---:|' * len(rows[0])}")
            cells = [_cell(key, [row[key] for row in rows]) for key in rows[0]]
            print(f"| {label} | {' | '.join(cells)} |", flush=True)
    return 0


def _cell(key: str, values: list[float]) -> str:
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    if key in ("evals", "CPU ms"):
        return f"{mean:.0f}"
    return f"{mean:.1f} ± {spread:.1f}" if key == "suff" else f"{mean:.3f} ± {spread:.3f}"
