"""Learned masks outside captum, compared where they can be imported and never required.

`pip install time_interpret pytorch_lightning` and `pip install --no-deps torchray` bring them.
"""

from __future__ import annotations

import contextlib
import io
import logging
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from .method import Forward, Method
from .problem import Problem

STEPS, RATE = 2000, 0.01  # of ExtremalMask, as in its experiments on these series
AREAS = (0.05, 0.1, 0.2, 0.4)  # of extremal perturbation
ITERATIONS = 800  # its default


def extremal_mask(problem: Problem, forward: Forward, _: int) -> Tensor:
    """ExtremalMask of time_interpret without a learned perturbation, matching the output at every time."""
    from pytorch_lightning import Trainer
    from tint.attr import ExtremalMask
    from tint.attr.models import ExtremalMaskNet

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = Trainer(
            max_epochs=STEPS, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        attributions: Tensor = ExtremalMask(forward).attribute(
            problem.inputs,
            additional_forward_args=problem.forward_args,
            trainer=trainer,
            mask_net=ExtremalMaskNet(forward, optim="adam", lr=RATE),
            batch_size=len(problem.inputs),
        )
    return attributions


def extremal_perturbation(problem: Problem, forward: Forward, _: int) -> Tensor:
    """Sum over areas of torchray's masks, fading to black, kept and removed.

    Its step of 7 and sigma of 21 are for 224 pixels. The 8x8 digits are too small for its smooth masks.
    """
    from torchray.attribution import extremal_perturbation as package

    model = _module(forward)
    sigma = round(21 * problem.inputs.shape[-1] / 224)
    found = []
    for x, target in zip(problem.inputs, problem.target, strict=True):
        masks, _history = package.extremal_perturbation(
            model, x.unsqueeze(0), int(target), areas=list(AREAS), max_iter=ITERATIONS, step=1, sigma=sigma,
            perturbation=package.FADE_PERTURBATION, variant=package.DUAL_VARIANT, jitter=False,
        )  # fmt: skip
        found.append(masks.sum(0))
    return torch.stack(found)


def _module(forward: Forward) -> nn.Module:
    """Torchray asks a model for its parameters."""

    class Wrapped(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return forward(rows)

    return Wrapped()


_CANDIDATES = {
    "tint": Method(
        "ExtremalMask", extremal_mask, random=False, whole=True,
        fits=lambda problem: problem.outputs is not None,
    ),
    "torchray": Method(
        "extremal_perturbation", extremal_perturbation, random=False,
        fits=lambda problem: problem.feature_mask is not None,
    ),
}  # fmt: skip
OPTIONAL_PEERS = tuple(method for package, method in _CANDIDATES.items() if find_spec(package) is not None)
