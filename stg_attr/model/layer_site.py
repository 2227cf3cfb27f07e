"""LayerSite: the places inside a model where gates act, read and written through forward hooks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from stg_attr.errors import ArgumentError

from .layer_errors import (
    does_not_run,
    is_gateable,
    last_state_leaks,
    nothing_to_gate,
    packed,
    runs_are_chained,
    runs_depend_on_rows,
    shared_by_all,
)
from .layer_rows import LayerRows, alike
from .nested import holds, tensors_of, with_tensors
from .randomness import uncompiled, watched

__all__ = ["LayerForward", "LayerSite"]

_CHANGED = 1e-4  # relative distance; a run that nothing reaches returns the same numbers again

#: The arguments of the model for some examples, which may be listed several times.
Arguments: TypeAlias = Callable[[Sequence[int]], Sequence[Any]]


@dataclass(frozen=True)
class _Place:
    """One gated tensor.

    Attributes:
        run: which run of the layers, in the order in which the model runs them.
        number: which of the tensors that the layer returns, or is given, in this run.
        rows: where its rows are.
    """

    run: int
    number: int
    rows: LayerRows


class LayerSite:
    """The outputs of layers, or their inputs, where gates act: a place for each gated tensor of each run.

    The places are in the order of the layers, and those of a layer in the order of its runs. The hooks exist
    only while the model runs. They are also removed when the model fails or is interrupted. Compiled models
    run uncompiled here, since a compiled graph does not call hooks. Of a `DataParallel` model, only the
    module inside runs, on its own device.

    Args:
        layers: modules that the model runs, each once or several times.
        at_input: gate the inputs of the layers instead of their outputs.

    Attributes:
        asked: how many rows of the model reading took of each example.
    """

    def __init__(self, layers: Sequence[nn.Module], at_input: bool) -> None:
        self.layers = tuple(layers)
        self.at_input = at_input
        self.asked: Counter[int] = Counter()
        self._ran: list[int] = []  # the layer of each run of the last call of the model
        self._places: list[_Place] = []
        self._layer_of_run: list[int] = []

    @property
    def pieces(self) -> tuple[int, ...]:
        """For each activation, how many rows of the layer an example has."""
        return tuple(place.rows.pieces for place in self._places)

    def read(
        self, forward: Callable[..., Any], arguments: Arguments, rows: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """The activations that gates act on, each [examples, ...] or [examples, pieces, ...], detached.

        These are the floating-point tensors whose rows go with the examples and that have as many dimensions
        as the first of them, for each layer. All other outputs stay as the layer computes them.

        Args:
            forward: the model.
            arguments: what it is given for some examples.
            rows: the examples.

        Raises:
            ArgumentError: a layer does not run, runs depend on each other or on the number of examples, or
                there is no such tensor.
        """
        recurrent = next((layer for layer in self.layers if isinstance(layer, nn.RNNBase)), None)
        if recurrent is not None and not self.at_input:
            raise last_state_leaks(recurrent)
        seen = self._seen(forward, arguments, rows)
        if not self._places:
            self._layer_of_run = list(self._ran)
            self._places = self._located(forward, arguments, rows, seen)
        found = self._unfolded(seen, len(rows))
        if len(rows) > 1 and max(self.pieces) > 1:
            # examples with different numbers of rows, or sorted ones, are not where they are looked for
            turned = self._unfolded(self._seen(forward, arguments, rows[::-1]), len(rows))
            if not all(alike(one.flip(0), other) for one, other in zip(turned, found, strict=True)):
                raise nothing_to_gate(self.at_input, seen, len(rows))
        return found

    def _unfolded(self, seen: list[list[Tensor]], n: int) -> tuple[Tensor, ...]:
        self._check_runs(len(seen))
        tensors = [(place.rows, seen[place.run][place.number]) for place in self._places]
        if any(tensor.shape[rows.dim] != rows.pieces * n for rows, tensor in tensors):
            raise nothing_to_gate(self.at_input, seen, n)
        return tuple(rows.unfolded(tensor, n) for rows, tensor in tensors)

    def show(self, forward: Callable[..., Any], activations: Sequence[Tensor], values: Sequence[Any]) -> Any:
        """The output of the model with other activations in the place of those that `read` found."""
        new: dict[int, dict[int, Tensor]] = {}
        for place, activation in zip(self._places, activations, strict=True):
            new.setdefault(place.run, {})[place.number] = place.rows.folded(activation)
        output, n_runs = self._run(forward, values, lambda run, value: with_tensors(value, new.get(run, {})))
        if self._ran != self._layer_of_run:
            raise runs_depend_on_rows(len(self._layer_of_run), n_runs)
        return output

    def _located(
        self,
        forward: Callable[..., Any],
        arguments: Arguments,
        rows: Sequence[int],
        seen: list[list[Tensor]],
    ) -> list[_Place]:
        """Find the places.

        A single tensor with a row per example, in one run, can be seen from its shape. Otherwise the model is
        run once more, on the first example alone, or twice where it is alone: the rows of a tensor are where
        the shapes differ.
        """
        n = len(rows)
        tensors = [(i, k, t) for i, run in enumerate(seen) for k, t in enumerate(run) if is_gateable(t)]
        if (
            len(seen) == len(tensors) == 1
            and _has_rows(tensors[0][2], n)
            and tensors[0][2].shape.count(n) == 1
        ):
            return [_Place(*tensors[0][:2], LayerRows())]
        again = [rows[0]] * (2 if n == 1 else 1)
        others = self._seen_again(forward, arguments, again)
        if others is None:  # a model that takes no other number of rows
            found = [_Place(i, k, LayerRows()) for i, k, t in tensors if _has_rows(t, n)]
        else:
            self._check_runs(len(others))
            located = ((i, k, LayerRows.of(t, n, others[i][k], len(again))) for i, k, t in tensors)
            found = [_Place(i, k, layout) for i, k, layout in located if layout is not None]
        if not found:
            raise nothing_to_gate(self.at_input, seen, n)
        kinds = [(seen[p.run][p.number].dim(), p.rows.dim) for p in found]
        layers = [self._layer_of_run[p.run] for p in found]
        missing = [i for i in range(len(self.layers)) if i not in layers]
        if missing:
            raise self._without_rows(missing[0], seen, others, n)
        alike_first = [p for p, k, i in zip(found, kinds, layers, strict=True) if k == kinds[layers.index(i)]]
        places = sorted(alike_first, key=lambda place: self._layer_of_run[place.run])
        if others is not None and len({place.run for place in places}) > 1:
            self._check_independent(forward, arguments, *((again, others) if n > 1 else (rows, seen)))
        return places

    def _without_rows(
        self, layer: int, seen: list[list[Tensor]], others: list[list[Tensor]] | None, n: int
    ) -> ArgumentError:
        """The error for a layer of a list that has no activations with rows for each example."""
        runs = [i for i, which in enumerate(self._layer_of_run) if which == layer]
        tensors = [t for i in runs for t in seen[i]]
        other = None if others is None else [t for i in runs for t in others[i]]
        if (
            other
            and [t.shape for t in tensors] == [t.shape for t in other]
            and any(map(is_gateable, tensors))
        ):
            return shared_by_all(layer, tensors)
        return nothing_to_gate(self.at_input, seen, n)

    def _seen(
        self,
        forward: Callable[..., Any],
        arguments: Arguments,
        rows: Sequence[int],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> list[list[Tensor]]:
        """The tensors of each run of the layer; `change` replaces them after they were read."""
        seen: list[list[Tensor]] = []

        def keep(_: int, value: Any) -> Any:
            if holds(value, PackedSequence):
                raise packed(self.at_input)
            found = list(tensors_of(value))
            seen.append([tensor.detach().clone() for tensor in found])
            changed = {} if change is None else {k: change(t) for k, t in enumerate(found) if is_gateable(t)}
            return with_tensors(value, changed) if changed else None

        self.asked.update(rows)
        with torch.no_grad(), watched():
            self._run(forward, arguments(rows), keep)
        for i, layer in enumerate(self.layers):
            if i not in self._ran:
                raise does_not_run(forward, layer)
        return seen

    def _seen_again(
        self, forward: Callable[..., Any], arguments: Arguments, rows: Sequence[int]
    ) -> list[list[Tensor]] | None:
        try:
            return self._seen(forward, arguments, rows)
        except Exception:  # the model's own; what it means for the explanation is found out by the solve
            return None

    def _check_independent(
        self,
        forward: Callable[..., Any],
        arguments: Arguments,
        rows: Sequence[int],
        others: list[list[Tensor]],
    ) -> None:
        """Check that no run of the layer depends on what an earlier one returned: change all of them."""
        found = [t for run in self._seen(forward, arguments, rows, _altered) for t in run]
        before = [t for run in others for t in run]
        if [t.shape for t in found] != [t.shape for t in before] or not all(
            alike(one, other, _CHANGED) for one, other in zip(found, before, strict=True)
        ):
            raise runs_are_chained(len(others), len(self.layers))

    def _check_runs(self, n_runs: int) -> None:
        if n_runs != len(self._layer_of_run):
            raise runs_depend_on_rows(len(self._layer_of_run), n_runs)

    def _run(
        self, forward: Callable[..., Any], values: Sequence[Any], change: Callable[[int, Any], Any]
    ) -> tuple[Any, int]:
        """The output of the model, and how often it ran the layers; `change` is given the run's number."""
        self._ran = []

        def next_run(layer: int, value: Any) -> Any:
            self._ran.append(layer)
            return change(len(self._ran) - 1, value)

        with contextlib.ExitStack() as hooks, uncompiled():
            for i, layer in enumerate(self.layers):
                hooks.enter_context(self._hooked(layer, partial(next_run, i)))
            output = _bare(forward)(*values)
        return output, len(self._ran)

    def _hooked(self, layer: nn.Module, change: Callable[[Any], Any]) -> Any:
        if self.at_input:
            return layer.register_forward_pre_hook(
                lambda _, args, kwargs: change((args, kwargs)), with_kwargs=True
            )
        return layer.register_forward_hook(lambda _, __, output: change(output))


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


def _has_rows(tensor: Tensor, n: int) -> bool:
    return tensor.shape[0] == n


def _altered(tensor: Tensor) -> Tensor:
    """Other numbers, without a draw: a shift or a scale alone would be undone by a normalisation."""
    wave = torch.arange(tensor.numel(), device=tensor.device).sin().reshape(tensor.shape)
    return tensor + (wave * (1 + tensor.abs().max())).to(tensor.dtype)
