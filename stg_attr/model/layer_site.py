"""LayerSite: the place inside a model where gates act, read and written through a forward hook."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError

from .randomness import uncompiled, watched

__all__ = ["LayerForward", "LayerSite"]


class LayerSite:
    """The output of a layer, or its input, where gates act.

    The hook exists only while the model runs. It is also removed when the model fails or is interrupted.
    Compiled models run uncompiled here, since a compiled graph does not call hooks. Of a `DataParallel`
    model, only the module inside runs, on its own device.

    Args:
        layer: a module that the model runs once.
        at_input: gate the input of the layer instead of its output.
    """

    def __init__(self, layer: nn.Module, at_input: bool) -> None:
        self.layer = layer
        self.at_input = at_input
        self._which: list[int] = []  # numbers of the gated tensors among all tensors of the output

    def read(self, forward: Callable[..., Any], values: Sequence[Any], batch: int) -> tuple[Tensor, ...]:
        """The activations that gates act on, each [batch, ...], detached.

        These are the floating-point tensors with one row per example and as many dimensions as the first of
        them. All other outputs of the layer stay as the layer computes them.

        Args:
            forward: the model.
            values: its arguments.
            batch: number of examples.

        Raises:
            ArgumentError: the model does not run the layer once, or there is no such tensor.
        """
        if isinstance(self.layer, nn.RNNBase) and not self.at_input:
            raise _last_state_leaks(self.layer)
        found: list[Tensor] = []

        def keep(value: Any) -> None:
            found.extend(tensor.detach().clone() for tensor in _tensors(value))

        with torch.no_grad(), watched():
            self._run(forward, values, keep)
        fits = [i for i, tensor in enumerate(found) if _has_rows(tensor, batch)]
        self._which = [i for i in fits if found[i].dim() == found[fits[0]].dim()]
        if not self._which:
            raise _nothing_to_gate(found, batch)
        return tuple(found[i] for i in self._which)

    def show(self, forward: Callable[..., Any], activations: Sequence[Tensor], values: Sequence[Any]) -> Any:
        """The output of the model with other activations in the place of those that `read` found."""

        def put(value: Any) -> Any:
            return _with_tensors(value, dict(zip(self._which, activations, strict=True)))

        return self._run(forward, values, put)

    def _run(self, forward: Callable[..., Any], values: Sequence[Any], change: Callable[[Any], Any]) -> Any:
        # A layer that runs several times would get the same activations each time, which the model never
        # computes; one that does not run has no effect. Both are errors.
        calls = 0

        def once(value: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise _wrong_number_of_calls("more than once")
            return change(value)

        with self._hooked(once), uncompiled():
            output = _bare(forward)(*values)
        if not calls:
            raise _wrong_number_of_calls("not at all, or inside a scripted or exported graph")
        return output

    def _hooked(self, change: Callable[[Any], Any]) -> Any:
        if self.at_input:
            return self.layer.register_forward_pre_hook(
                lambda _, args, kwargs: change((args, kwargs)), with_kwargs=True
            )
        return self.layer.register_forward_hook(lambda _, __, output: change(output))


class LayerForward:
    """A model as a function of a layer's activations: `forward(*activations, *values)`.

    Args:
        forward: the model.
        site: where the activations go.
        n_activations: how many of the arguments they are.
    """

    def __init__(self, forward: Callable[..., Any], site: LayerSite, n_activations: int) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        self._site = site
        self._n = n_activations

    def __call__(self, *values: Any) -> Any:
        """The model's output."""
        return self._site.show(self.__wrapped__, values[: self._n], values[self._n :])


def _bare(forward: Callable[..., Any]) -> Callable[..., Any]:
    return forward.module if isinstance(forward, nn.DataParallel) else forward


def _has_rows(tensor: Tensor, batch: int) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1 and tensor.shape[0] == batch


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a nested value, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value):
        yield from _tensors(part)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (tuple, list)):
        return list(value)
    return [getattr(value, field.name) for field in _fields(value)]


def _fields(value: Any) -> Sequence[dataclasses.Field[Any]]:
    return (
        dataclasses.fields(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else ()
    )


def _with_tensors(value: Any, new: dict[int, Tensor], counter: list[int] | None = None) -> Any:
    """The same nested value with some of its tensors, by number, replaced."""
    counter = [0] if counter is None else counter
    if isinstance(value, Tensor):
        number, counter[0] = counter[0], counter[0] + 1
        return new[number].to(value.device, value.dtype) if number in new else value
    parts = [_with_tensors(part, new, counter) for part in _parts(value)]
    if isinstance(value, Mapping):
        changed = copy.copy(value)  # a ModelOutput keeps its attributes
        for key, part in zip(list(value), parts, strict=True):
            changed[key] = part  # type: ignore[index]  # mappings that layers return are mutable
        return changed
    if isinstance(value, tuple):
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return parts
    names = [field.name for field in _fields(value)]
    return dataclasses.replace(value, **dict(zip(names, parts, strict=True))) if names else value


def _nothing_to_gate(found: list[Tensor], batch: int) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected=f"a floating-point activation with a row for each of {batch} examples, [{batch}, ...]",
        found=str([(str(t.dtype), tuple(t.shape)) for t in found]),
        mend="Take a layer before the rows are moved or merged (with batch_first=True, for example); of an "
        "embedding, gate the output.",
    )


def _last_state_leaks(layer: nn.Module) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="a layer all of whose output can be gated",
        found=f"{type(layer).__name__}, whose last state has seen what the gates hide",
        mend="Gate what it is given, with attribute_to_layer_input=True.",
    )


def _wrong_number_of_calls(found: str) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="a module that the model runs exactly once, as layer(...), where hooks are called",
        found=f"one that runs {found}",
        mend="Take a module of the model that is explained, as it was before torch.jit or torch.export; in "
        "place of a shared one, the input of the first block after it (attribute_to_layer_input=True).",
    )
