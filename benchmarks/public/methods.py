"""Ways to attribute a unit: one solve of the gates with its readings, and Captum's methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    ShapleyValueSampling,
)
from torch import Tensor

from stg_attr import StochasticGates

from .units import Unit

SAMPLES = 200  # rows of each example that the sampling methods run
Found = dict[str, Tensor]  # attributions by name, [rows, features]
Attribute = Callable[[Unit, int], Found]


def gates(unit: Unit, seed: int) -> Found:
    """The three readings of one solve with the defaults."""
    stg = StochasticGates(unit.net)
    found = stg.explain(unit.rows, unit.baselines, target=unit.target, seed=seed)
    assert found.contributions is not None
    return {
        "**gates**, `contributions`": found.contributions,
        "**gates**, `attributions`": found.active_probabilities,
        "**gates**, `influence`": found.influence,
    }


def captum(name: str, method: type, **arguments: object) -> Attribute:
    """A method of Captum that takes all rows at once."""

    def attribute(unit: Unit, _: int) -> Found:
        given = {} if method is InputXGradient else {"baselines": unit.baselines}
        rows = unit.rows.clone().requires_grad_(method is InputXGradient)
        return {name: method(unit.net).attribute(rows, target=unit.target, **given, **arguments).detach()}

    return attribute


def one_by_one(name: str, method: type) -> Attribute:
    """A method of Captum that fits a model to one row, with its other defaults."""

    def attribute(unit: Unit, _: int) -> Found:
        found = [
            method(unit.net).attribute(
                row.unsqueeze(0),
                baselines=baseline.unsqueeze(0),
                target=int(target),
                n_samples=SAMPLES,
                perturbations_per_eval=SAMPLES,
            )
            for row, baseline, target in zip(unit.rows, unit.baselines, unit.target, strict=True)
        ]
        return {name: torch.cat(found)}

    return attribute


def shapley_sampling(unit: Unit, _: int) -> Found:
    """As many permutations as fit."""
    some = captum("ShapleyValueSampling", ShapleyValueSampling, n_samples=SAMPLES // unit.rows.shape[1])
    return some(unit, 0)


METHODS: tuple[Attribute, ...] = (
    gates,
    captum("IntegratedGradients", IntegratedGradients, n_steps=50),
    captum("DeepLift", DeepLift),
    captum("InputXGradient", InputXGradient),
    captum("FeatureAblation", FeatureAblation),
    shapley_sampling,
    one_by_one("KernelShap", KernelShap),
    one_by_one("Lime", Lime),
)


def attributed(method: Attribute, unit: Unit, seed: int) -> tuple[Found, float]:
    """The attributions, and the rows that the net was run on for each example."""
    before = unit.net.rows
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum")  # DeepLift says each time that it sets hooks
        torch.manual_seed(seed)
        found = method(unit, seed)
    return found, (unit.net.rows - before) / len(unit.rows)


def first(unit: Unit, n_rows: int) -> Unit:
    """The unit with only its first rows."""
    truth = None if unit.truth is None else unit.truth[:n_rows]
    return replace(
        unit,
        rows=unit.rows[:n_rows],
        baselines=unit.baselines[:n_rows],
        target=unit.target[:n_rows],
        truth=truth,
    )


def moved(unit: Unit, rows: Tensor, copies: int) -> Unit:
    """The unit with other rows, [copies x rows, features]."""
    return replace(
        unit,
        rows=rows,
        baselines=unit.baselines.repeat(copies, 1),
        target=unit.target.repeat(copies),
        truth=None,
    )
