"""GatedModel: the model as a function of gate values, with losses for a solver and scores of selections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from stg_attr.gates import Blend, FeatureGroups
from stg_attr.objective import Anchors, Objective

from .allowance import Allowance
from .chunks import Chunks, is_out_of_memory
from .examples import Examples
from .first_call import answers
from .gated_loss import GatedLoss, ScoreItself, no_gradient
from .isolation import may_detach_weights, rounding_unit
from .measured import Measured
from .scorer import (
    Scorer,
    check_difference,
    check_finite,
    check_single,
    class_kept,
    only_together,
    picked,
    score_dtype,
)
from .spread import ScoreSpread
from .targets import flat_place, resolve_target
from .without_slopes import moving

__all__ = ["GatedModel"]


class GatedModel:
    """A batch of examples, and the model as a function of their gates.

    Making one runs the model on the inputs and on the references.

    Args:
        blend: the inputs, their references and groups.
        scorer: runs the model.
        objective: what the gates must do.
        index: what is explained, from `as_index`.
        samples_per_call: gate samples in one call of the model, with all examples; None for what suits the
            device. Fewer where memory runs out.
        n_references: references on which the scale of an example and its selections are measured, at most.
        slopes_elsewhere: whether the model has slopes for other examples, where it has none for these.

    Attributes:
        everyone: all examples.
        anchors: the scores of inputs and references.
        reference_scores: the scores of the references on which sets are searched, [references, batch].
        graphs: of the calls that were differentiated, whether some had a graph, and some had none.
        detaches_weights: run layers without keeping what only gradients of their weights need.
        score_dtype: precision of scores.
        rounding_unit: that of the coarsest dtype that the model is known to compute with.
        spread: how far the scores of masked inputs are from that of the baseline.
        target: what is explained in each example, long [batch, dims]; None where an output is one number.

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
        n_references: int = 5,
        slopes_elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        self.blend, self.scorer, self.objective = blend, scorer, objective
        self.batch, self.device = blend.inputs[0].shape[0], blend.inputs[0].device
        self.n_held_out, self._slopes_elsewhere = blend.n_held_out, slopes_elsewhere
        self._shown = self.reference_order[:n_references]
        elements = sum(x.numel() for x in blend.inputs) // self.batch
        self.chunks = Chunks.of(elements, self.batch, samples_per_call, self.device)
        self.everyone = Examples(torch.arange(self.batch, device="cpu"), blend, scorer.arguments)
        self.graphs: set[bool] = set()
        self.detaches_weights = may_detach_weights(scorer.forward)
        full = self._observed(index).to(self.device, self.score_dtype)
        if scorer.one_row_per_call:
            check_single(samples_per_call)
            self.chunks.samples = 1
        references = self._shown.to(self.device)
        closed = torch.zeros(1, self.batch, blend.groups.n_gates, device=self.device, dtype=blend.dtype)
        empty = self.scores(closed.expand(len(references), -1, -1), references, self.everyone)
        check_finite(full.unsqueeze(0), "the inputs")
        check_finite(empty, "the baselines")
        self.reference_scores = empty
        self.anchors = Anchors.measure(full, empty)
        check_difference(self.anchors)
        self.spread = ScoreSpread(objective.fidelity.unit(self.anchors))
        self.everyone = replace(self.everyone, anchors=self.anchors)

    @torch.no_grad()
    def _observed(self, index: Tensor | None) -> Tensor:
        """Run the model on the inputs, settle what is explained; the explained scores, [batch]."""
        scorer, output = self.scorer, None
        scorer.one_row_per_call = self.batch == 1
        for chunk in self.chunks.over(1, self.batch):
            with chunk:
                some = self.everyone.part(chunk.examples)
                found = self._answer(some)
                scorer.one_row_per_call = found.dim() == 0
                output = chunk.put(output, found.reshape(1, -1) if found.dim() == 0 else found.unsqueeze(0))
        assert output is not None
        self.score_dtype = score_dtype(output.dtype, self.dtype, self.device)
        self.rounding_unit = rounding_unit(scorer.forward, output.dtype)
        self.target = resolve_target(index, output[0], scorer.forward)
        if self.target is not None:
            place = flat_place(self.target, output.shape[2:])
            self.everyone = replace(self.everyone, place=place)
        return picked(output[0], self.everyone)[0]

    def _answer(self, some: Examples) -> Tensor:
        """The model's output on the inputs of some examples."""
        try:
            return self._output(some)
        except Exception as error:
            if len(some.index) == self.batch or is_out_of_memory(error) or not self.needs_all(some):
                raise
            raise only_together(error, len(some.index), self.batch) from error

    def needs_all(self, some: Examples) -> bool:
        """Whether the model answers for all examples in one call, and then fails for some of them again."""
        return answers(self._output, self.everyone) and not answers(self._output, some)

    def _output(self, some: Examples) -> Tensor:
        return self.scorer.output([x.clone() for x in some.blend.inputs], some)  # a model may work in place

    @property
    def groups(self) -> FeatureGroups:
        """The gates of each example."""
        return self.blend.groups

    @property
    def explainable(self) -> Tensor:
        """Whether the output of an example differs from that of its references at all, bool [batch]."""
        return self.objective.fidelity.explainable(self.anchors)

    @property
    def differs(self) -> Tensor:
        """Features whose value is not that of every reference, bool [batch, gates]."""
        return self.blend.differs

    @property
    def direction(self) -> Tensor:
        """1 where the score rises from the references to the input, -1 where it falls, [batch, 1]."""
        return self.anchors.direction.to(self.dtype).unsqueeze(1)

    @property
    def reference_order(self) -> Tensor:
        """The order in which references are shown to the solver and to searches, long [references]."""
        return self.blend.reference_order[: self.blend.n_references - self.n_held_out]

    @property
    def held_out(self) -> Tensor:
        """References that neither the solver nor a search is shown, long [references]."""
        return self.blend.reference_order[self.blend.n_references - self.n_held_out :]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of gates, and of all that is a share of the output."""
        return self.blend.dtype

    @property
    def evaluations(self) -> Tensor:
        """Model rows evaluated so far for each example, long [batch] on the CPU."""
        return self.scorer.evaluations

    @property
    def rows_per_selection(self) -> int:
        """Model rows that measuring a hard selection takes: one for each reference shown."""
        return len(self._shown)

    def loss(self, examples: Examples, references: Tensor) -> GatedLoss:
        """The loss as a function of gate values.

        Args:
            examples: whose gates they are.
            references: the reference that each sample is shown, long [samples], on the device of the gates.
        """
        views = references.repeat(self.objective.n_views) if self.blend.n_references > 1 else references
        return GatedLoss(self, examples, views, self.objective)

    def score_slopes(
        self, gates: Tensor, references: Tensor, index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores, [samples, examples], and their slopes in the gates, or 0, [samples, examples, gates].

        Args:
            gates: gate values, [samples, examples, gates].
            references: the reference that each sample is shown, long [samples].
            index: the examples they are of, long [examples] on the CPU; None for all.
        """
        examples = self.named(index)
        anchors, shown = examples.anchors or self.anchors, references.to(self.device)
        scores, slopes = GatedLoss(self, examples, shown, ScoreItself()).with_slope(gates)
        slopes = slopes.nan_to_num(0.0, 0.0, 0.0) * anchors.scale.unsqueeze(1)
        return anchors.baseline + scores.to(self.score_dtype) * anchors.scale, slopes

    def missed(self, examples: Examples, seen: Tensor, least: float) -> Tensor:
        """Gates that change the score although the model has no slopes in them, bool [examples, gates].

        See `without_slopes.moving`.

        Args:
            examples: whose gates they are.
            seen: gates in which the model was seen to have slopes, bool [examples, gates].
            least: share of the output by which they must change it together.

        Raises:
            ArgumentError: the model's output never had a gradient.
        """
        explainable = self.objective.fidelity.explainable(self.anchors.rows(examples.index))
        if self.graphs == {False} and bool(explainable.any()) and not self._slopes_elsewhere():
            raise no_gradient()
        missed = examples.blend.groups.exists & ~seen & explainable.unsqueeze(1)
        return missed & moving(self, examples, seen, missed, least).unsqueeze(1)

    def measure(
        self,
        selections: Tensor,
        index: Tensor | None = None,
        other_view: bool = False,
        allowance: Allowance | None = None,
        fresh: bool = False,
    ) -> Measured:
        """What hard selections achieve, by real forwards.

        Args:
            selections: open gates, bool [k, examples, gates].
            index: the examples they are of, long [examples] on the CPU, any number of times each; None for
                all.
            other_view: what is left when they are removed where the objective keeps, and the other way round.
            allowance: notes a failure of the model, and answers NaN from then on; None raises it.
            fresh: with references that are held out, where there are some.
        """
        if allowance is not None and allowance.failure is not None:
            return self._unknown(selections)
        try:
            return self._measured(selections, index, other_view, fresh and self.n_held_out > 0)
        except (Exception, KeyboardInterrupt) as failure:
            if allowance is None or not self.scorer.may_stop(failure):
                raise
            allowance.failure = failure
            return self._unknown(selections)

    def _measured(self, selections: Tensor, index: Tensor | None, other_view: bool, fresh: bool) -> Measured:
        keeps, fidelity = self.objective.keeps is not other_view, self.objective.fidelity
        examples = self.named(index)
        references = self.held_out[-len(self._shown) :] if fresh else self._shown
        scores = self._selected_scores(selections if keeps else ~selections, examples, references)
        anchors = self.fresh_anchors.rows(examples.index) if fresh else examples.anchors
        assert anchors is not None
        self.spread.add(examples.index, (scores - anchors.baseline).flatten(0, 1))
        share = fidelity.achieved(scores, anchors, keeps)
        # A score that is not finite is not enough of the score: infinity times zero is NaN. This is several
        # times faster than `where` and `isfinite`, and a search measures very often.
        return Measured(scores, share.add(share, alpha=0).to(self.dtype))

    def named(self, index: Tensor | None) -> Examples:
        """Some of the examples, long [examples]; all of them as they are, which saves the time of a copy."""
        if index is None or (index.shape[0] == self.batch and torch.equal(index, self.everyone.index)):
            return self.everyone
        return self.everyone.rows(index)

    def _unknown(self, selections: Tensor) -> Measured:
        shape = len(selections), 1, selections.shape[1]
        nan = torch.full(shape, torch.nan, device=selections.device).to(self.dtype)
        return Measured(nan, nan)

    @cached_property
    def fresh_anchors(self) -> Anchors:
        """The scores of inputs and of as many references that are held out; measured when first asked for."""
        references = self.held_out[-len(self._shown) :]
        closed = torch.zeros_like(self.groups.exists.expand(self.batch, -1)).unsqueeze(0)
        empty = self._selected_scores(closed, self.everyone, references)[0]
        return Anchors.measure(self.anchors.full, empty)

    def outcomes(
        self, selections: Tensor, index: Tensor, references: Tensor, same_class: bool, allowance: Allowance
    ) -> Tensor:
        """What the model makes of selections with one reference after the other, [references, examples].

        Args:
            selections: open gates, bool [examples, gates].
            index: the examples they are of, long [examples] on the CPU.
            references: long [references].
            same_class: 1 where the explained class has the highest output, else 0, instead of the score.
            allowance: notes a failure of the model, and answers NaN from then on.

        Raises:
            ArgumentError: there are no classes.
        """
        gates = selections.expand(len(references), -1, -1)
        if allowance.failure is None and len(index):
            try:
                examples = self.named(index)
                return self.scores(gates, references, examples, class_kept if same_class else picked)
            except (Exception, KeyboardInterrupt) as failure:
                if not self.scorer.may_stop(failure):
                    raise
                allowance.failure = failure
        return torch.full(gates.shape[:2], torch.nan, device=self.device).to(self.dtype)

    def _selected_scores(self, selections: Tensor, examples: Examples, references: Tensor) -> Tensor:
        """[k, examples, gates] -> [k, references, examples]."""
        n, n_references = selections.shape[0], references.shape[0]
        gates = selections.unsqueeze(1).expand(-1, n_references, -1, -1).flatten(0, 1)
        scores = self.scores(gates, references.expand(n, -1).flatten(), examples)
        return scores.reshape(n, n_references, -1)

    @torch.no_grad()
    def scores(
        self,
        gates: Tensor,
        references: Tensor,
        examples: Examples | None = None,
        read: Callable[..., Tensor] = picked,
    ) -> Tensor:
        """Scores [samples, examples] of gate values [samples, examples, gates].

        Args:
            gates: gate values.
            references: the reference that each sample is shown, long [samples].
            examples: whose gates they are; None for all.
            read: makes the score of each row of the model's output.
        """
        scores, references = None, references.to(self.device)
        examples = self.everyone if examples is None else examples
        for chunk in self.chunks.over(*gates.shape[:2]):
            with chunk:
                some, part = chunk.samples, examples.part(chunk.examples)
                shown = part.blend(gates[some, chunk.examples].to(self.dtype), references[some])
                found = read(self.scorer.output(shown, part), part)
                scores = chunk.put(scores, found.to(self.device, self.score_dtype))
        assert scores is not None
        return scores
