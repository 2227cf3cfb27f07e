"""SharedStochasticGates: which features a model needs altogether, for all rows of a data set."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from stg_attr.attribution import StochasticGates
from stg_attr.attribution.effort import Effort
from stg_attr.attribution.parts import Asked, Data, Features, Shown, over_tensors
from stg_attr.attribution.question import Question
from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import Explanation, PlanSettings, Settings
from stg_attr.gates import PairedBlend, Pairs, ReferenceSet
from stg_attr.model import Inputs, ProfileSettings, Target, undisturbed
from stg_attr.objective import Hybrid, OutputMatch, Preserve
from stg_attr.select import CertificateSettings
from stg_attr.select.testing import held_out

from .evidence import Answers, measured
from .scores import RowScores

__all__ = ["SharedStochasticGates"]


def _for_populations() -> Settings:
    """A mean over rows varies more than one over references of a single row, and is measured once for all."""
    return Settings(
        plan=PlanSettings(n_steps=60, evaluations_per_step=128, n_references=512),
        certificate=CertificateSettings(
            most_rows=1000,
            trial_rows=512,
            scale_rows=512,
            batch=32,
            first_look=64,
            most_evaluations=100_000,
            from_above=0.75,
        ),
        profile=ProfileSettings(evaluations=2048, forwards=2048),
    )


class SharedStochasticGates:
    """One set of features for all rows of a data set, a class or a cohort.

        min_a  E_{z, i, b}[ loss(z x_i + (1 - z) b) ] + sparsity,   z ~ gates(a), rows i and references b

    All rows together are one example: each sample of the gates is scored on another row, with another
    reference. Its score is a mean over rows, so that the certificate is a claim on the mean over rows and
    references; it is tested on rows that neither the solve nor the search has seen. Understanding global
    feature contributions with additive importance measures (Covert, Lundberg, Lee, 2020),
    https://arxiv.org/abs/2004.00668, samples rows and references in the same way.

    Args:
        method: the question, as for single rows, but that the default objective is `Preserve()`, what
            suffices; or `Preserve(OutputMatch())` where the model returns one number for a row: scores of
            some rows rise and those of others fall, so that their mean says nothing.
        n_draws: pairs of a row and a reference on which gates are learned and sets are searched.
        settings: the numbers behind the defaults; None for those that suit a population.

    Raises:
        ArgumentError: an argument is not of its kind.

    Example:
        >>> rows = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
        >>> model = lambda x: torch.stack([3 * x[:, 1] * x[:, 3], 0 * x[:, 0]], 1)
        >>> found = SharedStochasticGates(StochasticGates(model)).explain(rows, baselines=rows)
        >>> found.selected.tolist()
        [[False, True, False, True, False]]
    """

    def __init__(
        self, method: StochasticGates, *, n_draws: int = 4096, settings: Settings | None = None
    ) -> None:
        if type(method) is not StochasticGates:
            raise ArgumentError(
                "method",
                expected="an object of StochasticGates",
                found=repr(method),
                mend="For example SharedStochasticGates(StochasticGates(model)).",
            )
        check_count("n_draws", n_draws, mend="4096 is the default.")
        self.method, self.n_draws = method, n_draws
        self.settings = _for_populations() if settings is None else settings

    def explain(
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        *,
        labels: Tensor | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
        feature_names: Sequence[str] | None = None,
    ) -> Explanation:
        """The set of features that suffices for all rows together, with the evidence for it.

        Args:
            inputs: the rows, as for `StochasticGates.explain`: half of them, 1000 at most, are kept for the
                certificate and the evidence.
            baselines: as for `StochasticGates.explain`, usually rows of the data: a tensor of several rows is
                a set of references, however many they are.
            target: the output to explain; None for each row's own predicted class.
            additional_forward_args: as for `StochasticGates.explain`.
            feature_mask: as for `StochasticGates.explain`, the same for all rows.
            labels: the right answer of each row, [rows, ...]; for classes, numbers of columns of the output.
            loss: takes outputs and labels of some rows, returns a loss for each, [rows]; for example
                `torch.nn.CrossEntropyLoss(reduction="none")`.
            n_steps: updates of the gates, at most; None for 60, or for as many as `max_evals` allows.
            n_samples: gate samples per update, each with a row and a reference of its own; None for as many
                as cost 128 evaluations.
            max_evals: rows that the model may be run on altogether, everything included; None for any number.
            seed: of the noise, and of the draws of rows and references.
            show_progress: show a progress bar.
            feature_names: name gates or elements.

        Returns:
            An explanation of one example, which stands for all rows: its `inputs` and `baselines` are means,
            its scores means over fresh rows, and `population` says what classes, accuracy and loss become.

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used.
        """
        features, model = (feature_mask, feature_names), self.method.forward_func
        shown = tuple(map(_as_set, baselines)) if isinstance(baselines, tuple) else _as_set(baselines)
        asked = Asked(model, inputs, shown, target, additional_forward_args, *features)
        method, asked = over_tensors(self.method, asked)
        effort = Effort(n_steps=n_steps, n_samples=n_samples, max_evals=max_evals, seed=seed)
        device = method.solve_device(asked.first_input)
        with undisturbed(asked.forward, device, seed) as forward:
            own = self._of_rows(method, replace(asked, forward=forward), effort, device)
            scores = RowScores.of(own)
            answers = Answers(_checked_labels(labels, own.batch), loss)
            return self._shared(method, asked, own, scores, effort, answers, show_progress)

    def _of_rows(
        self, method: StochasticGates, asked: Asked, effort: Effort, device: torch.device
    ) -> Question:
        """The question about each row, by which arguments are checked."""
        own = Question.of(asked, method.objective, method.estimator, device, effort, 1)
        if own.blend.fills:
            raise ArgumentError(
                "baselines",
                expected="a number, tensors, rows or a function of the input",
                found="FillIn",
                mend="What is filled in depends on what is shown; take rows of the data for shared gates.",
            )
        if any(len(index) > 1 for index in own.blend.groups.index):
            raise ArgumentError(
                "feature_mask",
                expected="one mask for all rows, [1, ...]",
                found="a mask for each row",
                mend="Shared gates need features that all rows have.",
            )
        return own

    def _shared(
        self,
        method: StochasticGates,
        asked: Asked,
        own: Question,
        scores: RowScores,
        effort: Effort,
        answers: Answers,
        show_progress: bool,
    ) -> Explanation:
        certificate = self.settings.certificate
        numbers = (self.n_draws, certificate.most_rows, certificate.least_divided)
        pairs = Pairs.of(own.blend, *numbers, effort.seed)
        certificate = replace(certificate, most_rows=pairs.n_fresh)
        settings = replace(self.settings, certificate=certificate)
        n_held = held_out(len(pairs), method.sparsity, certificate)
        fresh = torch.arange(len(pairs), device="cpu")[-n_held if n_held else -settings.plan.n_references :]
        shown = fresh[-settings.plan.n_references :]
        scores = scores.centred(pairs.row[shown])
        question = Asked(
            scores,
            _as_given(pairs.mean_row, own),
            pairs,
            0 if scores.classes else None,
            None,
            asked.feature_mask,
            asked.feature_names,
        )
        n_answers = (settings.reading.curve_points + 2) * len(fresh)
        left = None if effort.max_evals is None else max(1, effort.max_evals - own.batch - n_answers)
        effort = replace(effort, max_evals=left)
        found = _with(method, settings, scores)._answer(question, effort, True, show_progress)
        blend = cast(PairedBlend, cast(Question, found.question).blend)
        population = measured(found, scores, blend, fresh, answers)
        total = scores.scorer.evaluations.sum().reshape(1).to(found.n_evaluations)
        return replace(found, population=population, n_evaluations=total)


def _with(method: StochasticGates, settings: Settings, scores: RowScores) -> StochasticGates:
    """The method with other settings, and with an objective that suits the output.

    Raises:
        ArgumentError: it compares what is left after a removal with one score for all rows.
    """
    changed = copy.copy(method)
    changed.settings = settings
    if method.objective == Hybrid():
        changed.objective = Preserve(OutputMatch()) if scores.one_number else Preserve()
    if changed.objective.removes and changed.objective.fidelity.either_direction:
        raise ArgumentError(
            "objective",
            expected="Preserve(OutputMatch()), or one by RetainedScore",
            found=repr(method.objective),
            mend="Outputs without the selected features have no common value that they could match.",
        )
    return changed


def _as_set(baseline: Any) -> Any:
    """Rows as a set of references: as many as there are inputs would else be one for each input."""
    several = isinstance(baseline, Tensor) and baseline.dim() > 0 and len(baseline) > 1
    return ReferenceSet(baseline) if several else baseline


def _as_given(inputs: tuple[Tensor, ...], own: Question) -> Inputs:
    """Inputs in the structure, and on the device, in which the user gave them."""
    there = tuple(part.to(own.home) for part in inputs)
    return there[0] if own.single else there


def _checked_labels(labels: Tensor | None, rows: int) -> Tensor | None:
    if labels is None or (isinstance(labels, Tensor) and labels.dim() > 0 and len(labels) == rows):
        return labels
    raise ArgumentError(
        "labels",
        expected=f"a tensor with an entry for each of {rows} rows",
        found=str(tuple(labels.shape)) if isinstance(labels, Tensor) else type(labels).__name__,
        mend="Convert them with torch.as_tensor.",
    )
