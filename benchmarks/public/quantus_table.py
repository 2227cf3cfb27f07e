"""Digits through the metrics of Quantus, the gates beside Captum's methods.

Faithfulness: `correlation` of the attributions of random sets of 16 pixels with the change of the score when
they are black (FaithfulnessCorrelation), `flipping`, mean score while pixels are made black in
order (PixelFlipping). Robustness: `sensitivity`, the largest relative change of the attributions under noise
of at most 0.05 (MaxSensitivity), and `Lipschitz`, that change over the change of the image, for noise of
deviation 0.05 (LocalLipschitzEstimate). Localisation: on mosaics of four digits, one of them of the explained
class, the share of its pixels among the highest attributions, as many as it has
pixels that are not black (`rank`, RelevanceRankAccuracy), and their share of the positive attributions
(`mass`, AttributionLocalisation). Complexity: `sparseness`, the Gini index (Sparseness), and `entropy`
(Complexity). Randomisation: similarity with the attributions of another class (`logit`, RandomLogit)
and mean correlation with those of the net with random layers (`parameters`, MPRT).
"""

from __future__ import annotations

import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from captum.attr import (
    Attribution,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from stg_attr import StochasticGates
from stg_attr.metrics import quantus_explainer

from ..quality.digits import DigitProbabilities, load, shuffled

NOISE, N_NOISE, SUBSET = 0.05, 5, 16
Explain = Callable[..., Any]
MEASURES = {  # name: whether more is better
    "correlation": True,
    "flipping": False,
    "sensitivity": False,
    "Lipschitz": False,
    "rank": True,
    "mass": True,
    "sparseness": True,
    "entropy": False,
    "logit": False,
    "parameters": False,
}


class Reading(Attribution):
    """Another reading of the gates, with Captum's interface.

    Args:
        model: the net.
        reading: name of the field of the explanation.
    """

    def __init__(self, model: nn.Module, reading: str) -> None:
        super().__init__(model)
        self.stg, self.reading = StochasticGates(model), reading

    def attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        """The reading in the shape of the inputs."""
        found: Tensor = getattr(self.stg.explain(inputs, target=target), self.reading)
        return found.reshape(inputs.shape)


METHODS: dict[str, tuple[Callable[[nn.Module], Attribution], dict[str, object]]] = {
    "**gates**, `attributions`": (StochasticGates, {}),
    "**gates**, `averaged`": (partial(Reading, reading="averaged"), {}),
    "**gates**, `contributions`": (partial(Reading, reading="contributions"), {}),
    "IntegratedGradients": (IntegratedGradients, {}),
    "Saliency": (Saliency, {}),
    "InputXGradient": (InputXGradient, {}),
    "FeatureAblation": (FeatureAblation, {"perturbations_per_eval": 16}),
    "ShapleyValueSampling": (ShapleyValueSampling, {"n_samples": 5, "perturbations_per_eval": 16}),
}


class Mosaic(nn.Module):
    """Mean over the four quarters of a mosaic [rows, 1, 16, 16] of the probabilities of a net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities [rows, 10]."""
        quarters = x.unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 1, 8, 8)
        found: Tensor = self.net(quarters)
        return found.reshape(len(x), 4, -1).mean(1)


def mosaics(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mosaics [n, 1, 16, 16] of a digit and three of other classes, its class [n], its pixels."""
    pixels, label = shuffled()
    pixels, label = pixels[1397:], label[1397:]
    generator = torch.Generator().manual_seed(seed)
    x, where, classes = torch.zeros(n, 1, 16, 16), torch.zeros(n, 1, 16, 16), torch.zeros(n).long()
    for i in range(n):
        order = torch.randperm(len(pixels), generator=generator)
        own, others = order[0], order[label[order] != label[order[0]]][:3]
        place = int(torch.randint(4, (1,), generator=generator))
        chosen = [*others[:place].tolist(), int(own), *others[place:].tolist()]
        for k, which in enumerate(chosen):
            square = (i, slice(None), _eight(k // 2), _eight(k % 2))
            x[square] = pixels[which]
            if k == place:
                where[square] = (pixels[which] > 0).float()
        classes[i] = label[own]
    return x, classes, where


def _eight(quarter: int) -> slice:
    return slice(8 * quarter, 8 * quarter + 8)


def metrics() -> dict[str, Any]:
    """The metrics of Quantus that need the digits, by the names of the columns."""
    import quantus

    quiet = {"disable_warnings": True}
    noise = {"nr_samples": N_NOISE, **quiet}
    return {
        "correlation": quantus.FaithfulnessCorrelation(subset_size=SUBSET, return_aggregate=False, **quiet),
        "flipping": quantus.PixelFlipping(**quiet),
        "sensitivity": quantus.MaxSensitivity(lower_bound=NOISE, **noise),
        "Lipschitz": quantus.LocalLipschitzEstimate(perturb_std=NOISE, **noise),
        "sparseness": quantus.Sparseness(**quiet),
        "entropy": quantus.Complexity(**quiet),
        "logit": quantus.RandomLogit(num_classes=10, **quiet),
        "parameters": quantus.MPRT(return_average_correlation=True, **quiet),
    }


def measured(name: str, seed: int, n_rows: int) -> dict[str, float]:
    """All measures of one method on one net."""
    import quantus

    make, arguments = METHODS[name]
    explain = quantus_explainer(make)
    problem = load("digits", seed, n_rows=n_rows)
    assert isinstance(problem.forward, DigitProbabilities)
    assert problem.target is not None
    given = {"explain_func": explain, "explain_func_kwargs": arguments, "softmax": False, "device": "cpu"}
    x, y = problem.inputs.numpy(), problem.target.numpy()
    found = {}
    for measure, metric in metrics().items():
        np.random.seed(seed)
        torch.manual_seed(seed)
        value = metric(problem.forward, x, y, None, **given)
        found[measure] = float(np.nanmean(np.array(value, dtype=float)))
    pictures, classes, where = mosaics(n_rows, seed)
    net = Mosaic(problem.forward)
    value = explain(net, pictures.numpy(), classes.numpy(), **arguments)
    quiet = {"disable_warnings": True}
    located = {
        "rank": quantus.RelevanceRankAccuracy(**quiet),
        "mass": quantus.AttributionLocalisation(positive_attributions=True, abs=False, **quiet),
    }
    for measure, metric in located.items():
        mask = where.numpy().astype(bool)
        scores = metric(
            net, pictures.numpy(), classes.numpy(), value, s_batch=mask, softmax=False, device="cpu"
        )
        found[measure] = float(np.nanmean(np.array(scores, dtype=float)))
    return found


def run(quick: bool) -> None:
    """Print the table."""
    if find_spec("quantus") is None:
        print("\nQuantus is not installed: pip install quantus")
        return
    seeds, n_rows = (range(1), 4) if quick else (range(2), 10)
    print(f"\nQuantus ({len(seeds)} nets, {n_rows} images)\n")
    print(
        "| method | " + " | ".join(f"{name} {'↑' if more else '↓'}" for name, more in MEASURES.items()) + " |"
    )
    print("|---|" + "---:|" * len(MEASURES))
    for name in METHODS:
        rows: dict[str, list[float]] = defaultdict(list)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Quantus warns of its defaults
            for seed in seeds:
                for measure, value in measured(name, seed, n_rows).items():
                    rows[measure].append(value)
        cells = [f"{statistics.fmean(rows[measure]):.3f}" for measure in MEASURES]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
