"""P3: rare features and rare times in ARMA series (time_interpret, Dynamask), behind a white box.

2 x_t + 0.5 x_{t-1} + 0.2 x_{t-2} + 0.1 x_{t-3} = 2 e_t, e ~ N(0, 1), 50 times and 50 features. Of each
series a block matters: five random features at times 12 to 36 (rare features), or five times in a row of
features 12 to 36 (rare times). The white box returns, at each time, the sum over features of (x * block)^2;
its sum over time is the score.

Explaining Time Series Predictions with Dynamic Masks (Crabbé, van der Schaar 2021,
https://arxiv.org/abs/2106.05303).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import measures
from .problem import Problem, Variant

TIMES, FEATURES, RARE = 50, 50, 5
AR, MA = (2.0, 0.5, 0.2, 0.1), (2.0,)


def arma(n_series: int, generator: torch.Generator) -> Tensor:
    """Series `[n, times, features]`, each started at rest."""
    from scipy.signal import lfilter

    noise = torch.randn(n_series, TIMES, FEATURES, generator=generator, dtype=torch.float64)
    return torch.from_numpy(lfilter(MA, AR, noise.numpy(), axis=1)).float()


def blocks(name: str, n_series: int, generator: torch.Generator) -> Tensor:
    """The elements that matter, `[n, times, features]`; each series has its own."""
    found = torch.zeros(n_series, TIMES, FEATURES, dtype=torch.bool)
    for block in found:
        if name == "rare_features":
            which = torch.randperm(FEATURES, generator=generator)[:RARE]
            block[TIMES // 4 : 3 * TIMES // 4, which] = True
        else:
            start = int(torch.randint(TIMES - RARE + 1, (1,), generator=generator))
            block[start : start + RARE, FEATURES // 4 : 3 * FEATURES // 4] = True
    return found


def energies(x: Tensor, block: Tensor) -> Tensor:
    """White box: sum over features of (x * block)^2 at each time, `[rows, times]`."""
    return (x * block).square().sum(2)


def energy(x: Tensor, block: Tensor) -> Tensor:
    """The same summed over time, `[rows]`."""
    return energies(x, block).sum(1)


def load(name: str, model_seed: int, *, n_rows: int = 10) -> Problem:
    """rare_features or rare_times; the seed draws the series and their blocks."""
    generator = torch.Generator().manual_seed(2000 + model_seed)
    x = arma(n_rows, generator)
    block = blocks(name, n_rows, generator)
    return Problem(
        name,
        model_seed,
        energy,
        x,
        (measures.areas,),
        "match",
        truth=block.flatten(1),
        evaluations=600,
        forward_args=(block.float(),),
        outputs=energies,
        variants=(Variant("", "match", "zero"),),
    )
