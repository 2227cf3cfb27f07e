"""AmortizedStochasticGates: a net proposes the gates of a row, which are then measured on the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, cast

import torch
from torch import Tensor, nn

from stg_attr.attribution import StochasticGates
from stg_attr.attribution.effort import Effort
from stg_attr.attribution.parts import Data, Features, Shown
from stg_attr.attribution.question import Question, prepared
from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import Explanation
from stg_attr.gates import FeatureGroups
from stg_attr.model import Baselines, Gaps, GatedModel, Inputs, Target, undisturbed
from stg_attr.progress import progress
from stg_attr.select import Ranking, Sweep
from stg_attr.solve import Learned

from .files import damaged, load, save
from .nets import GateNet, default_net
from .proposals import Proposal, merged, solved
from .rows import Ask, Source
from .search import found_near
from .settings import AmortizedSettings
from .training import Trained, Trainer

__all__ = ["AmortizedStochasticGates"]


class AmortizedStochasticGates:
    r"""Gates that a net proposes for each row in one pass, and that are then measured on the model.

        min_w  E_{x, z}[ loss(x_z) ] + sparsity,   z ~ gates(net_w(x))

    `fit` learns the net from rows of the data, by the gradients by which a solve learns the gates of one row.
    `attribute` and `explain` begin with the first features that the net proposes. A few sets near them are
    measured on the model, whose slopes say which is next, and the smallest is tested like any other. Rows
    whose set is not certified, or is large, are solved, starting from the proposal. So a wrong proposal costs
    time, and makes no claim wrong.

    L2X and INVASE learn such nets: Learning to Explain (Chen, Song, Wainwright, Jordan, 2018),
    https://arxiv.org/abs/1802.07814. These train a second model beside the selector, which can read the label
    in the selection itself: Have We Learned to Explain? (Jethani et al., 2021),
    https://arxiv.org/abs/2103.01890. Here scores come from the explained model, which is not trained.

    Args:
        method: the question, as for single rows, with `Sweep` as its sparsity.
        net: takes the inputs (of a layer its activations) and returns [batch, gates], or a number for each
            element of a single input; None for a small one that suits their shape. `nn.Sequential(model.body,
            nn.Linear(width, gates))`, with parameters of the body that need no gradient, sees the activations
            of the model itself.
        settings: the numbers behind the defaults.

    Attributes:
        trained: what the training was; None before it.

    Raises:
        ArgumentError: an argument is not of its kind.

    Example:
        >>> rows = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
        >>> model = lambda x: torch.where(x[:, 0] > 0, 3 * x[:, 1], 3 * x[:, 2]).unsqueeze(1)
        >>> fast = AmortizedStochasticGates(StochasticGates(model)).fit(rows, n_epochs=5)
        >>> fast.explain(rows[:3]).selected.shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        method: StochasticGates,
        net: nn.Module | None = None,
        *,
        settings: AmortizedSettings | None = None,
    ) -> None:
        if not isinstance(method, StochasticGates) or not isinstance(method.sparsity, Sweep):
            raise ArgumentError(
                "method",
                expected="StochasticGates or LayerStochasticGates, with Sweep as sparsity",
                found=repr(method) if not isinstance(method, StochasticGates) else repr(method.sparsity),
                mend="For example AmortizedStochasticGates(StochasticGates(model)).",
            )
        if net is not None and not isinstance(net, nn.Module):
            raise ArgumentError(
                "net",
                expected="a torch module",
                found=type(net).__name__,
                mend="Leave it out for a small one.",
            )
        self.method, self.settings = method, AmortizedSettings() if settings is None else settings
        self.trained: Trained | None = None
        self._net = None if net is None else GateNet(net, method.gates.start, 0, self.settings.spread)
        self._typical, self._gradient = 0.0, 0.0
        self._shapes: Any = None  # of the inputs and their dtypes, and the number of gates

    def fit(
        self,
        inputs: Data | Iterable[Any],
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        *,
        n_epochs: int = 30,
        seed: int = 0,
        show_progress: bool = False,
        layer_baselines: Baselines = None,
    ) -> AmortizedStochasticGates:
        """Learn from rows of the data, without their labels.

        Args:
            inputs: the rows, as for `StochasticGates.explain`; or what can be passed over again and again and
                gives batches of them, such as a `DataLoader`; of a batch that is a list, the first entry.
            baselines: as for `StochasticGates.explain`; not one for each row.
            target: one for all rows; None for each row's own predicted class.
            additional_forward_args: the same for all rows.
            feature_mask: as for `StochasticGates.explain`, the same for all rows.
            n_epochs: passes over the rows, at most; it ends when the loss of held-out rows falls no more.
            seed: of the net, the samples and the order of the rows.
            show_progress: show a progress bar.
            layer_baselines: as for `LayerStochasticGates.explain`.

        Returns:
            This object.

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used, or there are too few rows.
        """
        check_count("n_epochs", n_epochs, mend="30 is the default.")
        source = Source.of(inputs, self.settings, seed)
        ask = Ask(self.method, baselines, target, additional_forward_args, feature_mask, layer_baselines)
        first = ask.of(source.held_out[0])
        device = self.method.solve_device(first.asked.first_input)

        def models(batches: Iterable[Inputs]) -> Iterator[GatedModel]:
            return (ask.of(rows).model(self.settings.references, device) for rows in batches)

        with undisturbed(first.asked.forward, device, seed):
            example = next(models(source.held_out[:1]))
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                net = self._made(example.blend.inputs, example.groups, device)
            trainer = Trainer(net, first.method, self.settings, seed)
            total = None if source.n_batches is None else source.n_batches * n_epochs
            with progress(show_progress, total=total, desc="Amortised gates") as bar:
                self.trained = trainer.fit(
                    lambda: models(source.batches()),
                    lambda: models(source.held_out),
                    n_epochs,
                    source.n_batches,
                    bar,
                )
            net.eval()
            self._gradient = self.trained.gradient
            self._typical = self._measured(models(source.held_out), net)
        return self

    def attribute(
        self, inputs: Data, baselines: Shown = None, target: Target = None, **kwargs: Any
    ) -> Inputs:
        """Active probability of every input element's gate, as `explain` finds it.

        Args:
            inputs: as for `explain`.
            baselines: as for `explain`.
            target: as for `explain`.
            kwargs: further arguments of `explain`.

        Raises:
            ArgumentError: as for `explain`.
        """
        found = self.explain(inputs, baselines, target, **kwargs)
        return (
            Gaps.of(inputs).restored(found.attributions) if isinstance(inputs, tuple) else found.attributions
        )

    def explain(
        self,
        inputs: Data,
        baselines: Shown = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Features = None,
        *,
        fallback: bool = True,
        n_steps: int | None = None,
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        internal_batch_size: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
        feature_names: Sequence[str] | None = None,
        layer_baselines: Baselines = None,
    ) -> Explanation:
        """Explain rows: by what the net proposes where that is certified, else by a solve.

        Rows whose proposal is taken have `Status.PROPOSED`. Only the check was measured for them: the curve
        has one point, influence and effect are 0, contributions are NaN.

        Args:
            inputs: as for `StochasticGates.explain`, as are all arguments that are not listed here.
            baselines: as in `fit`.
            target: the output to explain.
            additional_forward_args: passed on to the model.
            feature_mask: as in `fit`.
            fallback: solve the rows whose proposal is not taken. If False, all proposals are returned;
                `certificate` says which hold.
            n_steps: updates of a solve, at most.
            n_samples: gate samples per update of a solve.
            perturbations_per_eval: gate samples in one call of the model.
            internal_batch_size: examples explained together; None for all.
            seed: of the noise of a solve.
            show_progress: show a progress bar.
            feature_names: name gates or elements.
            layer_baselines: as for `LayerStochasticGates.explain`.

        Raises:
            ArgumentError: an argument, or the model's output, cannot be used, or nothing was fitted.
        """
        if self._net is None or not self._typical:
            raise _not_fitted()
        effort = Effort(n_steps, n_samples, perturbations_per_eval, internal_batch_size, None, seed)
        ask = Ask(self.method, baselines, target, additional_forward_args, feature_mask, layer_baselines)
        given = ask.of(inputs)
        asked = replace(given.asked, feature_names=feature_names)
        device = self.method.solve_device(asked.first_input)
        with undisturbed(asked.forward, device, seed) as forward:
            question, solver, settings = prepared(
                given.method, replace(asked, forward=forward), effort, True, device
            )
            proposal = Proposal(
                solver, cast(Sweep, solver.sparsity), settings, self.settings, self._typical, self._gradient
            )
            shards = list(question.shards())
            with progress(show_progress, total=len(shards), desc="Amortised gates") as bar:
                parts = []
                for rows in shards:
                    parts.append(self._part(question, rows, proposal, fallback))
                    bar.update()
            found = question.answered(parts, None)
        if given.spent is None:
            return found
        spent = given.spent.to(found.n_evaluations.device)
        return replace(found, n_evaluations=found.n_evaluations + spent)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the net to a safetensors file: tensors and text, no code.

        Raises:
            ArgumentError: nothing was fitted, or the file cannot be written.
        """
        if self._net is None or not self._typical:
            raise _not_fitted()
        numbers = {"typical": self._typical, "gradient": self._gradient, "shapes": self._shapes}
        save(self._net, numbers, path)

    def load(self, path: str | PathLike[str]) -> AmortizedStochasticGates:
        """Read what `save` wrote, into an object that was made with the same arguments; returns this object.

        Raises:
            ArgumentError: the file is not one, or is of another net.
            FileNotFoundError: there is no such file.
        """
        numbers, tensors = load(path)
        try:
            if self._net is None:
                shapes, n_gates = numbers["shapes"]
                blank = [torch.zeros(shape, dtype=getattr(torch, kind)) for shape, kind in shapes]
                self._net = self._default(blank, int(n_gates))
            self._net.load_state_dict(tensors)
            self._typical, self._gradient = float(numbers["typical"]), float(numbers["gradient"])
            self._shapes = numbers["shapes"]
        except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise damaged(path, error) from error
        self._net.eval()
        return self

    def _made(self, inputs: Sequence[Tensor], groups: FeatureGroups, device: torch.device) -> GateNet:
        shapes = [([2, *x.shape[1:]], str(x.dtype).removeprefix("torch.")) for x in inputs]
        self._shapes = [shapes, groups.n_gates]
        if self._net is None:
            self._net = self._default(inputs, groups.n_gates)
        return self._net.to(device)

    def _default(self, inputs: Sequence[Tensor], n_gates: int) -> GateNet:
        """A net for inputs of this shape."""
        made = default_net(inputs, n_gates, self._n_slopes, self.settings)
        return GateNet(made, self.method.gates.start, self._n_slopes, self.settings.spread)

    @property
    def forward_func(self) -> Any:
        """The model."""
        return self.method.forward_func

    @property
    def identity(self) -> tuple[Any, ...]:
        """All that decides what is proposed and taken: nets that differ in it give other results."""
        state = {} if self._net is None else self._net.state_dict()
        return (self.settings, state, self._typical, self._gradient)

    @property
    def _n_slopes(self) -> int:
        """Gate values at which a default net sees the slopes of the score."""
        return self.settings.slopes if self.method.estimator.proves_slopes else 0

    @torch.no_grad()
    def _measured(self, held_out: Iterator[GatedModel], net: GateNet) -> float:
        """The mean number of proposed features that suffices for rows that were not learned from."""
        found = []
        for model in held_out:
            parameter = net.of(model).to(model.dtype)
            visible = model.groups.exists & model.differs & model.explainable.unsqueeze(1)
            ranking = Ranking.of(parameter, visible)
            first = max(1.0, model.groups.n_gates**0.5)
            retain = cast(Sweep, self.method.sparsity).retain
            slopes, most = self.method.estimator.proves_slopes, 2 * self.settings.most_measured
            near = found_near(model, ranking, retain, first, most, slopes, self.settings)
            found.append(near.count[model.explainable].double())
            if self.trained is not None:
                self.trained.n_evaluations += int(model.evaluations.sum())
        return max(1.0, float(torch.cat(found).mean())) if found else 1.0

    def _part(self, question: Question, rows: slice, proposal: Proposal, fallback: bool) -> Explanation:
        """Explain some rows: by proposals, and the others by a solve that begins there."""
        net, model = cast(GateNet, self._net), question.model(rows)
        with torch.no_grad():
            parameter = net.to(model.device).of(model).to(model.dtype)
        found, taken = proposal.read(model, parameter, question.named.rows(rows).to(model.device))
        left = (~taken).nonzero().squeeze(1).cpu()
        if not fallback or not len(left):
            return found
        places = torch.arange(question.batch, device="cpu")[rows][left]
        learned = solved(question, places, proposal, cast(Learned, found.rows(left).learned))
        return merged(found, learned, left)


def _not_fitted() -> ArgumentError:
    return ArgumentError(
        "fit",
        expected="a net that has learned from rows",
        found="one that has not",
        mend="Call fit(rows) first, or load(path).",
    )
