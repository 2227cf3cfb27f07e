"""Scores of rows: the model as a function of the rows of a data set, in the units of one example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stg_attr.attribution.question import Question
from stg_attr.gates import Blend
from stg_attr.model import Examples, Scorer
from stg_attr.model.scorer import picked, score_dtype
from stg_attr.model.targets import flat_place, resolve_target

__all__ = ["ROWS_OF_A_CALL", "RowScores"]

ROWS_OF_A_CALL = 256  # of the model, where there is no solve that decides it


@dataclass(frozen=True)
class RowScores:
    """The model as a function of blended rows and of their numbers.

        s(x_z) - s(x) + c

    with c a mean of s(x). So the whole input of every row scores c, and what is measured of one example that
    stands for all rows is a mean over rows. Rows of outputs [rows, classes] become two columns: the score of
    the row's own class, and the largest of the others, by the same amounts.

    Attributes:
        __wrapped__: the model as it was given, by which `inspect.unwrap` finds it.
        scorer: runs the model and counts.
        everyone: all rows, and the output that is explained of each.
        full: s(x) of each row, [rows].
        centre: c.
        own: the class of each row, the one with the highest output, long [rows]; None without classes.
        one_number: whether the output of a row is one number.
        n_inputs: number of inputs.
    """

    __wrapped__: Callable[..., Any]
    scorer: Scorer
    everyone: Examples
    full: Tensor
    centre: float
    own: Tensor | None
    one_number: bool
    n_inputs: int

    @property
    def classes(self) -> bool:
        """Whether outputs are [rows, classes]."""
        return self.own is not None

    @classmethod
    @torch.no_grad()
    def of(cls, question: Question) -> RowScores:
        """Run the model on all rows, and settle what is explained of each.

        Args:
            question: about all rows, each an example.

        Raises:
            ArgumentError: the output cannot be used, or a target is missing.
        """
        scorer, blend = question.scorer(slice(None)), question.blend
        nothing = Blend((), (), blend.groups)  # rows are taken by `Pairs`, and not once more here
        index = torch.arange(question.batch, device="cpu")
        everyone = Examples(index, nothing, scorer.arguments)
        parts = [
            scorer.output([x[rows.to(x.device)].clone() for x in blend.inputs], everyone.rows(rows))
            for rows in torch.split(index, ROWS_OF_A_CALL)
        ]
        output = torch.cat(parts)
        target = resolve_target(question.index, output, question.forward)
        place = None if target is None else flat_place(target, output.shape[1:])
        everyone = replace(everyone, place=place)
        dtype = score_dtype(output.dtype, blend.dtype, question.device)
        full = picked(output, everyone)[0].to(question.device, dtype)
        own = output.argmax(1).cpu() if output.dim() == 2 and output.shape[1] > 1 else None
        centre, one = float(full.mean()), output[0].numel() == 1
        return cls(question.forward, scorer, everyone, full, centre, own, one, len(blend.inputs))

    def centred(self, rows: Tensor) -> RowScores:
        """The same with the mean score of some rows, long [rows], as that of the whole inputs."""
        return replace(self, centre=float(self.full[rows.to(self.full.device)].mean()))

    def output(self, values: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, Examples]:
        """The model's output on blended rows, and the rows as examples.

        Args:
            values: blended rows, one [samples, ...] per input.
            rows: their numbers, long [samples].
        """
        examples = self.everyone.rows(rows.cpu())
        return self.scorer.output(values, examples), examples

    def __call__(self, *given: Tensor) -> Tensor:
        """Scores of blended rows, [samples] or [samples, 2]; without their numbers, that of a whole input."""
        if len(given) == self.n_inputs:
            whole = torch.full_like(self.full[:1], self.centre)
            return torch.stack([whole, whole - 1], 1) if self.classes else whole
        *values, rows = given
        output, examples = self.output(values, rows)
        found = output.to(self.full.device, self.full.dtype)
        own = picked(found, examples)[0]
        off = self.centre - self.full[rows.to(self.full.device)]
        if not self.classes:
            return own + off
        assert examples.place is not None  # outputs of several numbers have a target
        others = found.scatter(1, examples.place.to(found.device).unsqueeze(1), -torch.inf).amax(1)
        return torch.stack([own + off, others + off], 1)
