"""StochasticGates: explain the predictions of any model by gates over its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from stg_attr.explanation import Explanation, Settings, Status, check_same_scores, stopped_by, warn_about
from stg_attr.gates import GateDistribution
from stg_attr.model import Gaps, Inputs, Map, Memory, Target, solve_device, undisturbed
from stg_attr.objective import Hybrid, Objective
from stg_attr.progress import Bar, progress
from stg_attr.select import Sparsity, Sweep
from stg_attr.solve import Estimator, Learned, Reparameterized, Solution, Solver

from .effort import Effort
from .evidence import check_claim
from .parts import Asked, Data, Explanations, Features, OnStep, Shown, check_parts, one_by_one, over_tensors
from .question import Question, prepared
from .reading import Reading, first_restart

__all__ = ["StochasticGates"]


class StochasticGates(PerturbationAttribution):  # type: ignore[misc]  # captum ships no types
    r"""Attribution by stochastic gates: learns which features a prediction needs.

        min_a  E_z[ loss(x_z) ] + sparsity,   x_z = z x + (1 - z) b,   z ~ gates(a)

    Every feature (each group of input elements that share an id in `feature_mask`) gets a gate. The
    attribution of a feature is the probability that its gate is active, read at the smallest budget
    that keeps 90 % of the score. The question (objective, sparsity, gates) is set here. The inputs, and how
    much work may be done, are arguments of `attribute` and `explain`.

    Args:
        forward_func: the model, or any function of the inputs that returns one row of outputs per input
            row: differentiable, unless the estimator needs no gradient; then arrays, lists and plain numbers
            will do.
        objective: what the kept and the removed features must do.
        sparsity: at which budgets gates are learned and read.
        gates: distribution of the gates; None for the one that goes with the estimator.
        estimator: of the gradient; `ScoreFunction()` for a model without one.
        smoothness: how strongly regions (cells, superpixels) that lie side by side in an image, [batch,
            channels, height, width], share what they learn; 0 for not at all. Single pixels are left alone.
        device: where the solve runs; the device of the model's parameters, else of the inputs, by default.
        settings: the numbers behind the defaults, which need no tuning.

    Raises:
        ArgumentError: the model is not callable, or a part is not of its kind.

    Example:
        >>> model = lambda x: 3 * x[:, 0] - 2 * x[:, 1] + 0 * x[:, 2]
        >>> stg = StochasticGates(model)
        >>> (stg.attribute(torch.tensor([[1.0, -1.0, 1.0]])) > 0.5).tolist()
        [[True, True, False]]
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        objective: Objective | None = None,
        sparsity: Sparsity | None = None,
        gates: GateDistribution | None = None,
        estimator: Estimator | None = None,
        smoothness: float = 1.5,
        device: torch.device | str | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(forward_func)
        self.objective = Hybrid() if objective is None else objective
        self.sparsity = Sweep() if sparsity is None else sparsity
        self.estimator = Reparameterized() if estimator is None else estimator
        self._default = self.estimator if estimator is None else None  # which a table replaces
        default: Any = getattr(self.estimator, "gates", None)  # an estimator of a wrong kind is refused below
        self.gates: GateDistribution = gates or default
        self.smoothness = smoothness
        self.device = None if device is None else torch.device(device)
        self.settings = Settings() if settings is None else settings
        self._memory: Memory | None = None  # of rows that were run for another target
        check_parts(self)

    @log_usage()  # type: ignore[untyped-decorator]  # captum's NoiseTunnel looks for the __wrapped__ it sets
    def attribute(
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        internal_batch_size: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        return_input_shape: bool = True,
        show_progress: bool = False,
        on_step: OnStep | None = None,
        start: Map = None,
    ) -> Inputs:
        """Active probability of every input element's gate, in [0, 1].

        Args:
            inputs: what to explain, [batch, ...], or a tuple of such tensors; a None in it is passed on. Or
                a table, [rows, columns]: a DataFrame of pandas or Polars, or an array of NumPy. Or texts.
            baselines: what closed gates show: a number, a tensor [1 or batch, ...], reference rows
                [references, ...] of which each sample shows one, or a function of the input; or a tuple of
                these, one per input. None for 0; for photographs `references.photograph`. Of a table: another
                one of rows, or a cell for each column; no default. Of texts: a word; None to leave words out.
            target: the output to explain: a class, a tuple of indices, or one of these per example; None for
                each example's own predicted class.
            additional_forward_args: passed on to the model; tensors with `batch` rows are repeated with them.
            feature_mask: integers, broadcastable to the inputs: elements with one id share one gate, over
                all inputs; -1 for those never gated. None gives each element its own gate, and photographs,
                volumes, videos, long signals about 200 cells: `default_masks`. Of a table also `Groups`; of
                texts a function of the split texts such as `sentence_mask`, None for words.
            n_steps: updates of the gates, at most; an example stops when its gates have settled. None for 12,
                or for as many as `max_evals` allows.
            n_samples: gate samples per update; each costs one model evaluation, two with `Hybrid`. None for
                as many as cost 32.
            perturbations_per_eval: gate samples in one call of the model, with all examples; None for what
                suits the device. A call that memory does not hold is halved.
            internal_batch_size: examples solved together; None for all.
            max_evals: rows that the model may be run on for each example, everything included; updates and
                samples are planned so that a reading of the result fits in. None for any number.
            seed: of the noise. One seed gives one result; the global random state is not used.
            return_input_shape: if False, one value per feature is returned.
            show_progress: show a progress bar.
            on_step: called after each step, see `OnStep`.
            start: a map to start from, larger where features may matter, that broadcasts to the inputs; 0 for
                none. None for Grad-CAM of the last feature maps where gates are regions of one image.

        Returns:
            Attributions in the structure and shape of the inputs, or [batch, features].

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used.
        """
        found = self._answer(
            Asked(self.forward_func, inputs, baselines, target, additional_forward_args, feature_mask,
                  start=start),
            Effort(n_steps, n_samples, perturbations_per_eval, internal_batch_size, max_evals, seed),
            False, show_progress, on_step,
        )  # fmt: skip
        return self._attributions(found, inputs, return_input_shape)

    def explain(
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        internal_batch_size: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
        n_restarts: int = 1,
        resume: Explanation | None = None,
        on_step: OnStep | None = None,
        feature_names: Sequence[str] | None = None,
        start: Map = None,
    ) -> Explanation:
        """The same attributions with the evidence for them: see `attribute` for the arguments.

        It also measures the budget curve, and the score without the selected features: more evaluations. With
        `max_evals`, it has fewer of them left for the solve than `attribute`, so that the two may differ.
        `n_restarts` seeds, from `seed` on, are solved in one batch. The first is reported; `restarts` says
        how often each feature was selected. `feature_names` name gates or elements.

        `resume` continues from an earlier explanation of the same examples, also one that was interrupted or
        comes from a file, for `n_steps` more steps. With the same other arguments, the result is that of one
        solve of all steps. Examples that have settled stay as they are. Of `ScoreFunction`, what it has
        fitted to earlier samples is not kept, so that its result differs, but is as good.

        Returns:
            Attributions, gates, measured scores, curve, status and counts; without the inputs that are None.

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used.
        """
        return self._answer(
            Asked(self.forward_func, inputs, baselines, target, additional_forward_args, feature_mask,
                  feature_names, start=start),
            Effort(n_steps, n_samples, perturbations_per_eval, internal_batch_size, max_evals, seed,
                   n_restarts),
            True, show_progress, on_step, resume,
        )  # fmt: skip

    def explain_targets(self, inputs: Data, targets: Iterable[Target], **arguments: Any) -> Explanations:
        """One explanation for each target of the same inputs: what `explain` gives for it, for less work.

        The model is run once on rows that several targets ask for, except where slopes are taken.

        Args:
            inputs: as for `explain`.
            targets: each is a `target` of `explain`: `range(10)`, or [0, None].
            arguments: the others of `explain`, by name.

        Returns:
            The explanations in the order of the targets; after Ctrl-C, those until then.

        Raises:
            ArgumentError: there are no targets, or an argument cannot be used.
        """
        method = copy(self)
        method._memory = Memory()
        return one_by_one(partial(method.explain, inputs, **arguments), targets)

    def attribute_future(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: a solve is many calls of the model, one after the other."""
        raise NotImplementedError("StochasticGates has no attribute_future; call attribute.")

    @property
    def multiplies_by_inputs(self) -> bool:
        """True: a gate switches between the baseline and the input, as other perturbation methods do."""
        return True

    def solve_device(self, x: Tensor) -> torch.device:
        """Where inputs such as `x` are explained."""
        return solve_device(self.forward_func, x, self.device)

    def _attributions(self, found: Explanation, inputs: Any, return_input_shape: bool) -> Inputs:
        whole = Gaps.of(inputs).restored(found.attributions)
        return whole if return_input_shape else found.active_probabilities

    def _answer(
        self, asked: Asked, effort: Effort, with_curve: bool, show_progress: bool = False,
        on_step: OnStep | None = None, resume: Explanation | None = None,
    ) -> Explanation:  # fmt: skip
        """Solve and read what is asked, part by part of `internal_batch_size` examples."""
        method, asked = over_tensors(self, asked)
        device = self.solve_device(asked.first_input)
        parts: list[Explanation] = []
        with undisturbed(asked.forward, device, effort.seed) as forward:
            asked = replace(asked, forward=forward)
            question, solver, settings = prepared(method, asked, effort, with_curve, device)
            past = question.learned_before(resume, solver.gates, effort.n_restarts)
            answer = _Answer(question, effort, settings, with_curve, past, resume, on_step)
            shards, title = list(question.shards()), f"{self.get_name()} attribution"
            with progress(show_progress, total=len(shards) * solver.n_steps, desc=title) as bar:
                for rows in shards:
                    parts.append(answer.shard(rows, solver, bar, parts))
            found = question.answered(parts, resume)
            warn_about(answer.failures, found.status, forward)
            return found


@dataclass(frozen=True)
class _Answer:
    """How the parts of a question are solved and read, one after the other.

    Attributes:
        question: the question.
        effort: what it may cost.
        settings: the numbers that decide the result.
        with_curve: measure the evidence, too.
        past: what was learned earlier of all examples, and the loss trace of it, if anything.
        resume: the explanation that says so.
        on_step: called after each step, if anyone watches.
        failures: what the model raised, and Ctrl-C.
    """

    question: Question
    effort: Effort
    settings: Settings
    with_curve: bool
    past: tuple[Learned, Tensor] | None
    resume: Explanation | None
    on_step: OnStep | None
    failures: list[BaseException] = field(default_factory=list)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed. From then on the model is not run."""
        return any(isinstance(failure, KeyboardInterrupt) for failure in self.failures)

    def shard(self, rows: slice, solver: Solver, bar: Bar, others: Sequence[Explanation]) -> Explanation:
        """Explain some examples.

        A failure of the model, or Ctrl-C, before anything is learned of them is raised, unless there is an
        explanation of others, which would be lost. A second Ctrl-C is raised.
        """
        question, n = self.question, solver.n_restarts
        which = torch.arange(question.batch, device="cpu")[rows].repeat(n) if n > 1 else rows
        scorer = question.scorer(which)
        learned = None if self.past is None else self.past[0].rows(rows)
        blank = partial(question.nothing_learned, learned=learned, rows=rows)
        if self.interrupted:
            return blank(others[0], spent=scorer.n_run, status=Status.INTERRUPTED)
        try:
            model = question.model(which, scorer)
            check_claim(model, solver.sparsity)
            if self.resume is not None:
                check_same_scores(self.resume.rows(rows), model.target, model.anchors.full)
            reading = Reading.begin(model, solver, self.settings, self.effort.evals_of_a_solve)
            past = None if self.past is None or learned is None else (learned, self.past[1][:, rows])
            start = question.start.of_rows(model, which, self.settings.solver.start)
            solution = solver.fit(model, partial(self._after_step, reading, rows, bar), past, start)
            if solution.failure is not None and not scorer.may_stop(solution.failure):
                raise solution.failure
        except (Exception, KeyboardInterrupt) as failure:
            if not others or not scorer.may_stop(failure):
                raise
            self._note(failure)
            return blank(others[0], spent=scorer.n_run, status=stopped_by(failure))
        self._note(solution.failure)
        try:
            return self._read(reading, rows, solution, self.with_curve)
        except KeyboardInterrupt as stopped:
            if self.interrupted:
                raise
            self._note(stopped)
            return self._read(reading, rows, replace(solution, failure=stopped), self.with_curve)

    def _read(self, reading: Reading, rows: slice, solution: Solution, with_curve: bool) -> Explanation:
        n, model = reading.solver.n_restarts, reading.model
        found, failure = reading.read(solution, with_curve, self.question.named.rows(rows).to(model.device))
        self._note(failure)
        return found if n == 1 else first_restart(found, n)

    def _after_step(
        self, reading: Reading, rows: slice, bar: Bar, done: int, so_far: Callable[[], Solution]
    ) -> None:
        bar.update()
        if self.on_step is not None:
            self.on_step(done, reading.solver.n_steps, partial(self._seen, reading, rows, so_far))

    def _seen(self, reading: Reading, rows: slice, so_far: Callable[[], Solution]) -> Explanation:
        """What `on_step` is shown; Ctrl-C while it is measured ends the solve, too."""
        found = self._read(reading, rows, so_far(), True)
        if self.interrupted:
            raise KeyboardInterrupt
        return self.question.handed_back(found, rows)

    def _note(self, failure: BaseException | None) -> None:
        if failure is not None and failure not in self.failures:
            self.failures.append(failure)
