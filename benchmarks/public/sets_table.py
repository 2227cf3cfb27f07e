"""Checks of sets of pixels of digits: soft stability, ROAD, and fidelity on a net that is used to gaps.

Each method gives its first 6 and first 10 pixels of 64, as many as the others. `class`: share of the sets
that alone, on black, keep the class of the image. `stable`: of the sets with up to four more random pixels,
share that keep the class that the set has (soft stability; Probabilistic Stability Guarantees for Feature
Attributions, Jin et al. 2025, https://arxiv.org/abs/2504.13787). `ROAD`: share of the images that keep their
class when the first 10, 20, ... 50 % of the pixels are replaced by a noisy mean of their neighbours, mean
over these shares; lower is better (A Consistent and Efficient Evaluation Strategy for Attribution Methods,
Rong et al. 2022, https://arxiv.org/abs/2202.00449). `Fid+` and `Fid-`: how much the probability of the class
falls when half of the set is removed at random, and when as many pixels outside it are, by a copy of the net
that is trained further on images with random gaps, so that gaps are not unusual (after F-Fidelity, Zheng et
al. 2024, https://arxiv.org/abs/2410.02970, which counts classes and not probabilities); higher and lower are
better.
"""

from __future__ import annotations

import copy
import statistics
from collections import defaultdict
from collections.abc import Callable
from math import comb

import torch
from captum.attr import (
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Saliency,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from stg_attr import Delete, StochasticGates

from ..quality.digits import DigitProbabilities, Recipe, load, shuffled
from ..quality.metrics import ranks
from ..quality.nets import batches, fit

SIZES, ADDED, DRAWS = (6, 10), 4, 200
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
NOISE = 0.01  # of ROAD, as in the source
SIDE = 8
GAPS, TUNING = 0.5, 5  # largest share of random gaps, and epochs of the further training
DIRECT, DIAGONAL = 1 / 6, 1 / 12  # weights of the neighbours in ROAD
Order = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


def gates(net: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """The order of the learned parameters with the defaults."""
    found: Tensor = StochasticGates(net).explain(x, target=y, seed=seed).log_alpha
    return found


def necessary(net: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """The same for the question what the class cannot do without."""
    found: Tensor = StochasticGates(net, objective=Delete()).explain(x, target=y, seed=seed).log_alpha
    return found


def kernel_shap(net: nn.Module, x: Tensor, y: Tensor, _: int) -> Tensor:
    """One image at a time, 300 samples."""
    method, settings = KernelShap(net), {"n_samples": 300, "perturbations_per_eval": 300}
    rows = zip(x.split(1), y.tolist(), strict=True)
    return torch.cat([method.attribute(row, target=target, **settings) for row, target in rows])


def captum(method: type, **arguments: object) -> Order:
    """A method of Captum for all images at once."""
    return lambda net, x, y, _: method(net).attribute(
        x.clone().requires_grad_(method in (Saliency, InputXGradient)), target=y, **arguments
    )


METHODS: dict[str, Order] = {
    "**gates**": gates,
    "**gates**, `Delete()`": necessary,
    "IntegratedGradients": captum(IntegratedGradients),
    "InputXGradient": captum(InputXGradient),
    "Saliency": captum(Saliency),
    "FeatureAblation": captum(FeatureAblation, perturbations_per_eval=16),
    "ShapleyValueSampling": captum(ShapleyValueSampling, n_samples=5, perturbations_per_eval=16),
    "KernelShap": kernel_shap,
    "random": lambda _, x, __, seed: torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)),
}


def classes(net: nn.Module, x: Tensor, kept: Tensor) -> Tensor:
    """Predicted classes [rows] of images [rows, 1, 8, 8] of which only some pixels are shown [rows, 64]."""
    found: Tensor = net(x * kept.reshape(x.shape)).argmax(1)
    return found


def stability(net: nn.Module, x: Tensor, kept: Tensor, generator: torch.Generator) -> float:
    """Share of larger sets, drawn from all with up to `ADDED` more pixels, that keep the class of the set."""
    own, rest = classes(net, x, kept), int((~kept[0]).sum())
    weights = torch.tensor([comb(rest, n) for n in range(ADDED + 1)], dtype=torch.float64)
    same = []
    for _ in range(DRAWS):
        added = torch.multinomial(weights, len(x), replacement=True, generator=generator)
        drawn = torch.rand(kept.shape, generator=generator).masked_fill(kept, -1)
        same.append(classes(net, x, kept | (ranks(drawn) <= added.unsqueeze(1))) == own)
    return float(torch.stack(same).float().mean())


def neighbours() -> Tensor:
    """Weights of the neighbours of every pixel; each row sums to 1, [64, 64]."""
    place = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    distance = (place.unsqueeze(1) - place).abs()
    beside, corner = distance.sum(2) == 1, (distance == 1).all(2)
    weights = DIRECT * beside.double() + DIAGONAL * corner.double()
    return weights / weights.sum(1, keepdim=True)


def imputed(x: Tensor, removed: Tensor, generator: torch.Generator) -> Tensor:
    """Removed pixels become the weighted mean of their neighbours, which may be removed ones, and noise.

    Args:
        x: images, [rows, 1, 8, 8].
        removed: pixels, bool [rows, 64].
        generator: of the noise.
    """
    weights, found = neighbours(), x.double().flatten(1).clone()
    for row, gone in zip(found, removed, strict=True):
        system = torch.eye(int(gone.sum()), dtype=torch.float64) - weights[gone][:, gone]
        noise = NOISE * torch.randn(int(gone.sum()), generator=generator, dtype=torch.float64)
        row[gone] = torch.linalg.solve(system, weights[gone][:, ~gone] @ row[~gone]) + noise
    return found.to(x.dtype).reshape(x.shape)


def road(net: nn.Module, x: Tensor, place: Tensor, generator: torch.Generator) -> float:
    """Share of the images that keep their class, mean over the shares of pixels removed."""
    own, kept = net(x).argmax(1), []
    for share in SHARES:
        removed = place <= round(share * place.shape[1])
        kept.append((net(imputed(x, removed, generator)).argmax(1) == own).float().mean())
    return float(torch.stack(kept).mean())


def used_to_gaps(net: DigitProbabilities, seed: int) -> DigitProbabilities:
    """A copy that is trained further on images of which a random share of up to a half is black."""
    tuned, recipe = copy.deepcopy(net).requires_grad_(), Recipe()
    pixels, label = shuffled()
    generator = torch.Generator().manual_seed(seed)
    steps = batches(recipe.n_train, recipe.batch, TUNING, seed)

    def loss(step: int) -> Tensor:
        x = pixels[steps[step]]
        shares = GAPS * torch.rand(len(x), 1, 1, 1, generator=generator)
        shown = torch.rand(x.shape, generator=generator) >= shares
        return nn.functional.cross_entropy(tuned.logits(x * shown), label[steps[step]])

    fit(tuned.train(), loss, len(steps), lr=1e-3)
    return tuned.eval().requires_grad_(False)


def falls(
    net: nn.Module, x: Tensor, y: Tensor, kept: Tensor, generator: torch.Generator
) -> tuple[float, float]:
    """Mean fall of the probability when half of the set is removed, and when as many others are."""
    n = int(kept[0].sum()) // 2
    with_set, without = [], []
    for _ in range(DRAWS // 4):
        for inside, into in ((kept, with_set), (~kept, without)):
            drawn = torch.rand(kept.shape, generator=generator).masked_fill(~inside, -1)
            removed = ranks(drawn) <= n
            into.append(net(x * ~removed.reshape(x.shape)).gather(1, y.unsqueeze(1)).mean())
    full = net(x).gather(1, y.unsqueeze(1)).mean()
    return float(full - torch.stack(with_set).mean()), float(full - torch.stack(without).mean())


def measured(found: Tensor, net: nn.Module, tuned: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """All measures of one method's order, [rows, 64]."""
    place, generator = ranks(found.detach().double().flatten(1)), torch.Generator().manual_seed(0)
    result = {}
    for size in SIZES:
        kept = place <= size
        result[f"class, {size}"] = float((classes(net, x, kept) == y).float().mean())
        result[f"stable, {size}"] = stability(net, x, kept, generator)
    result["ROAD"] = road(net, x, place, generator)
    result["Fid+"], result["Fid-"] = falls(tuned, x, y, place <= SIZES[-1], generator)
    return result


def run(quick: bool) -> None:
    """Print the table."""
    seeds, n_rows = (range(1), 8) if quick else (range(3), 48)
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in seeds:
        problem = load("digits", seed, n_rows=n_rows)
        net, x, y = problem.forward, problem.inputs, problem.target
        assert isinstance(net, DigitProbabilities)
        assert y is not None
        tuned = used_to_gaps(net, seed)
        for name, method in METHODS.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found = method(net, x, y, seed)
            with torch.no_grad():
                for measure, value in measured(found, net, tuned, x, y).items():
                    rows[name][measure].append(value)
    measures = list(rows["random"])
    print(f"\nSets of pixels ({len(seeds)} nets, {n_rows} images)\n")
    print(f"| method | {' | '.join(measures)} |\n|---|{'---:|' * len(measures)}")
    for name, values in rows.items():
        cells = []
        for measure in measures:
            spread = f" ± {statistics.stdev(values[measure]):.3f}" if len(seeds) > 1 else ""
            cells.append(f"{statistics.fmean(values[measure]):.3f}{spread}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
