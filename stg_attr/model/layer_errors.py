"""The errors for layers on whose activations no gates can act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from stg_attr.errors import ArgumentError

from .isolation import module_of

__all__ = [
    "does_not_run",
    "is_gateable",
    "last_state_leaks",
    "nothing_to_gate",
    "packed",
    "runs_are_chained",
    "runs_depend_on_rows",
    "shared_by_all",
]


def is_gateable(tensor: Tensor) -> bool:
    """Whether gates can act on a tensor."""
    return tensor.is_floating_point() and tensor.dim() > 1


def nothing_to_gate(at_input: bool, seen: list[list[Tensor]], n: int) -> ArgumentError:
    """The error for layers without a tensor that gates can act on."""
    tensors = [tensor for run in seen for tensor in run]
    if not any(is_gateable(tensor) for tensor in tensors):
        mend = "Leave attribute_to_layer_input out." if at_input else "Pass attribute_to_layer_input=True."
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


def shared_by_all(layer: int, tensors: list[Tensor]) -> ArgumentError:
    """The error for a layer of a list whose activations do not go with the examples, such as positions."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    return ArgumentError(
        "layer",
        expected="layers whose activations have rows for each example",
        found=f"layer[{layer}], which is the same for all examples: {shapes}",
        mend="Leave it out of the list, or give its input to the model with a row for each example, such as "
        "position_ids.",
    )


def packed(at_input: bool) -> ArgumentError:
    """The error for sequences that are sorted by length."""
    return ArgumentError(
        "layer",
        expected="activations whose rows go with the examples",
        found=f"a PackedSequence as {'input' if at_input else 'output'}, whose rows are sorted by length",
        mend="Take the layer before pack_padded_sequence, such as the embedding.",
    )


def last_state_leaks(layer: nn.Module) -> ArgumentError:
    """The error for the output of a recurrent layer."""
    return ArgumentError(
        "layer",
        expected="a layer all of whose output can be gated",
        found=f"{type(layer).__name__}, whose last state has seen what the gates hide",
        mend="Put the gates on its input, with attribute_to_layer_input=True.",
    )


def does_not_run(forward: Callable[..., Any], layer: nn.Module) -> ArgumentError:
    """The error for a layer that the model does not run."""
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


def runs_are_chained(n_runs: int, n_layers: int) -> ArgumentError:
    """The error for runs of which one hides the gates on another."""
    several = f"{n_layers} that run {n_runs} times, of which one is given what came of another"
    return ArgumentError(
        "layer",
        expected="modules whose runs do not depend on each other",
        found=several
        if n_layers > 1
        else f"one that runs {n_runs} times, and is given what came of an earlier run",
        mend="Gates on a later run would hide those on an earlier one. Take the layer before the first run, "
        "such as an embedding, or one after the last.",
    )


def runs_depend_on_rows(n_runs: int, other: int) -> ArgumentError:
    """The error for layers that run more often where there are more rows."""
    return ArgumentError(
        "layer",
        expected="a module that the model runs equally often for every number of rows",
        found=f"one that runs {n_runs} times, and {other} times with other rows",
        mend="If it runs once for each row, take a layer that runs on all rows at once, or explain the "
        "inputs with StochasticGates.",
    )
