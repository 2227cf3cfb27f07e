"""Parts: what an attribution method is made of and asked, and whether these fit each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError, check_number
from stg_attr.explanation import Explanation, Settings, Status
from stg_attr.gates import FeatureGroups, GateDistribution, Pairs
from stg_attr.model import Baselines, Gaps, Given, Map, Memory, Target, as_arguments, checked_inputs
from stg_attr.objective import Objective
from stg_attr.select import Sparsity
from stg_attr.solve import Estimator, Reparameterized, ScoreFunction
from stg_attr.tables import Cells, Groups, OverCells, Table, mask_and_names
from stg_attr.texts import Texts, Tokenized, over_words

from .effort import Effort

__all__ = [
    "Asked",
    "Data",
    "Explanations",
    "Features",
    "Inner",
    "OnStep",
    "Parts",
    "Shown",
    "check_inputs_suit",
    "check_layer",
    "check_parts",
    "one_by_one",
    "over_tensors",
]

#: What can be explained: tensors, a table, or texts.
Data: TypeAlias = Given | Table | Texts

#: What closed gates show: a baseline of tensors, rows or cells of a table, or a word; or rows and references,
#: of which each sample shows others.
Shown: TypeAlias = Baselines | Table | Mapping[str, Any] | str | Pairs

#: Which elements share a gate: integers for each input, groups of the columns of a table, or a function of
#: split texts, such as `sentence_mask`.
Features: TypeAlias = Given | Groups | Callable[[Any], Tensor] | None

#: One for each target.
Explanations: TypeAlias = tuple[Explanation, ...]

#: Called after each step of a solve with the number of steps done, that of all steps, and a function that
#: reads and measures the explanation as it stands, which costs evaluations. A `KeyboardInterrupt` that it
#: raises ends the solve as Ctrl-C does: nothing is measured after it.
OnStep: TypeAlias = Callable[[int, int, Callable[[], Explanation]], object]


@dataclass(frozen=True)
class Asked:
    """What is explained, as the user gave it; arguments of `StochasticGates.attribute`.

    Where `cells` or `tokens` are given, inputs, baselines and model are already those of the numbers of
    cells, or of what is shown of a text; `spent` is how many model rows that took for each example.
    """

    forward: Callable[..., Any]
    inputs: Data
    baselines: Shown
    target: Target
    arguments: Any
    feature_mask: Features
    feature_names: Iterable[str] | None = None
    cells: Cells | None = None
    tokens: tuple[tuple[str, ...], ...] | None = None
    spent: int = 0
    start: Map = None

    @property
    def first_input(self) -> Tensor:
        """The first of the inputs, by which the device of a solve is chosen.

        Raises:
            ArgumentError: see `checked_inputs`.
        """
        return checked_inputs(Gaps.of(self.inputs).without(self.inputs))[0]

    def over_words(self) -> Asked | None:
        """The same question about which words of a text are shown; None where the inputs are no texts."""
        arguments = as_arguments(self.arguments)
        words = over_words(
            self.forward, self.inputs, self.baselines, self.target, arguments, self.feature_mask
        )
        return None if words is None else replace(self, **vars(words))

    def over_tokens(self, tokenized: Tokenized, layer_baselines: Shown) -> Asked:
        """The same question about token ids; closed gates show a token, or what `layer_baselines` says."""
        arguments = as_arguments(self.arguments)
        over = tokenized.over_tokens(self.inputs, self.baselines, self.target, arguments, self.feature_mask)
        asked = replace(self, **vars(over))
        return asked if layer_baselines is None else replace(asked, baselines=self.baselines)

    def over_cells(self) -> Asked | None:
        """The same question about the numbers of the cells of a table; None where the inputs are no table.

        Raises:
            ArgumentError: see `Cells.of`.
        """
        cells = Cells.of(self.inputs, self.baselines, self.forward)
        if cells is None:
            return None
        n, arguments = len(cells.inputs), as_arguments(self.arguments)
        names = cells.inputs.names if self.feature_names is None else self.feature_names
        mask, names = mask_and_names(self.feature_mask, tuple(names), cells.inputs.keys)
        return replace(
            self,
            forward=OverCells(self.forward, cells),
            inputs=cells.numbers[:n],
            baselines=cells.references,
            arguments=(torch.arange(n, device="cpu"), *arguments) if cells.inputs.has_index else arguments,
            feature_mask=mask,
            feature_names=names,
            cells=cells,
        )


@dataclass(frozen=True)
class Inner:
    """A question about inputs as one about what is inside the model: activations, or gates of components.

    Attributes:
        asked: what is explained.
        effort: what it may cost, less `spent`.
        spent: model rows for each example that it took to read the model, long [batch] on the CPU.
    """

    asked: Asked
    effort: Effort
    spent: Tensor

    @classmethod
    def of(cls, asked: Asked, effort: Effort, spent: Tensor) -> Inner:
        """The same, given what the question as a whole may cost."""
        left = None if effort.max_evals is None else effort.max_evals - int(spent.max())
        return cls(asked, replace(effort, max_evals=left), spent)

    def counted(self, found: Explanation) -> Explanation:
        """The explanation with the evaluations that reading took."""
        return replace(found, n_evaluations=found.n_evaluations + self.spent.to(found.n_evaluations.device))


class Parts(Protocol):
    """What `StochasticGates` is made of; see there."""

    forward_func: Callable[..., Any]
    smoothness: float
    estimator: Estimator
    gates: GateDistribution
    objective: Objective
    sparsity: Sparsity
    settings: Settings
    _default: Estimator | None
    _memory: Memory | None


M = TypeVar("M", bound=Parts)


def check_parts(method: Parts) -> None:
    """Check the parts of an attribution method.

    Raises:
        ArgumentError: the model is not callable, or a part is not of its kind, or two do not go together.
    """
    model: Any = method.forward_func
    if not callable(model):
        methods = [name for name in ("predict_proba", "decision_function", "predict") if hasattr(model, name)]
        raise ArgumentError(
            "forward_func",
            expected="a model, or a function of the inputs",
            found=type(model).__name__ if methods else repr(model),
            mend=f"Pass one of its methods, such as model.{methods[0]}."
            if methods
            else "Wrap it in a function that returns one row of outputs per input row.",
        )
    mend = "1.5 suits images; 0 leaves every gate to itself."
    check_number("smoothness", method.smoothness, least=0, mend=mend)
    kinds = {
        "objective": Objective,
        "sparsity": Sparsity,
        "estimator": Estimator,
        "gates": GateDistribution,
        "settings": Settings,
    }
    for name, kind in kinds.items():
        part = getattr(method, name)
        if not isinstance(part, kind):
            raise ArgumentError(
                name,
                expected=f"an instance of a subclass of {kind.__name__}",
                found=repr(part),
                mend="Pass an object such as Preserve() or FixedWeight(0.01), not a class or a name.",
            )
    if not method.estimator.fits(method.gates):
        raise ArgumentError(
            "gates",
            expected=f"gates that {type(method.estimator).__name__} can learn, as {method.estimator.gates!r}",
            found=repr(method.gates),
            mend="Leave gates out for those, or change the estimator: Reparameterized() differentiates "
            "through gates, and needs values between 0 and 1; ScoreFunction() learns gates of 0 or 1.",
        )


def check_inputs_suit(estimator: Estimator, inputs: Sequence[Tensor], groups: FeatureGroups) -> None:
    """Check that an estimator can differentiate through the gated inputs, if it does.

    Raises:
        ArgumentError: they are integers or flags.
    """
    gated = [x for x, index in zip(inputs, groups.index, strict=True) if bool((index >= 0).any())]
    if isinstance(estimator, Reparameterized) and not all(x.is_floating_point() for x in gated):
        raise ArgumentError(
            "inputs",
            expected="floating-point inputs, since the default estimator differentiates through them",
            found=str([str(x.dtype) for x in gated]),
            mend="Pass estimator=ScoreFunction(), which needs no gradient, explain their embeddings with "
            "LayerStochasticGates, or keep them by a feature_mask of -1. Amounts, not ids, may be given as "
            "floats.",
        )


def without_slopes(method: M) -> M:
    """A method that needs no slopes: with `ScoreFunction` where the user chose no estimator.

    Raises:
        ArgumentError: the user chose one that needs slopes, or gates that do not go with `ScoreFunction`.
    """
    if not isinstance(method.estimator, Reparameterized):
        return method
    if method.estimator is not method._default:
        raise ArgumentError(
            "estimator",
            expected="one that needs no slopes, since cells and words are shown or hidden, and never blended",
            found=repr(method.estimator),
            mend="Leave it out for ScoreFunction(). A net with gradients takes tensors.",
        )
    changed = copy.copy(method)
    changed.estimator = ScoreFunction()
    if method.gates == method.estimator.gates:
        changed.gates = changed.estimator.gates
    check_parts(changed)
    return changed


def over_tensors(method: M, asked: Asked) -> tuple[M, Asked]:
    """Where a table or texts are explained: a method that suits them, and the question about tensors.

    Raises:
        ArgumentError: the table, its references or the texts cannot be used, or the estimator was chosen and
            needs slopes.
    """
    over = asked.over_words() or asked.over_cells()
    return (method, asked) if over is None else (without_slopes(method), over)


def one_by_one(explain: partial[Explanation], targets: Iterable[Target]) -> Explanations:
    """One explanation for each target; after Ctrl-C, those until then.

    Args:
        explain: called with `target=`.
        targets: of the explanations.

    Raises:
        ArgumentError: it is a single one, or there are none, or `explain` has a target already.
    """
    if "target" in explain.keywords:
        raise ArgumentError(
            "target",
            expected="the targets as the second argument only",
            found=f"target={explain.keywords['target']!r} beside them",
            mend="Leave target out.",
        )
    given = [] if isinstance(targets, (int, str, type(None))) else list(targets)
    if not given:
        raise ArgumentError(
            "targets",
            expected="several targets, one for each explanation",
            found=repr(targets),
            mend="Pass range(10), or [0, 3]; or call explain for a single one.",
        )
    found: list[Explanation] = []
    for target in given:
        found.append(explain(target=target))
        if Status.INTERRUPTED in found[-1].status:
            break
    return tuple(found)


def check_layer(layer: Any) -> None:
    """Check a layer, or a list of them.

    Raises:
        ArgumentError: it is none, is scripted, or a list is empty or has one twice.
    """
    given = layer if isinstance(layer, list) else [layer]
    modules = [part for part in given if isinstance(part, nn.Module)]
    scripted = any(isinstance(part, torch.jit.ScriptModule) for part in modules)
    if not given or scripted or len(set(map(id, modules))) < len(given):
        kinds = [type(part).__name__ for part in given]
        raise ArgumentError(
            "layer",
            expected="a module of the model, not a scripted one, or a list of different ones",
            found=str(kinds) if isinstance(layer, list) else kinds[0],
            mend="Pass one such as model.embedding, or [model.one, model.other], before torch.jit.",
        )
