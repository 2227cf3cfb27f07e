"""Isolation: a solve changes neither the model nor the random state of the caller."""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.overrides import TorchFunctionMode

from stg_attr.errors import warn

from .autocast import as_called, autocast_dtypes, no_autocast
from .buffers import kept_buffers
from .randomness import seeded_if_drawn

__all__ = [
    "DetachedWeights",
    "differentiable_recurrence",
    "disturbing_layers",
    "may_detach_weights",
    "module_of",
    "rounding_unit",
    "solve_device",
    "undisturbed",
]

_NOISY = (
    nn.modules.dropout._DropoutNd,
    nn.modules.batchnorm._BatchNorm,
    nn.RReLU,
    parametrizations._SpectralNorm,
)
# where layers keep the rate of a dropout of their own: attention, recurrent layers, stochastic depth
_RATES = ("dropout", "dropout_p", "drop_prob", "attention_dropout")
_LARGE = 2**20  # parameters; in smaller models, detaching them takes more time than it saves
# functions that keep their inputs for the gradients of their weights
_WEIGHTED = frozenset(
    {
        F.linear,
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.layer_norm,
        F.batch_norm,
        F.group_norm,
        F.multi_head_attention_forward,
    }
)

# All threads share torch's random generator and the hooks of a model, so solves take turns. The lock is
# reentrant, since a model may itself explain another one.
_one_thread_at_a_time = threading.RLock()


def _new_lock() -> None:
    global _one_thread_at_a_time
    _one_thread_at_a_time = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    # A child has a copy of the lock, but not the thread that holds it and would release it.
    os.register_at_fork(after_in_child=_new_lock)


def module_of(forward: Callable[..., Any]) -> nn.Module | None:
    """The module that a forward function is, or is a method of, or wraps (as `functools.wraps` says)."""
    forward = inspect.unwrap(forward)
    owner = getattr(forward, "__self__", forward)
    return owner if isinstance(owner, nn.Module) else None


def solve_device(forward: Callable[..., Any], x: Tensor, wanted: torch.device | None) -> torch.device:
    """Where inputs such as `x` are explained: as wanted, else with the model's parameters, else with `x`."""
    if wanted is not None:
        return wanted
    module = module_of(forward)
    parameter = None if module is None else next(module.parameters(), None)
    return x.device if parameter is None else parameter.device


def rounding_unit(forward: Callable[..., Any], output: torch.dtype) -> float:
    """The rounding unit of the coarsest dtype of a model: of its output, its parameters or its autocast."""
    module = module_of(forward)
    kinds = {
        output,
        *autocast_dtypes(forward),
        *(() if module is None else (p.dtype for p in module.parameters())),
    }
    units = [torch.finfo(kind).eps for kind in kinds if kind.is_floating_point]
    return max(units, default=torch.finfo(torch.float32).eps)


@contextlib.contextmanager
def undisturbed(forward: Callable[..., Any], device: torch.device, seed: int) -> Iterator[Callable[..., Any]]:
    """Turn gradients on and autocast off, and restore random state and the model's buffers at the end.

    Solves in several threads of one process take turns.

    Yields:
        The model as a function that still runs under the caller's autocast, if one is on.
    """
    _warn_about_training_mode(forward)
    model = as_called(forward, device)
    with (
        _one_thread_at_a_time,
        torch.inference_mode(False),  # before gradients: inside it they cannot be turned on
        torch.enable_grad(),
        no_autocast(device),
        seeded_if_drawn(device, seed),
        differentiable_recurrence(module_of(forward), device),
        kept_buffers(module_of(forward)),
    ):
        yield model


def differentiable_recurrence(
    module: nn.Module | None, device: torch.device
) -> contextlib.AbstractContextManager[Any]:
    """A context in which recurrent layers in eval mode are differentiable: with cuDNN they are not."""
    layers = () if module is None or device.type != "cuda" else module.modules()
    if any(isinstance(layer, nn.RNNBase) and not layer.training for layer in layers):
        flags: contextlib.AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=False)
        return flags
    return contextlib.nullcontext()


def may_detach_weights(forward: Callable[..., Any]) -> bool:
    """Whether `DetachedWeights` saves memory or time; small and compiled models run without it."""
    module = module_of(forward)
    weights = () if module is None else module.parameters()
    learned = sum(p.numel() for p in weights if p.requires_grad and not is_lazy(p))
    compiled = module is not None and any(hasattr(part, "_orig_mod") for part in module.modules())
    return learned >= _LARGE and not compiled


class DetachedWeights(TorchFunctionMode):
    """A context in which layers keep no tensors for gradients of their weights, which no solve needs.

    A linear layer, for example, keeps its input for the gradient of its weight. In this context, functions
    with weights get detached parameters. `requires_grad` of the parameters does not change, and other threads
    are not affected.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _WEIGHTED:
            args = [_detached(value) for value in args]
            kwargs = {name: _detached(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, nn.Parameter) and value.requires_grad else value


def disturbing_layers(forward: Callable[..., Any]) -> bool:
    """Whether layers in training mode make a row's score depend on chance, earlier calls or other rows."""
    module = module_of(forward)
    return module is not None and any(m.training and _disturbs(m) for m in module.modules())


def _disturbs(layer: nn.Module) -> bool:
    """Whether a layer draws noise or keeps state in training mode, as far as its kind and settings say."""
    rates = [getattr(layer, name, None) for name in _RATES]
    hooks = layer._forward_pre_hooks.values()
    return (
        isinstance(layer, _NOISY)
        or any(isinstance(hook, SpectralNorm) for hook in hooks)
        or any(isinstance(rate, float) and rate > 0 for rate in rates)
        or type(layer).__name__ == "StochasticDepth"  # of torchvision, whose rate is `p`
    )


def _warn_about_training_mode(forward: Callable[..., Any]) -> None:
    if disturbing_layers(forward):
        warn(
            "The model is in training mode: with dropout, batch or spectral normalisation, an example's "
            "score depends on chance, on earlier calls or on the other rows. Call model.eval() before "
            "explaining it."
        )
