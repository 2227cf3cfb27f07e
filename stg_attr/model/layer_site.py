"""LayerSite: the places inside a model where gates act, read and written through a forward hook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from stg_attr.errors import ArgumentError

from .isolation import module_of
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
        run: which run of the layer.
        number: which of the tensors that the layer returns, or is given, in this run.
        rows: where its rows are.
    """

    run: int
    number: int
    rows: LayerRows


class LayerSite:
    """The output of a layer, or its input, where gates act: one place for each gated tensor of each run.

    The hook exists only while the model runs. It is also removed when the model fails or is interrupted.
    Compiled models run uncompiled here, since a compiled graph does not call hooks. Of a `DataParallel`
    model, only the module inside runs, on its own device.

    Args:
        layer: a module that the model runs, once or several times.
        at_input: gate the input of the layer instead of its output.

    Attributes:
        asked: how many rows of the model reading took of each example.
    """

    def __init__(self, layer: nn.Module, at_input: bool) -> None:
        self.layer = layer
        self.at_input = at_input
        self.asked: Counter[int] = Counter()
        self._places: list[_Place] = []
        self._n_runs = 0

    @property
    def pieces(self) -> tuple[int, ...]:
        """For each activation, how many rows of the layer an example has."""
        return tuple(place.rows.pieces for place in self._places)

    def read(
        self, forward: Callable[..., Any], arguments: Arguments, rows: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """The activations that gates act on, each [examples, ...] or [examples, pieces, ...], detached.

        These are the floating-point tensors whose rows go with the examples and that have as many dimensions
        as the first of them. All other outputs of the layer stay as the layer computes them.

        Args:
            forward: the model.
            arguments: what it is given for some examples.
            rows: the examples.

        Raises:
            ArgumentError: the layer does not run, its runs depend on each other or on the number of examples,
                or there is no such tensor.
        """
        if isinstance(self.layer, nn.RNNBase) and not self.at_input:
            raise _last_state_leaks(self.layer)
        seen = self._seen(forward, arguments, rows)
        if not self._places:
            self._n_runs = len(seen)
            self._places = self._located(forward, arguments, rows, seen)
        found = self._unfolded(seen, len(rows))
        if len(rows) > 1 and max(self.pieces) > 1:
            # examples with different numbers of rows, or sorted ones, are not where they are looked for
            turned = self._unfolded(self._seen(forward, arguments, rows[::-1]), len(rows))
            if not all(alike(one.flip(0), other) for one, other in zip(turned, found, strict=True)):
                raise _nothing_to_gate(self, seen, len(rows))
        return found

    def _unfolded(self, seen: list[list[Tensor]], n: int) -> tuple[Tensor, ...]:
        self._check_runs(len(seen))
        tensors = [(place.rows, seen[place.run][place.number]) for place in self._places]
        if any(tensor.shape[rows.dim] != rows.pieces * n for rows, tensor in tensors):
            raise _nothing_to_gate(self, seen, n)
        return tuple(rows.unfolded(tensor, n) for rows, tensor in tensors)

    def show(self, forward: Callable[..., Any], activations: Sequence[Tensor], values: Sequence[Any]) -> Any:
        """The output of the model with other activations in the place of those that `read` found."""
        new: dict[int, dict[int, Tensor]] = {}
        for place, activation in zip(self._places, activations, strict=True):
            new.setdefault(place.run, {})[place.number] = place.rows.folded(activation)
        output, n_runs = self._run(forward, values, lambda run, value: with_tensors(value, new.get(run, {})))
        self._check_runs(n_runs)
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
        tensors = [(i, k, t) for i, run in enumerate(seen) for k, t in enumerate(run) if _is_gateable(t)]
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
            raise _nothing_to_gate(self, seen, n)
        first = found[0]
        dims, dim = seen[first.run][first.number].dim(), first.rows.dim
        places = [p for p in found if seen[p.run][p.number].dim() == dims and p.rows.dim == dim]
        if others is not None and len({place.run for place in places}) > 1:
            self._check_independent(forward, arguments, *((again, others) if n > 1 else (rows, seen)))
        return places

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
                raise _packed(self.at_input)
            found = list(tensors_of(value))
            seen.append([tensor.detach().clone() for tensor in found])
            changed = {} if change is None else {k: change(t) for k, t in enumerate(found) if _is_gateable(t)}
            return with_tensors(value, changed) if changed else None

        self.asked.update(rows)
        with torch.no_grad(), watched():
            self._run(forward, arguments(rows), keep)
        if not seen:
            raise _does_not_run(forward, self.layer)
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
            raise _runs_are_chained(len(others))

    def _check_runs(self, n_runs: int) -> None:
        if n_runs != self._n_runs:
            raise _runs_depend_on_rows(self._n_runs, n_runs)

    def _run(
        self, forward: Callable[..., Any], values: Sequence[Any], change: Callable[[int, Any], Any]
    ) -> tuple[Any, int]:
        """The output of the model, and how often it ran the layer; `change` is given the run's number."""
        n_runs = 0

        def next_run(value: Any) -> Any:
            nonlocal n_runs
            n_runs += 1
            return change(n_runs - 1, value)

        with self._hooked(next_run), uncompiled():
            output = _bare(forward)(*values)
        return output, n_runs

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


def _is_gateable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1


def _has_rows(tensor: Tensor, n: int) -> bool:
    return tensor.shape[0] == n


def _altered(tensor: Tensor) -> Tensor:
    """Other numbers, without a draw: a shift or a scale alone would be undone by a normalisation."""
    wave = torch.arange(tensor.numel(), device=tensor.device).sin().reshape(tensor.shape)
    return tensor + (wave * (1 + tensor.abs().max())).to(tensor.dtype)


def _nothing_to_gate(site: LayerSite, seen: list[list[Tensor]], n: int) -> ArgumentError:
    tensors = [tensor for run in seen for tensor in run]
    if not any(_is_gateable(tensor) for tensor in tensors):
        mend = (
            "Leave attribute_to_layer_input out." if site.at_input else "Pass attribute_to_layer_input=True."
        )
        mend += " Of an embedding, gate the output."
    else:
        mend = (
            "Its rows were sorted, chosen or merged before. Take a layer before that, such as the embedding, "
            "or explain the inputs with StochasticGates."
        )
    return ArgumentError(
        "layer",
        expected=f"a floating-point activation whose rows go with the examples, [{n}, ...]",
        found=str([(str(t.dtype), tuple(t.shape)) for t in tensors]),
        mend=mend,
    )


def _packed(at_input: bool) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="activations whose rows go with the examples",
        found=f"a PackedSequence as {'input' if at_input else 'output'}, whose rows are sorted by length",
        mend="Take the layer before pack_padded_sequence, such as the embedding.",
    )


def _last_state_leaks(layer: nn.Module) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="a layer all of whose output can be gated",
        found=f"{type(layer).__name__}, whose last state has seen what the gates hide",
        mend="Put the gates on its input, with attribute_to_layer_input=True.",
    )


def _does_not_run(forward: Callable[..., Any], layer: nn.Module) -> ArgumentError:
    others = ", ".join(_sharing_weights(forward, layer))
    return ArgumentError(
        "layer",
        expected="a module that the model runs, as layer(...), where hooks are called",
        found="one that does not run, or runs inside a scripted or exported graph",
        mend=f"These modules share its weights and may run instead: {others}. Take one of them."
        if others
        else "Take a module of the model that is explained, as it was before torch.jit or torch.export.",
    )


def _sharing_weights(forward: Callable[..., Any], layer: nn.Module) -> list[str]:
    """The names of other modules of the model that have a parameter of a layer, as tied embeddings do."""
    model, own = module_of(forward), {id(p) for p in layer.parameters(recurse=False)}
    return [
        name
        for name, module in (() if model is None else model.named_modules())
        if module is not layer and own & {id(p) for p in module.parameters(recurse=False)}
    ]


def _runs_are_chained(n_runs: int) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="a module whose runs do not depend on each other",
        found=f"one that runs {n_runs} times, and is given what came of an earlier run",
        mend="Gates on a later run would hide those on an earlier one. Take the layer before the first run, "
        "such as an embedding, or one after the last.",
    )


def _runs_depend_on_rows(n_runs: int, other: int) -> ArgumentError:
    return ArgumentError(
        "layer",
        expected="a module that the model runs equally often for every number of rows",
        found=f"one that runs {n_runs} times, and {other} times with other rows",
        mend="If it runs once for each row, take a layer that runs on all rows at once, or explain the "
        "inputs with StochasticGates.",
    )
