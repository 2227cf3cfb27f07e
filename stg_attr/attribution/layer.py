"""LayerStochasticGates: explain the predictions of any model by gates over an inner activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation, Settings
from stg_attr.gates import FillIn, GateDistribution, activation_masks, as_references
from stg_attr.model import (
    Baselines,
    Gaps,
    Inputs,
    LayerForward,
    LayerSite,
    Map,
    Target,
    as_arguments,
    checked_inputs,
    module_of,
    undisturbed,
)
from stg_attr.model.buffers import kept_buffers
from stg_attr.model.given_rows import GivenRows
from stg_attr.objective import Objective
from stg_attr.select import Sparsity
from stg_attr.solve import Estimator
from stg_attr.texts import Tokenized

from .effort import Effort, with_effort
from .input import StochasticGates
from .parts import Asked, Data, Features, Inner, OnStep, Shown, check_layer

__all__ = ["LayerStochasticGates"]


class LayerStochasticGates(StochasticGates, LayerAttribution):  # type: ignore[misc]  # captum ships no types
    r"""Attribution by stochastic gates over what a layer returns, or what it is given.

        h_z = z h + (1 - z) b,   score(x) computed with h_z in the place of h

    So token ids, categorical columns and other inputs that cannot be blended are explained through their
    embeddings, and an image through its convolutional maps. Everything else is as for `StochasticGates`:
    activations take the place of the inputs.

    Activations [batch, positions, width] get one gate per position, maps [batch, channels, height, width]
    (or more dimensions) one gate per place, for all channels, and [batch, units] one gate per unit. A square
    map whose last dimension differs is taken as [batch, height, width, channels], with a warning. The
    batch may be in another dimension: [positions, batch, width] is read, and explained, as [batch,
    positions, width]. If the layer has several rows for each example, such as the choices of a question or
    the frames of a video, it is explained as [batch, rows, ...], with gates for each of them.

    Args:
        forward_func: the model, or any function of the inputs that runs `layer` and returns one row of
            outputs per input row.
        layer: a module of the model, or a list of them. Where it returns (or is given) several tensors, those
            whose rows go with the examples and that have as many dimensions as the first are gated. Where it
            runs several times, as an encoder of two texts does, or there are several layers, each run has
            gates; the activations are then a tuple, in the order of the list.
        objective: what the kept and the removed features must do.
        sparsity: at which budgets gates are learned and read.
        gates: distribution of the gates; None for the one that goes with the estimator.
        estimator: of the gradient; `ScoreFunction()` for a model without one.
        smoothness: how strongly regions that lie side by side in a map, [batch, channels, height, width],
            share what they learn; 0 for not at all. Single places are left alone.
        device: where the solve runs; the device of the model's parameters, else of the inputs, by default.
        settings: the numbers behind the defaults, which need no tuning.

    Raises:
        ArgumentError: the model is not callable, the layer is no module, or a part is not of its kind.

    Example:
        >>> import torch
        >>> embedding = torch.nn.Embedding.from_pretrained(torch.eye(4))
        >>> model = lambda ids: embedding(ids).sum(1) @ torch.tensor([0.0, 1.0, 0.0, 5.0])
        >>> stg = LayerStochasticGates(model, embedding)
        >>> stg.explain(torch.tensor([[2, 3, 0]])).selected
        tensor([[False,  True, False]])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | list[nn.Module],
        *,
        objective: Objective | None = None,
        sparsity: Sparsity | None = None,
        gates: GateDistribution | None = None,
        estimator: Estimator | None = None,
        smoothness: float = 1.5,
        device: torch.device | str | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(
            forward_func,
            objective=objective,
            sparsity=sparsity,
            gates=gates,
            estimator=estimator,
            smoothness=smoothness,
            device=device,
            settings=settings,
        )
        check_layer(layer)
        self.layer = layer
        self._tokenized: Tokenized | None = None  # where it was made for texts
        self.device_ids: list[int] | None = None  # captum's classes for layers have it

    @classmethod
    def for_text(cls, model: nn.Module, tokenizer: Any, **parts: Any) -> LayerStochasticGates:
        """Gates on the words of strings, through the embedding of a model of transformers.

        `attribute` and `explain` then take a string, or a list of strings or pairs. `feature_mask` may be a
        function of the encoding, such as `sentence_mask`; None for words. `baselines` is the token that
        stands for a hidden word: by default the mask token, else that for unknown words, else padding.
        What is explained is the `logits` of the output, the answer of a model for question answering, or the
        similarity of the two texts of a pair, where the model is an encoder without a head.

        Args:
            model: of transformers or sentence_transformers.
            tokenizer: its fast tokenizer.
            parts: `objective`, `sparsity` and so on, as for the class.

        Raises:
            ArgumentError: see `Tokenized.of`.
        """
        tokenized = Tokenized.of(model, tokenizer)
        made = cls(model, tokenized.layers, **parts)
        made._tokenized = tokenized
        return made

    @log_usage()  # type: ignore[untyped-decorator]  # captum's NoiseTunnel looks for the __wrapped__ it sets
    @with_effort(StochasticGates.attribute)
    def attribute(
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        *,
        return_input_shape: bool = True,
        show_progress: bool = False,
        on_step: OnStep | None = None,
        layer_baselines: Baselines = None,
        attribute_to_layer_input: bool = False,
        start: Map = None,
        **effort: Any,
    ) -> Inputs:
        """Active probability of every element's gate, in [0, 1].

        Arguments that are not listed here are those of `StochasticGates.attribute`.

        Args:
            inputs: what to explain, [batch, ...], or a tuple of such tensors; a None in it is passed on.
            baselines: inputs whose activation is what closed gates show: pad, mask or unknown tokens, for
                example; a number, a tensor [1 or batch, ...], reference rows or a function of the input; for
                several inputs a tuple of these, in which None keeps an input as it is.
            target: the output to explain, as for `StochasticGates`.
            additional_forward_args: passed on to the model; tensors with `batch` rows are repeated with them.
            feature_mask: integers over the activation, as for `StochasticGates`; dimensions at its end may be
                left out: [batch, positions] fits [batch, positions, width]. None for one gate per position.
            return_input_shape: if False, one value per feature is returned.
            show_progress: show a progress bar.
            on_step: called after each step, see `OnStep`.
            layer_baselines: what closed gates show, in terms of the activation: what `baselines` is for
                `StochasticGates`. Without either of the two, 0.
            attribute_to_layer_input: gate what the layer is given instead of what it returns.
            start: as for `StochasticGates`, in terms of the activation.
            effort: `n_steps`, `n_samples`, `max_evals` and so on.

        Returns:
            Attributions in the structure and shape of the activation, or [batch, features].

        Raises:
            ArgumentError: an argument, the layer, or the model's output cannot be used.
        """
        asked = Asked(self.forward_func, inputs, baselines, target, additional_forward_args, feature_mask,
                      start=start)  # fmt: skip
        over = self._over_activations(asked, layer_baselines, attribute_to_layer_input, Effort(**effort))
        found = self._answer(over.asked, over.effort, False, show_progress, on_step)
        return self._attributions(found, over.asked.inputs, return_input_shape)

    @with_effort(StochasticGates.explain)
    def explain(  # type: ignore[override]  # as above
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        *,
        show_progress: bool = False,
        on_step: OnStep | None = None,
        resume: Explanation | None = None,
        layer_baselines: Baselines = None,
        attribute_to_layer_input: bool = False,
        feature_names: Sequence[str] | None = None,
        start: Map = None,
        **effort: Any,
    ) -> Explanation:
        """The same attributions with the evidence for them: see `attribute` for the arguments.

        Returns:
            As `StochasticGates.explain`; its `inputs` and `baselines` are activations, on their device.

        Raises:
            ArgumentError: an argument, the layer, or the model's output cannot be used.
        """
        asked = Asked(
            self.forward_func, inputs, baselines, target, additional_forward_args, feature_mask,
            feature_names, start=start,
        )  # fmt: skip
        over = self._over_activations(asked, layer_baselines, attribute_to_layer_input, Effort(**effort))
        return over.counted(self._answer(over.asked, over.effort, True, show_progress, on_step, resume))

    def _over_activations(
        self, asked: Asked, layer_baselines: Baselines, at_input: bool, effort: Effort
    ) -> Inner:
        """The same question about the activations of the layer."""
        if self._tokenized is not None:
            asked = asked.over_tokens(self._tokenized, layer_baselines)
        gaps = Gaps.of(asked.inputs)
        given = checked_inputs(gaps.without(asked.inputs))
        forward = gaps.filled(asked.forward)
        references = _checked_baselines(gaps.without(asked.baselines), layer_baselines, given)
        site = LayerSite(self.layer if isinstance(self.layer, list) else [self.layer], at_input)
        device, arguments = self.solve_device(given[0]), as_arguments(asked.arguments)
        rows = effort.internal_batch_size or len(given[0])
        reader = _Reader(forward, site, arguments, device, rows)
        with undisturbed(reader, device, effort.seed) as read, kept_buffers(module_of(forward)):
            activations = read(given)
            shown = [read(values) for values in references]
        if shown:
            stacked = [torch.stack(columns) for columns in zip(*shown, strict=True)]
            layer_baselines = tuple(_constant(rows) for rows in stacked)
        over = Asked(
            LayerForward(forward, site, len(activations)),
            activations[0] if len(activations) == 1 else activations,
            0 if layer_baselines is None else layer_baselines,
            asked.target,
            (*given, *arguments),
            activation_masks(asked.feature_mask, activations, site.pieces),
            asked.feature_names,
            tokens=asked.tokens,
            start=asked.start,
        )
        rows_run = [site.asked[i] + asked.spent for i in range(len(given[0]))]
        return Inner.of(over, effort, torch.tensor(rows_run, device="cpu"))


@dataclass(frozen=True)
class _Reader:
    """Reads activations of inputs, some rows at a time."""

    forward: Callable[..., Any]
    site: LayerSite
    arguments: tuple[Any, ...]
    device: torch.device
    rows: int

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The activations of inputs [batch, ...], each [batch, ...]."""
        given = GivenRows(tuple(inputs), self.arguments, self.device)
        batch = len(given)
        parts = [
            self.site.read(self.forward, given, range(batch)[start : start + self.rows])
            for start in range(0, batch, self.rows)
        ]
        return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))


def _checked_baselines(
    baselines: Baselines, layer_baselines: Baselines, inputs: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """Every set of baseline inputs, in full; none where closed gates show something else."""
    if baselines is None:
        return []
    if layer_baselines is not None:
        raise ArgumentError(
            "baselines",
            expected="either baselines, which are inputs, or layer_baselines, which are activations",
            found="both",
            mend="Leave one of them out.",
        )
    if any(isinstance(b, FillIn) for b in (baselines if isinstance(baselines, tuple) else [baselines])):
        raise ArgumentError(
            "baselines",
            expected="inputs, whose activations hidden places show",
            found="FillIn, which fills in what is gated",
            mend="Pass it as layer_baselines: it is then called with activations.",
        )
    if len(inputs) > 1 and not isinstance(baselines, tuple):
        raise ArgumentError(
            "baselines",
            expected=f"a tuple with an entry for each of {len(inputs)} inputs",
            found="a single one",
            mend="Pass None for the inputs that stay as they are.",
        )
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    kept = tuple(x if b is None else b for b, x in zip(given, inputs, strict=False)) + given[len(inputs) :]
    references = as_references(kept, inputs)
    n = max(len(reference) for reference in references)
    return [
        tuple(r[i % len(r)].expand(x.shape) for r, x in zip(references, inputs, strict=True))
        for i in range(n)
    ]


def _constant(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: rows
