"""Question: the model and all that was asked of it, ready to be solved, and to be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, cast

import torch
from torch import Tensor

from stg_attr.errors import check_count, check_share
from stg_attr.explanation import (
    Column,
    Explanation,
    Settings,
    Status,
    SufficientSets,
    as_feature_names,
    learned_before,
)
from stg_attr.gates import (
    Blend,
    FeatureGroups,
    GateDistribution,
    Pairs,
    default_masks,
    photograph_baseline,
)
from stg_attr.model import (
    Gaps,
    GatedModel,
    Memory,
    Scorer,
    Start,
    as_arguments,
    as_index,
    checked_inputs,
    own_arguments,
    undisturbed,
    watched,
)
from stg_attr.objective import Objective
from stg_attr.select.testing import held_out
from stg_attr.solve import Estimator, Learned, Solver
from stg_attr.tables import Cells

from . import certify
from .effort import Effort
from .evidence import check_rows, evidence_rows, slopes_anywhere
from .parts import Asked, Parts, check_inputs_suit

__all__ = ["Question", "prepared"]

_SHARE = "It is a share, not a count or a percentage."


@dataclass(frozen=True, eq=False)
class Question:
    """The model and all that was asked of it. Explanations in memory carry it, files and pickles do not.

    Attributes:
        forward: the model as a function of the inputs that are there.
        arguments: its additional arguments, on the device of the solve.
        objective: what the gates must do.
        blend: all examples.
        index: what is explained, from `as_index`.
        device: where the model is run.
        rows_together: examples that are solved together.
        samples_per_call: gate samples in one call of the model; None for the default.
        n_references: references on which sets are measured.
        seed: of the solve; and of the noise that the model itself draws.
        home: where the inputs came from, and results go.
        single: whether the inputs came as one tensor, not as a tuple.
        feature_names: one per gate, if there are any.
        cells: those that the inputs are numbers of, where a table is explained.
        tokens: the text of each position of each example, where texts are explained.
        memory: of rows that the model was run on for other targets.
        start: where the parameters of a solve begin.
    """

    forward: Callable[..., Any]
    arguments: tuple[Any, ...]
    objective: Objective
    blend: Blend
    index: Tensor | None
    device: torch.device
    rows_together: int
    samples_per_call: int | None
    n_references: int
    seed: int
    home: torch.device
    single: bool
    feature_names: tuple[str, ...] | None = None
    cells: Cells | None = None
    tokens: tuple[tuple[str, ...], ...] | None = None
    memory: Memory | None = None
    start: Start = field(default_factory=Start)

    @classmethod
    def of(
        cls,
        asked: Asked,
        objective: Objective,
        estimator: Estimator,
        device: torch.device,
        effort: Effort,
        n_references: int,
        n_held_out: Callable[[int], int] = lambda n: 0,
    ) -> Question:
        """Check what is asked, and bring it to the device; to be called within `undisturbed`.

        Args:
            asked: what is explained.
            objective: what the gates must do.
            estimator: of the gradient; whether it can differentiate through the gated inputs is checked.
            device: where the model is run.
            effort: what it may cost.
            n_references: references on which sets are measured, at most.
            n_held_out: how many of so many references are kept for a certificate.

        Raises:
            ArgumentError: an argument cannot be used.
        """
        gaps = Gaps.of(asked.inputs)
        given = checked_inputs(gaps.without(asked.inputs))
        index = as_index(asked.target, len(given[0]))
        moved = tuple(x.detach().to(device).clone() for x in given)
        masks = default_masks(moved) if asked.feature_mask is None else gaps.without(asked.feature_mask)
        groups = FeatureGroups.from_mask(masks, moved)
        check_inputs_suit(estimator, moved, groups)
        arguments = as_arguments(asked.arguments)
        with watched(is_model=False):
            shown: Any = gaps.without(asked.baselines)
            shown = photograph_baseline(moved, groups) if shown is None else shown
            blend: Blend
            if isinstance(shown, Pairs):
                blend = shown.blend(moved, groups, n_held_out(len(shown)))
            else:
                blend = Blend.of(moved, shown, groups, n_held_out)
        return cls(
            forward=gaps.filled(asked.forward),
            arguments=own_arguments(arguments, device),
            objective=objective,
            blend=blend,
            index=index,
            device=device,
            rows_together=effort.internal_batch_size
            or estimator.most_together(groups.n_gates)
            or len(given[0]),
            samples_per_call=effort.perturbations_per_eval,
            n_references=min(blend.n_references, n_references),
            seed=effort.seed,
            home=given[0].device,
            single=isinstance(asked.inputs, Tensor),
            feature_names=as_feature_names(asked.feature_names, groups),
            cells=asked.cells,
            tokens=asked.tokens,
            start=Start.of(gaps.without(asked.start), moved, groups, objective, estimator.proves_slopes),
        )

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """Those of the table, if one is explained."""
        return None if self.cells is None else self.cells.columns

    @cached_property
    def named(self) -> Blend:
        """What an explanation names as inputs and baselines."""
        return self.blend if self.cells is None else self.cells.shown(self.blend)

    @property
    def batch(self) -> int:
        """Number of examples."""
        return len(self.blend.inputs[0])

    def shards(self) -> Iterator[slice]:
        """The rows that are solved together, one part after the other."""
        return (slice(i, i + self.rows_together) for i in range(0, self.batch, self.rows_together))

    def undisturbed(self) -> AbstractContextManager[object]:
        """The context in which the model is asked: the caller's state is put back at its end."""
        return undisturbed(self.forward, self.device, self.seed)

    def scorer(self, rows: slice | Tensor) -> Scorer:
        """Runs the model on some rows."""
        return Scorer(self.forward, self.arguments, self.batch, rows, self.memory)

    def model(self, rows: slice | Tensor, scorer: Scorer | None = None) -> GatedModel:
        """The model as a function of the gates of some rows; to be called within `undisturbed`."""
        one_for_all = self.index is None or len(self.index) == 1
        return GatedModel(
            self.blend.rows(rows).to(self.device),
            scorer or self.scorer(rows),
            self.objective,
            self.index if one_for_all or self.index is None else self.index[rows],
            self.samples_per_call,
            self.n_references,
            lambda: self._slopes[0],
        )

    @cached_property
    def _slopes(self) -> tuple[bool, Tensor]:
        """See `slopes_anywhere`."""
        return slopes_anywhere(list(self.shards()), self.scorer, self.model, self.batch)

    def answered(self, parts: Sequence[Explanation], before: Explanation | None) -> Explanation:
        """The explanation of all examples.

        Args:
            parts: those of the shards, in order.
            before: an explanation that this one continues; its evaluations count, too.
        """
        found, named = Explanation.joined(parts), self.named
        spent = 0 if before is None else before.n_evaluations.cpu()
        looked = vars(self)["_slopes"][1] if "_slopes" in vars(self) else 0
        found = replace(
            found,
            n_evaluations=found.n_evaluations + spent + looked,
            inputs=named.inputs,
            feature_mask=named.groups.index,
            baselines=named.mean_references(self.n_references),
            question=replace(self, blend=self.blend.to(self.home), memory=None),
        )
        return self.handed_back(found)

    def handed_back(self, found: Explanation, rows: slice = slice(None)) -> Explanation:
        """An explanation of some rows, in the structure and on the device of the inputs, with names."""
        attributions = found.attributions
        if self.single and isinstance(attributions, tuple):
            attributions = attributions[0]
        if self.cells is not None:  # as other readings, which are made of the inputs in double precision
            attributions = cast(Tensor, attributions).double()
        named = replace(
            found,
            attributions=attributions,
            feature_names=self.feature_names,
            columns=self.columns,
            tokens=None if self.tokens is None else self.tokens[rows],
        )
        return named.to(self.home)

    def nothing_learned(
        self, other: Explanation, rows: slice, spent: Tensor, status: Status, learned: Learned | None
    ) -> Explanation:
        """An explanation of examples on which the model failed before anything was known of them.

        Args:
            other: an explanation of other examples of the same question.
            rows: the examples.
            spent: model rows evaluated for each, long [restarts * examples].
            status: what stopped the solve.
            learned: what an earlier solve has learned of them, if anything.
        """
        ids = self.blend.groups.rows(rows).feature_ids
        spent = spent.reshape(-1, len(self.blend.inputs[0][rows])).sum(0)
        blank = other.blank(len(spent))
        return replace(
            blank,
            feature_ids=ids.expand(len(spent), -1),
            status=(status,) * len(spent),
            n_evaluations=spent,
            learned=learned or blank.learned,
        )

    def learned_before(
        self, earlier: Explanation | None, gates: GateDistribution, n_restarts: int
    ) -> tuple[Learned, Tensor] | None:
        """What an earlier explanation of the same examples has learned, and its loss trace, [steps, batch].

        Raises:
            ArgumentError: the explanation cannot be continued; see `stg_attr.explanation.learned_before`.
        """
        if earlier is None:
            return None
        blend = self.named.to(self.device)
        baselines = blend.mean_references(self.n_references)
        return learned_before(
            earlier, blend.inputs, baselines, blend.groups, self.objective, gates, n_restarts, self.columns
        )

    def score_of(self, explanation: Explanation, sets: Tensor, examples: Sequence[int] | None) -> Tensor:
        """See `Explanation.score_of`."""
        rows = slice(None) if examples is None else certify.as_rows(examples, self.batch)
        shape = certify.checked_sets(sets, explanation.selected[rows])
        with self.undisturbed():
            return certify.score_of(self.model(rows), sets.reshape(-1, *shape[-2:])).reshape(shape[:-1])

    def minimal(self, explanation: Explanation, retain: float) -> Explanation:
        """See `Explanation.minimal`."""
        check_share("retain", retain, mend=_SHARE)
        with self.undisturbed():
            return certify.minimal(self._models(), explanation, retain)

    def sufficient_sets(self, explanation: Explanation, retain: float, n_sets: int) -> SufficientSets:
        """See `Explanation.sufficient_sets`."""
        check_share("retain", retain, mend=_SHARE)
        check_count("n_sets", n_sets, mend="4 is the default.")
        with self.undisturbed():
            return certify.sufficient_sets(self._models(), explanation, retain, n_sets)

    def _models(self) -> Iterator[tuple[slice, GatedModel]]:
        return ((rows, self.model(rows)) for rows in self.shards())


def prepared(
    method: Parts, asked: Asked, effort: Effort, with_curve: bool, device: torch.device
) -> tuple[Question, Solver, Settings]:
    """What is asked of an attribution method, how it is solved, and how it is read.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    settings, most = method.settings, effort.references(method.settings.plan)
    kept = partial(held_out, sparsity=method.sparsity, settings=settings.certificate)
    slopes, views = method.estimator.proves_slopes, method.objective.n_views
    question = Question.of(asked, method.objective, method.estimator, device, effort, most, kept)
    n, points = question.n_references, settings.reading.curve_points if with_curve else 0
    rows, checks = evidence_rows(n, question.blend.n_held_out, points), check_rows(n, points)
    begin = question.start.rows
    settings = effort.with_profile(settings, views + n + rows + checks + begin, with_curve)
    rows += settings.profile.rows(slopes)
    plan = effort.planned(views, n, rows, checks, settings.plan, begin)
    parts = (method.gates, method.sparsity, method.estimator, method.smoothness)
    looks = effort.spares(*plan, views, n, rows + checks + begin)
    solver = Solver(*parts, *plan, effort.seed, effort.n_restarts, looks, settings.solver)
    return replace(question, memory=method._memory), solver, settings
