"""A case: one batch of examples, with everything a question about its gates needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Blend
from stg_attr.objective import Anchors, Objective
from stg_attr.solve import Noise

from .arguments import MOST_REFERENCES
from .pieces import Kept, Room
from .scoring import Scorer

__all__ = ["Case", "Measured"]


@dataclass(frozen=True)
class Measured:
    """What hard selections achieve, all [k, examples].

    A share is what a selection keeps of the output, or, where the objective only removes, what its removal
    takes away.

    Attributes:
        score: mean over references.
        share: mean over references.
        worst_share: that with the reference with which the selection achieves least.
    """

    score: Tensor
    share: Tensor
    worst_share: Tensor


class Case:
    """Asks the model about gate values: the loss of a solve, and the scores of hard selections.

    Args:
        blend: the inputs, their references and groups.
        scorer: the model.
        objective: what is asked.
        index: what is explained, from `as_index`.
        samples_per_call: gate samples in one call of the model, with all examples; None for what suits the
            device. Less where memory runs out.
        n_references: references on which the scale of an example and its selections are measured, at most.

    Raises:
        ArgumentError: the model's output cannot be used.
    """

    def __init__(
        self,
        blend: Blend,
        scorer: Scorer,
        objective: Objective,
        index: Tensor | None,
        samples_per_call: int | None,
        n_references: int = MOST_REFERENCES,
    ) -> None:
        self.blend = blend
        self.batch = blend.inputs[0].shape[0]
        self.objective = objective
        self.reference_order = Noise.reference_order(blend.n_references)
        self._shown = self.reference_order[:n_references]
        self._scorer = scorer
        self._everyone = torch.arange(self.batch, device="cpu")
        self._part = Kept(self._part_of, 2 * self.batch)
        self._cuts = Kept(lambda examples: dict[tuple[int, int], Tensor](), 2 * self.batch)
        elements = sum(x.numel() for x in blend.inputs) // self.batch
        self._room = Room.of(elements, self.batch, samples_per_call, self._device)
        with torch.no_grad():
            shown = tuple(x.clone() for x in blend.inputs)  # a model may work in place
            full = scorer.observe(shown, index, self._room).to(self._device, blend.dtype)
            self._check_call_size(samples_per_call)
            self._room.samples = 1 if scorer.one_row_per_call else self._room.samples
            references = self._shown.to(self._device)
            empty = self._scores(self._closed().expand(len(references), -1, -1), references)
        _check_finite(full.unsqueeze(0), "the inputs")
        _check_finite(empty, "the baselines")
        self.anchors = Anchors.measure(full, empty)

    def _check_call_size(self, samples_per_call: int | None) -> None:
        if self._scorer.one_row_per_call and samples_per_call not in (None, 1):
            raise ArgumentError(
                "perturbations_per_eval",
                expected="1, since forward_func returns one number per call",
                found=str(samples_per_call),
                mend="Leave it out, or return one score for every row.",
            )

    @property
    def _device(self) -> torch.device:
        return self.blend.inputs[0].device

    def _closed(self) -> Tensor:
        shape = (1, self.batch, self.blend.groups.n_gates)
        return torch.zeros(shape, device=self._device, dtype=self.blend.dtype)

    def _scores(self, gates: Tensor, draws: Tensor, examples: Tensor | None = None) -> Tensor:
        everyone = self._everyone if examples is None else examples

        def scores_of(z: Tensor, first: int, rows: slice) -> Tensor:
            return self._called(z, draws[first : first + len(z)], self._cut(everyone, rows))

        return self._room.numbers(scores_of, gates)

    def _called(self, gates: Tensor, draws: Tensor, examples: Tensor) -> Tensor:
        """Scores by one call of the model."""
        shown = self._part(examples).blend(gates.to(self.blend.dtype), draws)
        return self._scorer.scores(shown, examples).to(self._device, self.blend.dtype)

    def _cut(self, examples: Tensor, rows: slice) -> Tensor:
        """Some of the examples, always the same tensor."""
        if rows.start == 0 and rows.stop >= len(examples):
            return examples
        return self._cuts(examples).setdefault((rows.start, rows.stop), examples[rows])

    def _part_of(self, examples: Tensor) -> _Part:
        where = examples.to(self._device)
        everyone = torch.equal(examples, self._everyone)
        return _Part(where, self.blend if everyone else self.blend.rows(where))

    def _anchors_of(self, examples: Tensor) -> Anchors:
        part = self._part(examples)
        if part.anchors is None:
            part.anchors = self.anchors if part.blend is self.blend else self.anchors.rows(part.where)
        return part.anchors

    def loss(
        self, gates: Tensor, draws: Tensor, examples: Tensor, with_slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Loss of gate values [samples, examples, gates], with a reference for each; [samples, examples].

        Args:
            gates: gate values.
            draws: the reference that each sample is shown, long [samples], on the device of the gates.
            examples: the examples they are of, long [examples] on the CPU.
            with_slope: also the slope of each loss in its gates, [samples, examples, gates], second.

        Returns:
            The loss, and the slope; None where it was not asked for, or the score has none.
        """
        objective = self.objective
        draws = draws.repeat(objective.n_views) if self.blend.n_references > 1 else draws

        def losses_of(z: Tensor, first: int, rows: slice) -> Tensor:
            some = self._cut(examples, rows)
            scores = self._called(z, draws[first : first + len(z)], some)
            return objective.losses(scores, self._anchors_of(some), first, len(gates))

        views = objective.views(gates)
        if not with_slope:
            return objective.summed(self._room.numbers(losses_of, views)), None
        losses, slopes = self._room.numbers_with_slopes(losses_of, views)
        return objective.summed(losses), None if slopes is None else objective.in_gates(slopes)

    def measure(
        self, selections: Tensor, examples: Tensor | None = None, other_view: bool = False
    ) -> Measured:
        """What hard selections achieve, by real forwards.

        Args:
            selections: open gates, bool [k, examples, gates].
            examples: the examples they are of, long [examples] on the CPU, any number of times each; None for
                all.
            other_view: what is left when they are removed where the objective keeps, and the other way round.
        """
        keeps, fidelity = self.objective.keeps is not other_view, self.objective.fidelity
        scores = self._selected_scores(selections if keeps else ~selections, examples)
        anchors = self.anchors if examples is None else self._anchors_of(examples)
        share = fidelity.retained(scores, anchors) if keeps else 1 - fidelity.remaining(scores, anchors)
        return Measured(scores.mean(1), share.mean(1), share.amin(1))

    @property
    def rows_per_selection(self) -> int:
        """Model rows that measuring a hard selection takes: one for each reference shown."""
        return len(self._shown)

    def _selected_scores(self, selections: Tensor, examples: Tensor | None) -> Tensor:
        """[k, examples, gates] -> [k, references, examples]."""
        references = self._shown
        gates = selections.repeat_interleave(len(references), 0)
        draws = references.repeat(len(selections)).to(gates.device)
        scores = self._scores(gates, draws, examples)
        return scores.reshape(len(selections), len(references), -1)

    @property
    def evaluations(self) -> Tensor:
        """Model rows evaluated so far for each example, long [batch] on the CPU."""
        return self._scorer.evaluations

    def may_stop(self, failure: BaseException) -> bool:
        """Whether an exception is Ctrl-C or the model's own, so that what was learned before it counts."""
        return self._scorer.may_stop(failure)

    @property
    def target(self) -> Tensor | None:
        """What is explained in each example, long [batch, output dimensions - 1]."""
        return self._scorer.target


@dataclass
class _Part:
    """What belongs to some examples.

    Attributes:
        where: long [examples], on the device.
        blend: of their inputs.
        anchors: of their scores; None before they are needed.
    """

    where: Tensor
    blend: Blend
    anchors: Anchors | None = None


def _check_finite(scores: Tensor, where: str) -> None:
    if not bool(scores.isfinite().all()):
        rows: Sequence[int] = (~scores.isfinite()).any(0).nonzero().flatten().tolist()
        raise ArgumentError(
            "forward_func",
            expected=f"finite scores on {where}",
            found=f"NaN or inf for examples {rows[:8]}",
            mend="Check the model on these rows; a baseline of zeros may be outside its domain.",
        )
