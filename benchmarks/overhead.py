"""What a solve costs beyond the model's own forward and backward passes on the same rows.

    ratio = CPU time of a solve of n_steps updates, reading included / CPU time of n_steps bare passes

The bare pass runs the model on the same number of rows and differentiates its output with respect to the
input. Both are timed on one thread, by process CPU time, one after the other in every round; the ratio is
taken within a round, and the table gives the median and the range over the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from stg_attr import FixedWeight, Preserve, StochasticGates
from stg_attr.gates import FeatureGroups

N_STEPS, ROUNDS = 12, 7


class Transformer(nn.Module):
    """Two encoder layers of width 128 over continuous tokens; one score per class."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [rows, tokens, 128] -> [rows, 4]."""
        scores: Tensor = self.head(self.body(x).mean(1))
        return scores


def cnn() -> nn.Module:
    """Five convolutions with batch normalisation over 3 x 32 x 32 images."""
    widths = (3, 32, 32, 64, 64, 64)
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Conv2d(n_in, n_out, 3, stride=1 + i % 2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    """Two hidden layers of 64 over 30 columns."""
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def cases() -> dict[str, tuple[nn.Module, Tensor, Tensor | None]]:
    """Name -> model, inputs of a batch of 16, feature mask."""
    blocks = torch.arange(64).reshape(1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tokens = torch.arange(32).reshape(1, 32, 1)
    return {
        "CNN, 3 x 32 x 32, 64 gates": (cnn(), torch.randn(16, 3, 32, 32), blocks),
        "transformer, 32 tokens": (Transformer(), torch.randn(16, 32, 128), tokens),
        "MLP, 30 columns": (mlp(), torch.randn(16, 30), None),
    }


def solve(model: nn.Module, x: Tensor, mask: Tensor | None, samples: int) -> Callable[[], object]:
    """A whole solve: its updates, and the reading of their result."""
    stg = StochasticGates(model, objective=Preserve(), sparsity=FixedWeight())
    return lambda: stg.attribute(x, feature_mask=mask, n_steps=N_STEPS, n_samples=samples)


def bare(model: nn.Module, x: Tensor, samples: int) -> Callable[[], object]:
    """As many forward and backward passes on as many rows, and the passes that anchor an example's scale."""
    rows = x.repeat(samples, *[1] * (x.dim() - 1))

    def passes() -> None:
        for _ in range(N_STEPS):
            leaf = rows.detach().requires_grad_()
            torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
        with torch.no_grad():
            model(x), model(x)

    return passes


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> list[float]:
    """CPU time of one over the other, in interleaved rounds; the first is a warm-up."""
    ratios = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        theirs()
        middle = time.process_time()
        ours()
        ratios.append((time.process_time() - middle) / (middle - start))
    return ratios[1:]


def main(argv: list[str]) -> int:
    """Print the table."""
    argparse.ArgumentParser(prog="python run.py bench overhead", description=__doc__).parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"\nOverhead of a solve over bare passes (batch 16, {N_STEPS} steps, {ROUNDS} rounds, 1 thread)\n")
    print("| model | samples | gates | ratio, median | range |\n|---|---:|---:|---:|---|")
    for name, (model, x, mask) in cases().items():
        model.eval()
        for samples in (8, 32):
            found = ratio(solve(model, x, mask, samples), bare(model, x, samples))
            gates = FeatureGroups.from_mask(mask, (x,)).n_gates
            spread = f"{min(found):.2f} to {max(found):.2f}"
            print(f"| {name} | {samples} | {gates} | {statistics.median(found):.2f} | {spread} |", flush=True)
    return 0
