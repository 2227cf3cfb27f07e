"""ComponentStochasticGates: which parts of a model a behaviour needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stg_attr.attribution import Explanation, OnStep, StochasticGates
from stg_attr.attribution.effort import Effort, with_effort
from stg_attr.attribution.parts import Asked, Inner
from stg_attr.errors import ArgumentError
from stg_attr.explanation import Settings
from stg_attr.gates import GateDistribution
from stg_attr.model import Gaps, Given, Target, as_arguments, checked_inputs, undisturbed
from stg_attr.model.given_rows import GivenRows
from stg_attr.objective import Hybrid, Objective, Preserve
from stg_attr.population import SharedStochasticGates
from stg_attr.select import SearchSettings, Sparsity
from stg_attr.solve import Estimator

from .closed import Closed, Counterfactuals, MeanActivation, checked_counterfactuals
from .forward import ComponentForward, Shown, located
from .runs import SiteRuns
from .site import Site, checked_sites, component_names

__all__ = ["ComponentStochasticGates"]


def _for_components() -> Settings:
    """Components are often few: then more sets of them are compared."""
    return Settings(search=SearchSettings(few=16))


class ComponentStochasticGates(StochasticGates):
    r"""Attribution by stochastic gates over components of a model: heads, MLP blocks, channels, units.

        a_z = z a + (1 - z) c

    where a is what a component computes in the gated run, and c what is shown in its place: its activation on
    a counterfactual input, its mean over some inputs, or 0. The gates of all components act in one run, so a
    component sees what the gates before it have changed. The rest is as for `StochasticGates`: the components
    take the place of the features.

    Args:
        forward_func: the model, or any function of the inputs that runs it and returns one row of outputs per
            input row.
        sites: where the components are: from `head_sites`, `mlp_sites`, `channel_sites`, `named_sites`, or
            any list of `Site`.
        objective: what the kept and the removed components must do.
        sparsity: at which budgets gates are learned and read.
        gates: distribution of the gates; None for the one that goes with the estimator.
        estimator: of the gradient.
        device: where the solve runs; the device of the model's parameters, else of the inputs, by default.
        settings: the numbers behind the defaults, which need no tuning.

    Raises:
        ArgumentError: the model is not callable, there is no site, or a part is not of its kind.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 1, bias=False))
        >>> _ = torch.nn.init.eye_(net[0].weight), torch.nn.init.ones_(net[1].weight)
        >>> stg = ComponentStochasticGates(net, [Site("hidden", net[0], n_parts=4)])
        >>> found = stg.explain(torch.tensor([[5.0, 0.0]]), baselines=torch.zeros(1, 2))
        >>> [name for name, needed in zip(found.feature_names, found.selected[0]) if needed]
        ['hidden[0]']
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        sites: Sequence[Site],
        *,
        objective: Objective | None = None,
        sparsity: Sparsity | None = None,
        gates: GateDistribution | None = None,
        estimator: Estimator | None = None,
        device: torch.device | str | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(
            forward_func,
            objective=objective,
            sparsity=sparsity,
            gates=gates,
            estimator=estimator,
            smoothness=0.0,
            device=device,
            settings=_for_components() if settings is None else settings,
        )
        self.sites = checked_sites(sites)

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components, in the order of their gates."""
        return component_names(self.sites)

    @with_effort(StochasticGates.attribute)
    def attribute(
        self,
        inputs: Given,
        baselines: Counterfactuals = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        show_progress: bool = False,
        on_step: OnStep | None = None,
        **effort: Any,
    ) -> Tensor:
        """Active probability of every component's gate, for each example, [batch, components].

        Args:
            inputs: what the model is run on, [batch, ...], or a tuple of such tensors; a None in it is passed
                on.
            baselines: counterfactual inputs, whose activations closed components show, of the shape of the
                inputs, one for each example or one for all; or `MeanActivation(rows)`; None for 0.
            target: the output to explain, as for `StochasticGates`.
            additional_forward_args: passed on to the model; tensors with `batch` rows are repeated with them.
                Counterfactual inputs get those of their examples.
            show_progress: show a progress bar.
            on_step: called after each step, see `OnStep`.
            effort: `n_steps`, `n_samples`, `max_evals` and so on.

        Raises:
            ArgumentError: an argument, a site, or the model's output cannot be used.
        """
        over = self._over_components(inputs, baselines, target, additional_forward_args, Effort(**effort))
        found = self._answer(over.asked, over.effort, False, show_progress, on_step)
        return found.active_probabilities

    @with_effort(StochasticGates.explain)
    def explain(  # type: ignore[override]  # features are the components
        self,
        inputs: Given,
        baselines: Counterfactuals = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        show_progress: bool = False,
        on_step: OnStep | None = None,
        resume: Explanation | None = None,
        **effort: Any,
    ) -> Explanation:
        """The same with the evidence, for each example: see `attribute` for the arguments.

        Returns:
            As `StochasticGates.explain`, with a column for each component in the place of features; its
            `inputs` are open gates, [batch, components].

        Raises:
            ArgumentError: an argument, a site, or the model's output cannot be used.
        """
        over = self._over_components(inputs, baselines, target, additional_forward_args, Effort(**effort))
        return over.counted(self._answer(over.asked, over.effort, True, show_progress, on_step, resume))

    def explain_shared(
        self,
        inputs: Given,
        baselines: Counterfactuals = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        labels: Tensor | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        n_steps: int | None = None,
        n_samples: int | None = None,
        max_evals: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> Explanation:
        """One set of components for all inputs together: see `attribute` for the arguments.

        Each sample of the gates is scored on another input, so that the score is a mean over inputs. Half of
        the inputs are kept from the solve and the search: the certificate and `population` are about them.
        The default objective is `Preserve()`: what the set keeps of the mean.

        Args:
            inputs: as for `attribute`, a hundred or more of them.
            baselines: as for `attribute`.
            target: as for `attribute`.
            additional_forward_args: as for `attribute`.
            labels: the right answer of each input, [batch, ...], for `Explanation.population`: see
                `SharedStochasticGates.explain`.
            loss: takes outputs and labels of some inputs, returns a loss for each; as above.
            n_steps: as above.
            n_samples: as above.
            max_evals: rows that the model may be run on altogether; None for any number.
            seed: of the noise, and of the draws of inputs.
            show_progress: show a progress bar.

        Returns:
            As `SharedStochasticGates.explain`, with a column for each component in the place of features.

        Raises:
            ArgumentError: an argument, a site, or the model's output cannot be used.
        """
        over = self._over_components(inputs, baselines, target, additional_forward_args, Effort(seed=seed))
        asked, n_read = over.asked, int(over.spent.sum())
        method = StochasticGates(
            asked.forward,
            objective=Preserve() if self.objective == Hybrid() else self.objective,
            sparsity=self.sparsity,
            gates=self.gates,
            estimator=self.estimator,
            smoothness=0.0,
            device=self.device,
        )
        left = None if max_evals is None else max(1, max_evals - n_read)
        shared = SharedStochasticGates(method)
        shared.settings = self._of_shared(shared.settings, len(asked.inputs))
        found = shared.explain(
            asked.inputs,
            target=target,
            additional_forward_args=asked.arguments,
            feature_mask=asked.feature_mask,
            labels=labels,
            loss=loss,
            n_steps=n_steps,
            n_samples=n_samples,
            max_evals=left,
            seed=seed,
            show_progress=show_progress,
            feature_names=self.components,
        )
        return replace(found, n_evaluations=found.n_evaluations + n_read)

    def _of_shared(self, settings: Settings, n_rows: int) -> Settings:
        """The settings for all inputs together: the own search, on inputs that are not kept for the test."""
        searched = n_rows - min(n_rows // 2, settings.certificate.most_rows)
        n = min(settings.plan.n_references, max(1, searched))
        return replace(settings, search=self.settings.search, plan=replace(settings.plan, n_references=n))

    def _over_components(
        self, inputs: Given, baselines: Counterfactuals, target: Target, arguments: Any, effort: Effort
    ) -> Inner:
        """The same question about the gates of the components."""
        gaps = Gaps.of(inputs)
        given = checked_inputs(gaps.without(inputs))
        forward = gaps.filled(self.forward_func)
        device = self.solve_device(given[0])
        rows = GivenRows(given, as_arguments(arguments), device)
        runs = SiteRuns(self.sites)
        with undisturbed(forward, device, effort.seed) as model:
            places = located(runs, model, rows, len(rows))
            together = effort.internal_batch_size or len(rows)
            closed = _closed(Closed(model, runs, places, together), gaps.without(baselines), rows)
        gates = torch.ones(len(rows), len(self.components), dtype=_dtype(closed), device=given[0].device)
        asked = Asked(
            ComponentForward(forward, runs, places, closed),
            gates,
            None,
            target,
            (torch.arange(len(rows), device="cpu"), *given, *rows.arguments),
            torch.arange(gates.shape[1], device="cpu").unsqueeze(0),
            self.components,
        )
        # at most: where the rows of a site are, and what closed components show
        n_read = torch.full((len(rows),), 2 + int(baselines is not None), device="cpu")
        return Inner.of(asked, effort, n_read)


def _closed(reader: Closed, baselines: Counterfactuals, rows: GivenRows) -> Shown:
    if baselines is None:
        return reader.zero(rows)
    if not isinstance(baselines, MeanActivation):
        return reader.each(replace(rows, inputs=checked_counterfactuals(baselines, rows.inputs)))
    gaps = Gaps.of(baselines.rows)
    several = checked_inputs(gaps.without(baselines.rows))
    own = baselines.additional_forward_args
    arguments = rows.arguments if own is None else as_arguments(own)
    fits = [x.shape[1:] for x in several] == [x.shape[1:] for x in rows.inputs]
    along = len(several[0]) != len(rows) and any(
        isinstance(a, Tensor) and a.dim() > 0 and len(a) == len(rows) for a in arguments
    )
    if not fits or (along and own is None):
        raise ArgumentError(
            "MeanActivation",
            expected=f"rows as the inputs are, {[tuple(x.shape[1:]) for x in rows.inputs]}"
            + (", and their own additional_forward_args" if along else ""),
            found=str([tuple(x.shape[1:]) for x in several]),
            mend="Give inputs of the same shape, for example of the same number of tokens.",
        )
    return reader.mean(GivenRows(several, arguments, rows.device))


def _dtype(closed: Shown) -> torch.dtype:
    double = any(t.dtype == torch.float64 for site in closed for t in site)
    return torch.float64 if double else torch.float32
