"""Rows: where a net learns from, and what is asked of each batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.attribution.effort import Effort
from stg_attr.attribution.parts import Asked, Data, Features, Shown, over_tensors
from stg_attr.attribution.question import Question
from stg_attr.errors import ArgumentError
from stg_attr.model import Baselines, GatedModel, Inputs, Target

from .settings import AmortizedSettings

__all__ = ["Ask", "AskedRows", "Source"]


@dataclass(frozen=True)
class Ask:
    """What is asked of every batch of rows; see `StochasticGates.explain` for the fields."""

    method: StochasticGates
    baselines: Shown
    target: Target
    arguments: Any
    feature_mask: Features
    layer_baselines: Baselines

    def of(self, inputs: Data) -> AskedRows:
        """The question about some rows, as one about tensors."""
        given = (inputs, self.baselines, self.target, self.arguments, self.feature_mask)
        asked = Asked(self.method.forward_func, *given)
        if isinstance(self.method, LayerStochasticGates):
            over = self.method._over_activations(asked, self.layer_baselines, False, Effort())
            return AskedRows(self.method, over.asked, over.spent)
        return AskedRows(*over_tensors(self.method, asked), None)


@dataclass(frozen=True)
class AskedRows:
    """A question about some rows.

    Attributes:
        method: the method, which takes tensors.
        asked: the question, about tensors.
        spent: model rows that reading the activations of a layer took for each row, long [batch]; None
            without a layer.
    """

    method: StochasticGates
    asked: Asked
    spent: Tensor | None

    def model(self, references: int, device: torch.device) -> GatedModel:
        """The model as a function of the gates of the rows."""
        method = self.method
        question = Question.of(self.asked, method.objective, method.estimator, device, Effort(), references)
        model = question.model(slice(None))
        if self.spent is not None:
            model.scorer.checked += self.spent
        return model


@dataclass(frozen=True)
class Source:
    """Passes over rows, without those that are held out.

    Attributes:
        batches: starts a pass.
        held_out: batches that no pass has.
        n_batches: batches of a pass, if it is known.
    """

    batches: Callable[[], Iterator[Inputs]]
    held_out: list[Inputs]
    n_batches: int | None

    @classmethod
    def of(cls, inputs: Any, settings: AmortizedSettings, seed: int) -> Source:
        """A source of rows of a tensor, a tuple of these, a table, or of batches.

        Raises:
            ArgumentError: there are too few rows, or the batches can be passed over only once.
        """
        if isinstance(inputs, (Tensor, tuple)) or hasattr(inputs, "shape"):
            return cls._of_rows(inputs, settings, seed)
        first = next(iter(inputs), None) if isinstance(inputs, Iterable) else None
        if first is None or iter(inputs) is inputs:
            raise ArgumentError(
                "inputs",
                expected="rows, or batches of them that can be passed over again and again",
                found=type(inputs).__name__,
                mend="Pass a tensor, a list of batches or a DataLoader, not a generator.",
            )
        held_out = _inputs_of(first)

        def batches() -> Iterator[Inputs]:
            for i, batch in enumerate(inputs):
                if i:  # the first batch is held out; a loader that shuffles gives its rows in others, too
                    yield _inputs_of(batch)

        n = len(inputs) - 1 if hasattr(inputs, "__len__") else None
        return cls(batches, [held_out], n)

    @classmethod
    def _of_rows(cls, inputs: Any, settings: AmortizedSettings, seed: int) -> Source:
        n = len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)
        if n < 10:
            raise ArgumentError(
                "inputs",
                expected="at least 10 rows, and some thousands to learn well",
                found=str(n),
                mend="Use StochasticGates, which needs no training.",
            )
        drawn = torch.Generator().manual_seed(seed)
        order = torch.randperm(n, generator=drawn, device="cpu")
        n_held_out = min(settings.held_out, n // 5)
        learned = order[n_held_out:]

        def batches() -> Iterator[Inputs]:
            again = learned[torch.randperm(len(learned), generator=drawn, device="cpu")]
            return (_rows(inputs, some) for some in torch.split(again, settings.batch))

        held_out = [_rows(inputs, some) for some in torch.split(order[:n_held_out], settings.batch)]
        return cls(batches, held_out, -(-len(learned) // settings.batch))


def _rows(inputs: Any, index: Tensor) -> Any:
    if isinstance(inputs, tuple):
        return tuple(None if x is None else x[index.to(x.device)] for x in inputs)
    if isinstance(inputs, Tensor):
        return inputs[index.to(inputs.device)]
    places = index.numpy()
    return inputs.iloc[places] if hasattr(inputs, "iloc") else inputs[places]


def _inputs_of(batch: Any) -> Inputs:
    """The inputs of a batch: itself, or the first entry of a list, such as inputs and labels."""
    return cast(Inputs, batch[0] if isinstance(batch, list) else batch)
