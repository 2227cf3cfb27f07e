"""Captum's methods as peers, at the number of model evaluations that the tables are read at.

All start from zero but GradientShap, which draws its baselines from the data where a problem offers some.
KernelShap is left out where its regression has more unknowns than samples (the series: 2500 features).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerIntegratedGradients,
    Lime,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from torch import Tensor

from .method import Forward, Method
from .problem import Problem

IG_STEPS = 50
CHUNK = 5  # examples at once for methods that run all their rows at once
ROWS = 256  # rows at once for the others; a convolution on 1000 rows takes twice as long for each


def _permutations(problem: Problem) -> int:
    """Permutations of Shapley sampling within the evaluations; one is the least."""
    return max(1, (problem.evaluations - 1) // problem.n_features)


def _arguments(problem: Problem, rows: slice, *, grouped: bool = False) -> dict[str, object]:
    found: dict[str, object] = {}
    if problem.target is not None:
        found["target"] = problem.target[rows]
    if problem.forward_args:
        found["additional_forward_args"] = tuple(argument[rows] for argument in problem.forward_args)
    if grouped and problem.feature_mask is not None:
        found["feature_mask"] = problem.feature_mask
    return found


def _chunks(problem: Problem, size: int) -> Iterator[slice]:
    for start in range(0, len(problem.inputs), size):
        yield slice(start, start + size)


def _over(problem: Problem, size: int, attribute: Callable[[Tensor, slice], Tensor]) -> Tensor:
    return torch.cat([attribute(problem.inputs[rows], rows) for rows in _chunks(problem, size)])


def saliency(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Absolute gradient."""
    method = Saliency(forward)
    return _over(
        problem,
        CHUNK,
        lambda x, rows: method.attribute(x.clone().requires_grad_(), **_arguments(problem, rows)),
    )


def input_x_gradient(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Input times gradient."""
    method = InputXGradient(forward)
    return _over(
        problem,
        CHUNK,
        lambda x, rows: method.attribute(x.clone().requires_grad_(), **_arguments(problem, rows)),
    )


def integrated_gradients(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Integrated Gradients."""
    method = IntegratedGradients(forward)
    return _over(
        problem, CHUNK, lambda x, rows: method.attribute(x, n_steps=IG_STEPS, **_arguments(problem, rows))
    )


def layer_integrated_gradients(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Integrated Gradients of the gated layer, from what it returns for zero, summed over its width."""
    method = LayerIntegratedGradients(forward, problem.layer)
    return _over(
        problem,
        CHUNK,
        lambda x, rows: method.attribute(
            x, torch.zeros_like(x), n_steps=IG_STEPS, **_arguments(problem, rows)
        ).sum(2),
    )


def gradient_shap(problem: Problem, forward: Forward, _: int) -> Tensor:
    """GradientShap: a random point on the way from a random baseline, 250 times (50 on the canvases)."""
    method = GradientShap(forward)
    baselines = torch.zeros_like(problem.inputs[:1]) if problem.data is None else problem.data
    n_samples = 50 if problem.feature_mask is not None else 250
    return _over(
        problem,
        CHUNK,
        lambda x, rows: method.attribute(x, baselines, n_samples=n_samples, **_arguments(problem, rows)),
    )


def feature_ablation(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Feature Ablation."""
    method = FeatureAblation(forward)
    return _over(
        problem,
        len(problem.inputs),
        lambda x, rows: method.attribute(x, **_arguments(problem, rows, grouped=True)),
    )


def occlusion(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Occlusion by the problem's window, moved on by one."""
    method = Occlusion(forward)
    return _over(
        problem,
        len(problem.inputs),
        lambda x, rows: method.attribute(x, problem.window, **_arguments(problem, rows)),
    )


def shapley_sampling(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Shapley Value Sampling."""
    method = ShapleyValueSampling(forward)
    return _over(
        problem,
        len(problem.inputs),
        lambda x, rows: method.attribute(
            x,
            n_samples=_permutations(problem),
            perturbations_per_eval=max(1, ROWS // len(x)),
            **_arguments(problem, rows, grouped=True),
        ),
    )


def kernel_shap(problem: Problem, forward: Forward, _: int) -> Tensor:
    """KernelShap, an example at a time, as it asks for."""
    method = KernelShap(forward)
    return _over(
        problem,
        1,
        lambda x, rows: method.attribute(
            x,
            n_samples=problem.evaluations,
            perturbations_per_eval=ROWS,
            **_arguments(problem, rows, grouped=True),
        ),
    )


def lime(problem: Problem, forward: Forward, _: int) -> Tensor:
    """LIME with captum's defaults, an example at a time, as it asks for."""
    method = Lime(forward)
    return _over(
        problem,
        1,
        lambda x, rows: method.attribute(
            x,
            n_samples=problem.evaluations,
            perturbations_per_eval=ROWS,
            **_arguments(problem, rows, grouped=True),
        ),
    )


PEERS = (
    Method("Saliency", saliency, random=False),
    Method("InputXGradient", input_x_gradient, random=False),
    Method("IntegratedGradients", integrated_gradients, random=False),
    Method(
        "LayerIntegratedGradients",
        layer_integrated_gradients,
        random=False,
        fits=lambda problem: problem.layer is not None,
    ),
    Method("GradientShap", gradient_shap),
    Method("FeatureAblation", feature_ablation, random=False),
    Method("Occlusion", occlusion, random=False, fits=lambda problem: problem.window is not None),
    Method("ShapleyValueSampling", shapley_sampling),
    Method("KernelShap", kernel_shap, fits=lambda problem: problem.n_features < problem.evaluations),
    Method("Lime", lime),
)
