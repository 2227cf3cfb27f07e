"""The methods of the table; each returns an attribution of one case, [1, channels or 1, height, width]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from captum.attr import (
    GuidedGradCam,
    IntegratedGradients,
    KernelShap,
    LayerAttribution,
    LayerGradCam,
    Lime,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.nn import functional

from stg_attr import StochasticGates, superpixel_mask
from stg_attr.model import Baselines

from .cases import last_convolution

_ROWS = 16  # in one call of a net, which for more of them takes longer for each


class Counter(nn.Module):
    """A net, counting the rows it is run on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, x: Tensor) -> Tensor:
        """Class probabilities, [rows, classes]."""
        self.rows += len(x)
        found: Tensor = self.model(x)
        return found


#: The attribution of one case for its class, with a seed.
Method = Callable[[Counter, Tensor, Tensor, int], Tensor]


def gates(baseline: Baselines = None, **effort: int) -> Method:
    """The project, with its defaults, a baseline and some effort."""

    def attribute(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
        found = StochasticGates(model).attribute(x, baseline, target=y, seed=seed, **effort)
        assert isinstance(found, Tensor)
        return found

    return attribute


def grad_cam(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Of the last convolution, enlarged to the size of the image."""
    cam = LayerGradCam(model, last_convolution(model)).attribute(x, target=y, relu_attributions=True)
    enlarged: Tensor = LayerAttribution.interpolate(cam, x.shape[2:], "bilinear")
    return enlarged.detach()


def guided_grad_cam(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Absolute values. Captum guides modules of the class ReLU; ReLU6 is left as it is."""
    return _sizes(GuidedGradCam(model, last_convolution(model)).attribute(x, target=y))


def rise(n_masks: int, cells: int = 7, shown: float = 0.5) -> Method:
    """RISE (Petsiuk, Das, Saenko, 2018), https://arxiv.org/abs/1806.07421, which Captum does not have."""

    def attribute(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        edge, cell = x.shape[-1], -(-x.shape[-1] // cells)
        total = torch.zeros(1, 1, *x.shape[2:])
        for start in range(0, n_masks, _ROWS):
            n = min(_ROWS, n_masks - start)
            coarse = (torch.rand(n, 1, cells + 1, cells + 1, generator=noise) < shown).float()
            large = functional.interpolate(coarse, ((cells + 1) * cell,) * 2, mode="bilinear")
            moves = torch.randint(cell, (n, 2), generator=noise).tolist()
            some = torch.stack(
                [m[:, i : i + edge, j : j + edge] for m, (i, j) in zip(large, moves, strict=True)]
            )
            with torch.no_grad():
                total += (some * model(x * some)[:, y].reshape(-1, 1, 1, 1)).sum(0, keepdim=True)
        return total

    return attribute


def superpixels(kind: type[KernelShap] | type[Lime], n_samples: int) -> Method:
    """A regression on random sets of about 50 superpixels, with Captum's defaults."""

    def attribute(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
        found: Tensor = kind(model).attribute(
            x, target=y, feature_mask=superpixel_mask(x), n_samples=n_samples, perturbations_per_eval=_ROWS
        )
        return found

    return attribute


def occlusion(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Squares of 32 pixels, 16 apart."""
    found: Tensor = Occlusion(model).attribute(
        x, (3, 32, 32), strides=(3, 16, 16), target=y, perturbations_per_eval=_ROWS
    )
    return found


def smooth_grad(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """25 samples, absolute values."""
    tunnel = NoiseTunnel(Saliency(model))
    return _sizes(tunnel.attribute(x, nt_samples=25, nt_samples_batch_size=5, stdevs=0.15, target=y))


def integrated_gradients(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """50 steps, absolute values, which score higher here than signed ones."""
    return _sizes(IntegratedGradients(model).attribute(x, target=y, n_steps=50, internal_batch_size=_ROWS))


def bump(model: Counter, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Larger towards the centre of the image, whatever it shows."""
    line = torch.linspace(-1, 1, x.shape[-1]).square()
    return -(line.reshape(1, 1, -1, 1) + line)


def methods(n_samples: int) -> dict[str, Method]:
    """Every row of the table.

    Args:
        n_samples: model rows of the methods that fit a regression or an average to random masks.
    """
    return {
        "a bump in the centre": bump,
        "Grad-CAM": grad_cam,
        "Guided Grad-CAM, absolute": guided_grad_cam,
        f"RISE, {n_samples} masks": rise(n_samples),
        "KernelSHAP, superpixels": superpixels(KernelShap, n_samples),
        "LIME, superpixels": superpixels(Lime, n_samples),
        "Occlusion, 32 / 16": occlusion,
        "SmoothGrad": smooth_grad,
        "Integrated Gradients, absolute": integrated_gradients,
        "**gates**, `max_evals=40`": gates(max_evals=40),
        "**gates**, `max_evals=40`, zero": gates(0, max_evals=40),
        "**gates**, `max_evals=200`": gates(max_evals=200),
        "**gates**, `max_evals=200`, zero": gates(0, max_evals=200),
        "**gates**, default": gates(),
    }


def _sizes(found: Tensor) -> Tensor:
    return found.detach().abs().sum(1, keepdim=True)
