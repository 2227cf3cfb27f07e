"""StochasticGates: explain the predictions of any model by gates over its input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import (
    Blend,
    FeatureGroups,
    GateDistribution,
    as_references,
    default_masks,
)
from stg_attr.objective import Hybrid, Objective, Sparsity, Sweep
from stg_attr.solve import Estimator, Reparameterized, Solver

from .arguments import Baselines, Effort, Gaps, Given, Inputs, checked_inputs
from .explanation import Explanation
from .model import module_of, undisturbed
from .past import Past
from .probe import Probe
from .progress import Progress
from .reading import evidence_rows
from .scoring import Target, as_index
from .solving import Solving, mean_of

__all__ = ["StochasticGates"]


class StochasticGates(PerturbationAttribution):  # type: ignore[misc]  # captum ships no types
    r"""Attribution by stochastic gates: learns which features a prediction needs.

        min_a  E_z[ loss(x_z) ] + sparsity,   x_z = z x + (1 - z) b,   z ~ gates(a)

    Every feature (each group of input elements that share an id in `feature_mask`) gets a gate. The
    attribution of a feature is the probability that its gate is active, read at the smallest budget
    that keeps 90 % of the score. The objects that say what is asked go here; what is explained, and how long
    it may take, goes to `attribute` and `explain`.

    Args:
        forward_func: the model, or any function of the inputs that returns one row of outputs per input
            row: differentiable, unless the estimator needs no gradient; then arrays, lists and plain numbers
            will do.
        objective: what the kept and the removed features must do.
        sparsity: at which budgets gates are learned and read.
        gates: distribution of the gates; None for the one that goes with the estimator.
        estimator: of the gradient; `ScoreFunction()` for a model without one.
        smoothness: how strongly regions (cells, superpixels) that lie side by side in an image, [batch,
            channels, height, width], are drawn together; 0 for not at all. Single pixels are left alone.
        device: where the solve runs; the device of the model's parameters, else of the inputs, by default.

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
    ) -> None:
        super().__init__(forward_func)
        self.objective = Hybrid() if objective is None else objective
        self.sparsity = Sweep() if sparsity is None else sparsity
        self.estimator = Reparameterized() if estimator is None else estimator
        self.gates: GateDistribution = getattr(self.estimator, "gates", None) if gates is None else gates  # type: ignore[assignment]  # checked below
        self.smoothness = smoothness
        self.device = None if device is None else torch.device(device)
        self._observer: Callable[[Progress], object] | None = None
        self._check_parts()

    def observed(self, observer: Callable[[Progress], object]) -> StochasticGates:
        """The same, for a solve that calls back after each step.

        Args:
            observer: called with how far the solve is; a `KeyboardInterrupt` that it raises ends the solve.
        """
        watched = copy(self)
        watched._observer = observer
        return watched

    @log_usage()  # type: ignore[untyped-decorator]  # captum's NoiseTunnel looks for the __wrapped__ it sets
    def attribute(
        self,
        inputs: Given,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Given | None = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        internal_batch_size: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Inputs:
        """Active probability of every input element's gate, in [0, 1].

        Args:
            inputs: what to explain, [batch, ...], or a tuple of such tensors; a None in it is passed on.
            baselines: what closed gates show: a number, a tensor [1 or batch, ...], reference rows
                [references, ...] of which each sample shows one, or a function of the input; or a tuple of
                these, one per input. None for 0.
            target: the output to explain: a class, a tuple of indices, or one of these per example; None for
                each example's own predicted class.
            additional_forward_args: passed on to the model; tensors with `batch` rows are repeated with them.
            feature_mask: integers, broadcastable to the inputs: elements with one id share one gate, over
                all inputs; -1 for elements that are never gated. None gives each element its own gate, and
                images of more than 4096 elements square cells, about 14 by 14 of them.
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

        Returns:
            Attributions in the structure and shape of the inputs, or [batch, features].

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used.
        """
        case = self._solve(
            inputs, baselines, target, additional_forward_args, feature_mask,
            Effort(
                n_steps, n_samples, perturbations_per_eval, internal_batch_size, seed, max_evals=max_evals
            ),
            show_progress,
            with_curve=False,
        )  # fmt: skip
        if not return_input_shape:
            return case.active_probabilities
        return Gaps.of(inputs).restored(case.attributions)

    def explain(
        self,
        inputs: Given,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Given | None = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        internal_batch_size: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
        n_restarts: int = 1,
        resume: Explanation | None = None,
    ) -> Explanation:
        """The same attributions with the evidence for them: see `attribute` for the arguments.

        The budget curve, and the removal of the selected features, are measured by some more evaluations.

        `n_restarts` solves with the noise of so many seeds, from `seed` on, go into one batch. The first is
        reported; `Explanation.restarts` says how often each feature was selected.

        `resume` goes on from an earlier explanation of the same examples, also one that was interrupted or
        comes from a file, for `n_steps` more: given the same other arguments, with the result of one solve of
        all the steps. Examples that have settled stay as they are. Of `ScoreFunction`, what it has fitted to
        earlier samples is not kept, so that its result differs, but is as good.

        Returns:
            Attributions, gates, measured scores, curve, status and counts; without the inputs that are None.

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used.
        """
        return self._solve(
            inputs, baselines, target, additional_forward_args, feature_mask,
            Effort(
                n_steps, n_samples, perturbations_per_eval, internal_batch_size, seed, n_restarts, max_evals
            ),
            show_progress,
            with_curve=True,
            resume=resume,
        )  # fmt: skip

    def attribute_future(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: a solve is many calls of the model, one after the other."""
        raise NotImplementedError("StochasticGates has no attribute_future; call attribute.")

    @property
    def multiplies_by_inputs(self) -> bool:
        """True: a gate switches between the baseline and the input, as other perturbation methods do."""
        return True

    def _solve(
        self,
        inputs: Given,
        baselines: Baselines,
        target: Target,
        arguments: Any,
        feature_mask: Given | None,
        effort: Effort,
        show_progress: bool,
        with_curve: bool,
        resume: Explanation | None = None,
    ) -> Explanation:
        gaps = Gaps.of(inputs)
        given = checked_inputs(gaps.without(inputs))
        home, device = given[0].device, self.solve_device(given[0])
        index = as_index(target, len(given[0]))
        arguments = arguments if isinstance(arguments, tuple) else () if arguments is None else (arguments,)
        with undisturbed(self.forward_func, device, effort.seed):
            moved = tuple(x.detach().to(device).clone() for x in given)
            arguments = tuple(a.to(device) if isinstance(a, Tensor) else a for a in arguments)
            masks = default_masks(moved) if feature_mask is None else gaps.without(feature_mask)
            groups = FeatureGroups.from_mask(masks, moved)
            self._check_estimator(moved, groups)
            batch, restarts = len(given[0]), effort.n_restarts
            past = None if resume is None else Past.of(resume, batch, groups, self.gates, restarts)
            whole = Blend(moved, as_references(gaps.without(baselines), moved), groups)
            references = effort.references(whole.n_references)
            probe = Probe(
                gaps.filled(self.forward_func),
                arguments,
                self.objective,
                whole,
                index,
                device,
                effort.internal_batch_size or len(given[0]),
                effort.perturbations_per_eval,
                references,
                effort.seed,
            )
            plan = effort.planned(self.objective.n_views, references, evidence_rows(references, with_curve))
            parts = (self.gates, self.sparsity, self.estimator, self.smoothness)
            solver = Solver(*parts, *plan, effort.seed, restarts)
            solving = Solving(probe, solver, effort, with_curve, past, self._observer)
            explanation, failures = solving.run(f"{self.get_name()} attribution", show_progress)
            _warn_about(failures)
            explanation = replace(
                explanation,
                inputs=moved,
                feature_mask=groups.index,
                baselines=tuple(mean_of(reference) for reference in whole.references),
                probe=replace(probe, blend=whole.to(home)),
            )
            if past is not None:
                spent = explanation.n_evaluations + past.evaluations
                explanation = replace(explanation, n_evaluations=spent)
            return explanation.to(home, single=isinstance(inputs, Tensor))

    def _check_parts(self) -> None:
        if not callable(self.forward_func):
            raise ArgumentError(
                "forward_func",
                expected="a model, or a function of the inputs",
                found=repr(self.forward_func),
                mend="Wrap it in a function that returns one row of outputs per input row.",
            )
        if not isinstance(self.smoothness, (int, float)) or not 0 <= self.smoothness < float("inf"):
            raise ArgumentError(
                "smoothness",
                expected="a number of at least 0",
                found=repr(self.smoothness),
                mend="1.5 suits images; 0 leaves every gate to itself.",
            )
        kinds = {
            "objective": Objective,
            "sparsity": Sparsity,
            "estimator": Estimator,
            "gates": GateDistribution,
        }
        for name, kind in kinds.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise ArgumentError(
                    name,
                    expected=f"an instance of a subclass of {kind.__name__}",
                    found=repr(part),
                    mend="Pass an object such as Preserve() or FixedWeight(0.01), not a class or a name.",
                )

        if not self.estimator.fits(self.gates):
            raise ArgumentError(
                "gates",
                expected=f"gates that {type(self.estimator).__name__} can learn, as {self.estimator.gates!r}",
                found=repr(self.gates),
                mend="Leave gates out for those, or change the estimator: Reparameterized() differentiates "
                "through gates, which coins do not allow; ScoreFunction() learns coins.",
            )

    def _check_estimator(self, inputs: tuple[Tensor, ...], groups: FeatureGroups) -> None:
        gated = [x for x, index in zip(inputs, groups.index, strict=True) if bool((index >= 0).any())]
        if isinstance(self.estimator, Reparameterized) and not all(x.is_floating_point() for x in gated):
            raise ArgumentError(
                "inputs",
                expected="floating-point inputs, since the default estimator differentiates through them",
                found=str([str(x.dtype) for x in gated]),
                mend="Pass estimator=ScoreFunction(), which needs no gradient, convert them with .float(), "
                "explain their embeddings with LayerStochasticGates, or keep them by a feature_mask of -1.",
            )

    def solve_device(self, x: Tensor) -> torch.device:
        """Where inputs such as `x` are explained."""
        if self.device is not None:
            return self.device
        module = module_of(self.forward_func)
        parameter = None if module is None else next(module.parameters(), None)
        return x.device if parameter is None else parameter.device


def _warn_about(failures: list[Exception]) -> None:
    if failures:
        warnings.warn(
            f"forward_func raised {type(failures[0]).__name__}: {failures[0]}. What was learned before is "
            "returned; the status of each example says how far it came.",
            UserWarning,
            stacklevel=5,
        )
