"""Explanation: the attributions of a batch of examples, with the evidence for them; data only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf, nan
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from stg_attr.batch import AsText, Batch, Holds, per_example
from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.objective import retained_share
from stg_attr.solve import Learned

from . import files
from .columns import COLUMNS, Column
from .consistency import check_elements, is_data_only
from .frame import to_frame
from .layout import Rows, checked_example, checked_rows, lay_out
from .names import NAMES
from .points import point_of, read_at
from .population import Population
from .records import Certificate, Curve, Restarts, Scores, Status, SufficientSets
from .settings import Settings
from .showing import describe, in_lines, show
from .texts import AS_IT_IS, GATES, SETTINGS, STATUS
from .tokens import TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd

__all__ = ["Explanation", "Question"]

E = TypeVar("E", bound="Explanation")

_GATES = Holds(("batch", "gates"))
_MAY_BE_UNKNOWN = Holds(("batch", "gates"), may_be_nan=True)


class Question(Protocol):
    """What an explanation answers, with the live model: it can be asked again."""

    def minimal(self, explanation: Explanation, retain: float) -> Explanation:
        """See `Explanation.minimal`."""

    def sufficient_sets(self, explanation: Explanation, retain: float, n_sets: int) -> SufficientSets:
        """See `Explanation.sufficient_sets`."""

    def score_of(self, explanation: Explanation, sets: Tensor, examples: Sequence[int] | None) -> Tensor:
        """See `Explanation.score_of`."""


@dataclass(frozen=True, eq=False)
class Explanation(Batch):
    """What `StochasticGates.explain` returns: data only, detached, on the device of the inputs.

    Attributes:
        attributions: active probability of each element's gate, in [0, 1], in the structure of the inputs;
            0 for elements that are never gated.
        log_alpha: gate parameters as reported, [batch, gates]; -inf where an example has no such gate.
        active_probabilities: P(z > 0) at `log_alpha`, [batch, gates].
        selected: the features reported as needed, bool [batch, gates].
        influence: mean size of the slope of the score in each gate, on the way from the baselines to the
            input and near the input, [batch, gates]: how much the feature matters, in either direction. Where
            there are no slopes, or a small `max_evals`, root mean square slope of the loss in the solve.
        effect: mean slope of the loss in each gate, turned so that it is above 0 for features that raise the
            score, [batch, gates].
        feature_ids: id of each gate in the `feature_mask` as given, long [batch, gates]; -1 for none.
        feature_mask: column of each element's gate, -1 where never gated, one [1 or batch, ...] per input.
        target: position of the explained score in a row of outputs, long [batch, dims]; None where a row
            is one number.
        scores: of input, baseline, kept and removed features, measured.
        curve: kept and removed scores against the number of open gates, measured.
        loss_trace: mean loss of each step, [steps, batch]; NaN for steps that an interruption left out.
        status: one per example.
        n_evaluations: rows the model was run on for each example, long [batch].
        seed: of the noise.
        gates: distribution of the gates.
        inputs: what was explained, one tensor per input.
        baselines: what closed gates show, the mean of those in `scores`, one [1 or batch, ...] per input.
        settings: the numbers that decided the result.
        certificate: what is claimed of the selected features on references that the search did not use; None
            where nothing is claimed, after another reading, and in older files.
        contributions: what each feature adds to the score, signed, in its units, [batch, gates]. They add up
            to the score of the input less the mean score of the baselines that were sampled, and estimate
            Shapley values (of few features they are these); see `stg_attr.model.Profile`. None where
            `max_evals` was too small.
        averaged: active probabilities, averaged over how much of the output is kept instead of read at one
            `retain`, [batch, gates]: less sparse and steadier; see `stg_attr.select.averaged`. None as above.
        feature_names: one per gate, as given to `explain`; None where none were.
        columns: of a table, what the numbers of `inputs` and `baselines` stand for; None for tensors.
        tokens: of texts, that of each position with the white space before it; None for other inputs.
        restarts: what several solves selected; None where only one was asked for, and after another reading.
        learned: what `explain(resume=...)` continues from; None in what was read from an older file.
        objective: what the gates had to do, in words; None in what was read from an older file.
        population: of gates that many rows share, what their sets are worth over these; None otherwise.
        question: the model and its arguments, for `minimal`, `sufficient_sets` and `score_of`; None in what
            was loaded, unpickled or copied, and in `rows` of an explanation: these are data only.
    """

    attributions: Tensor | tuple[Tensor, ...] = field(metadata=per_example())
    log_alpha: Tensor = field(metadata=per_example(blank=-inf, holds=_GATES))
    active_probabilities: Tensor = field(metadata=per_example(holds=Holds(("batch", "gates"), low=0, high=1)))
    selected: Tensor = field(metadata=per_example(holds=Holds(("batch", "gates"), bool)))
    influence: Tensor = field(metadata=per_example(holds=_GATES))
    effect: Tensor = field(metadata=per_example(holds=_GATES))
    feature_ids: Tensor = field(metadata=per_example(blank=-1, holds=Holds(("batch", "gates"), int)))
    feature_mask: tuple[Tensor, ...] = field(metadata=per_example(shared=True))
    target: Tensor | None = field(metadata=per_example(blank=-1, holds=Holds(("batch", "dims"), int)))
    scores: Scores = field(metadata=per_example())
    curve: Curve = field(metadata=per_example())
    loss_trace: Tensor = field(
        metadata=per_example(axis=1, blank=nan, holds=Holds(("steps", "batch"), may_be_nan=True))
    )
    status: tuple[Status, ...] = field(metadata=per_example(as_text=STATUS))
    n_evaluations: Tensor = field(metadata=per_example(holds=Holds(("batch",), int)))
    seed: int = field(metadata={"as_text": AsText(int, int)})
    gates: GateDistribution = field(metadata={"as_text": GATES})
    inputs: tuple[Tensor, ...] = field(metadata=per_example())
    baselines: tuple[Tensor, ...] = field(metadata=per_example(shared=True))
    settings: Settings = field(default_factory=Settings, repr=False, metadata={"as_text": SETTINGS})
    certificate: Certificate | None = field(default=None, metadata=per_example())
    contributions: Tensor | None = field(default=None, metadata=per_example(blank=nan, holds=_MAY_BE_UNKNOWN))
    averaged: Tensor | None = field(default=None, metadata=per_example(blank=nan, holds=_MAY_BE_UNKNOWN))
    feature_names: tuple[str, ...] | None = field(default=None, metadata=NAMES)
    columns: tuple[Column, ...] | None = field(default=None, repr=False, metadata=COLUMNS)
    tokens: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False, metadata=TOKENS)
    restarts: Restarts | None = field(default=None, metadata=per_example())
    learned: Learned | None = field(default=None, metadata=per_example())
    objective: str | None = field(default=None, repr=False, metadata={"as_text": AS_IT_IS})
    population: Population | None = field(default=None, metadata=per_example())
    question: Question | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which may be large, private, or not picklable."""
        return {**vars(self), "question": None}

    def __len__(self) -> int:
        return len(self.status)

    def rows(self: E, rows: Rows) -> E:
        """The explanation of some examples; data only, since the model knows examples by their places.

        Args:
            rows: which: a number, a list of numbers, a slice, long [rows], or bool [batch].

        Raises:
            ArgumentError: there are no such examples.
        """
        found = super().rows(checked_rows(rows, len(self)))
        return found if found is self else replace(found, question=None)

    @property
    def n_selected(self) -> Tensor:
        """Number of selected features, long [batch]."""
        return self.selected.sum(1)

    @property
    def budget(self) -> Tensor:
        """Share of the features that is selected, [batch]."""
        return self.n_selected / (self.feature_ids >= 0).sum(1)

    @property
    def retained(self) -> Tensor:
        """Retained score of the selected features alone, v = (s(kept) - s(b)) / (s(x) - s(b)), [batch]."""
        return self._share(self.scores.kept)

    @property
    def remaining(self) -> Tensor:
        """Retained score of everything but the selected features, [batch]."""
        return self._share(self.scores.removed)

    def _share(self, scores: Tensor) -> Tensor:
        share = retained_share(scores, self.scores.full, self.scores.baseline)
        return share.masked_fill(~share.isfinite(), nan)  # no share of anything

    @property
    def sufficiency(self) -> Tensor:
        """s(x) - s(kept), [batch]: small when the selected features suffice.

        ERASER: A Benchmark to Evaluate Rationalized NLP Models (DeYoung et al., 2020),
        https://arxiv.org/abs/1911.03429.
        """
        return self.scores.full - self.scores.kept

    @property
    def comprehensiveness(self) -> Tensor:
        """s(x) - s(removed), [batch]: large when nothing outside the selected features does the same.

        ERASER: A Benchmark to Evaluate Rationalized NLP Models (DeYoung et al., 2020),
        https://arxiv.org/abs/1911.03429.
        """
        return self.scores.full - self.scores.removed

    @property
    def redundant(self) -> Tensor:
        """Whether what is not selected keeps 90 % of the score too, bool [batch]: see `sufficient_sets`."""
        return self.remaining >= self.settings.reading.redundant

    @property
    def converged(self) -> Tensor:
        """Whether each example's status is free of doubt, bool [batch]."""
        return torch.tensor([not status.doubtful for status in self.status], device="cpu")

    @property
    def signed(self) -> Tensor | tuple[Tensor, ...]:
        """For or against: the contribution of each element's feature over the largest one, in [-1, 1].

            signed_g = contribution_g / max_h |contribution_h|

        Above 0 for features that raise the score, whatever the objective, and also where the input scores
        below the baseline. Where contributions were not measured (a small `max_evals`, a failure), it is made
        of `effect` in the same way. Shaped like the attributions; 0 where nothing is gated.
        """
        values = self.effect
        if self.contributions is not None:
            values = torch.where(self.contributions.isnan(), values, self.contributions)
        largest = values.abs().amax(1, keepdim=True)
        return self.laid_out(values / torch.where(largest > 0, largest, 1.0))

    def at(self, *, budget: float | None = None, retain: float | None = None) -> Explanation:
        """The same solve read at another sparsity; the model is not run again.

        Only measured points of the curve are read, so the scores of the result are measured too.

        Args:
            budget: the largest share of features to select, in [0, 1]: the largest measured k within it.
            retain: the share of the output to keep, at most 1: the smallest k that was measured to do so, or
                the largest measured k if none was.

        Returns:
            The reading. Examples of which nothing was measured, as after a failure, have no selected features
            and scores of NaN.

        Raises:
            ArgumentError: not exactly one of the two is given, or it is outside its range.
        """
        return read_at(self, point_of(self, budget, retain))

    @property
    def visible(self) -> Tensor:
        """Features that the model reacts to, bool [batch, gates]: at any budget only these are selected."""
        return ((self.influence > 0) | self.selected) & self.log_alpha.isfinite()

    def readings(self) -> list[Explanation]:
        """The same solve read at each measured point of the curve, fewest features first; one per point."""
        points = range(self.curve.n_open.shape[1])
        return [read_at(self, torch.full((len(self),), point, device="cpu")) for point in points]

    def laid_out(self, values: Tensor) -> Tensor | tuple[Tensor, ...]:
        """One value per gate, [batch, gates], in the structure and shape of the inputs; 0 where not gated."""
        groups = FeatureGroups.from_columns(self.feature_mask, self.feature_ids)
        parts = lay_out(values, groups, self.inputs)
        return parts if isinstance(self.attributions, tuple) else parts[0]

    def minimal(self, retain: float = 0.9) -> Explanation:
        """The same explanation with a minimal selection, certified by running the model.

        The selection achieves `retain` (or what all features together do, if that is less), and without any
        single one of its features it does not. Every claim is measured by a forward on the hard selection.

        Args:
            retain: share of the output to keep (with `Delete`: to take away), in (0, 1].

        Raises:
            ArgumentError: `retain` is outside its range, or the explanation was loaded, unpickled or copied.
        """
        return self._live_question().minimal(self, retain)

    def sufficient_sets(self, retain: float = 0.9, n_sets: int = 4) -> SufficientSets:
        """Several different small sets of features that each suffice, where the evidence is redundant.

        Args:
            retain: share of the output that each keeps (with `Delete`: takes away), in (0, 1].
            n_sets: how many to look for at most.

        Raises:
            ArgumentError: as for `minimal`, or `n_sets` is below 1.
        """
        return self._live_question().sufficient_sets(self, retain, n_sets)

    def score_of(self, selections: Tensor, *, examples: Sequence[int] | None = None) -> Tensor:
        """The score of the model with the features that you choose; all others are as in the baselines.

        It is the mean over the references that `scores` are measured with; that of `selected` is
        `scores.kept`. It takes one row of the model for each set, example and reference, and a few more.

        Args:
            selections: the features that are kept, bool [batch, gates], or several sets of them, bool
                [sets, batch, gates].
            examples: the places of the examples that they are of, in this order; all of the batch by default.

        Returns:
            Scores in the units of `scores`, [batch], or [sets, batch].

        Raises:
            ArgumentError: the selections are not of these examples and their gates, there is no such
                example, or the explanation was loaded, unpickled or copied, or is of some rows of another.
        """
        return self._live_question().score_of(self, selections, examples)

    def _live_question(self) -> Question:
        if self.question is None:
            raise is_data_only()
        return self.question

    def to_frame(self) -> pd.DataFrame:
        """One row per example and feature: id, active probability, log_alpha, influence, effect, selected.

        Where there are any, also names, values, contributions, the scores of input and baseline, whether the
        feature is of a certified set, and how often restarts selected it, with the 95 % interval. It needs
        pandas.
        """
        return to_frame(self)

    def __repr__(self) -> str:
        return in_lines(self)

    def _repr_html_(self) -> str:
        """The fitting picture and the evidence, for notebooks; the evidence alone without matplotlib."""
        return show(self)

    def describe(self, example: int = 0) -> str:
        """The evidence of one example as a sentence."""
        return describe(self, checked_example(example, len(self)))

    def save(self, path: str | PathLike[str]) -> None:
        """Write to a safetensors file: tensors and text, no code.

        Raises:
            ArgumentError: the file cannot be written, for example since its folder is not there.
        """
        files.save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Explanation:
        """Read a file written by `save`; tensors come to the CPU.

        Raises:
            ArgumentError: the file is not one, or is damaged.
            FileNotFoundError: there is no such file.
        """
        return files.load(Explanation, path, check_elements)
