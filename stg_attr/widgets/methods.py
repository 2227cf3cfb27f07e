"""Methods: the explanations and other attributions that an explorer shows side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stg_attr import viz
from stg_attr.attribution import Explanation, Scores
from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups
from stg_attr.metrics import BudgetCurves, budget_curves
from stg_attr.metrics.curves import rank_features
from stg_attr.model import Baselines, Inputs
from stg_attr.objective import retained_share
from stg_attr.viz.parts import checked_explanation, percent, render, replace_invisible

from .packing import Json, checked_curve, pack_attributions, pack_gates, pack_reading
from .views import TextView, View

__all__ = ["AttributionMethod", "ExplanationMethod", "Method", "checked_methods", "compared_picture"]


@dataclass(frozen=True, eq=False)
class ExplanationMethod:
    """An explanation; it holds all scores that are shown."""

    explanation: Explanation

    def packed(self, places: Sequence[int]) -> Json:
        """What the browser needs to show some examples."""
        readings = self.explanation.readings()
        own = [pack_reading(self.explanation, readings, place) for place in places]
        return {"gates": pack_gates(self.explanation), "readings": own}

    def scores(self, place: int, budget: int) -> tuple[int, Scores]:
        """The number of features, and the scores of one example at a budget, each of no dimension."""
        view = at_count(self.explanation, place, budget)
        return int(view.n_selected[place]), Scores(*(score[place] for score in vars(view.scores).values()))

    def tells_shares(self, place: int) -> bool:
        """Whether the shares of one example say anything."""
        scores, status = self.explanation.scores, self.explanation.status[place]
        return status.tells_shares and bool(scores.full[place] != scores.baseline[place])

    def attributions(self, place: int, budget: int) -> Explanation | Inputs:
        """The attributions that a picture shows."""
        return at_count(self.explanation, place, budget)


@dataclass(frozen=True, eq=False)
class AttributionMethod:
    """Attributions of another method, measured on the model as the explanation beside them was.

    Attributes:
        given: as the method returned them.
        reference: the explanation.
        curves: the measured scores.
        means: mean attribution of each feature, [batch, gates].
        groups: the features.
    """

    given: Inputs
    reference: Explanation
    curves: BudgetCurves
    means: Tensor
    groups: FeatureGroups

    def packed(self, places: Sequence[int]) -> Json:
        """What the browser needs to show some examples."""
        ranking = rank_features(self.given, self.reference.inputs, self.groups)
        own = [pack_attributions(self.reference, self.curves, ranking, self.means, place) for place in places]
        return {"gates": None, "readings": own}

    def scores(self, place: int, budget: int) -> tuple[int, Scores]:
        """The number of features, and the scores of one example at a budget, each of no dimension."""
        curves = self.curves
        counts = curves.n_features[place]
        point = max(int((counts <= budget).sum()) - 1, 0)
        ends = curves.full[place], curves.baseline[place]
        return int(counts[point]), Scores(*ends, curves.kept[place, point], curves.removed[place, point])

    def tells_shares(self, place: int) -> bool:
        """Whether the shares of one example say anything."""
        same = bool(self.curves.full[place] == self.curves.baseline[place])
        return self.reference.status[place].tells_shares and not same

    def attributions(self, place: int, budget: int) -> Explanation | Inputs:
        """The attributions that a picture shows."""
        return self.given


Method = ExplanationMethod | AttributionMethod


def at_count(explanation: Explanation, place: int, count: int) -> Explanation:
    """The explanation at the budget that allows this number of features of one example."""
    n_gates = int((explanation.feature_ids[place] >= 0).sum())
    return explanation.at(budget=min(1.0, count / max(n_gates, 1)))


def checked_methods(
    methods: Mapping[str, Explanation | Inputs],
    forward_func: Callable[..., Any] | None,
    baselines: Baselines,
    additional_forward_args: Any,
) -> dict[str, Method]:
    """Explanations as they are, and other attributions measured on the model.

    Raises:
        ArgumentError: there is no explanation, they are of different features, or the model is missing.
    """
    solved = [m for m in methods.values() if isinstance(m, Explanation)]
    if not solved:
        raise ArgumentError(
            "methods",
            expected="at least one Explanation, whose inputs and features all share",
            found=f"{len(methods)} others",
            mend="Add one, for example {'gates': stg.explain(inputs), 'gradients': attributions}.",
        )
    for explanation in solved:
        checked_curve(explanation)
        _check_same(explanation, solved[0])
    return {
        replace_invisible(str(name)): ExplanationMethod(checked_explanation(method, name))
        if isinstance(method, Explanation)
        else _measured(name, method, solved[0], forward_func, baselines, additional_forward_args)
        for name, method in methods.items()
    }


def _check_same(explanation: Explanation, first: Explanation) -> None:
    same = [len(explanation.inputs) == len(first.inputs), len(explanation) == len(first)]
    pairs = zip(
        (*explanation.inputs, *explanation.feature_mask), (*first.inputs, *first.feature_mask), strict=False
    )
    if all(same) and all(a.shape == b.shape and _equal(a, b) for a, b in pairs):
        return
    raise ArgumentError(
        "methods",
        expected="explanations of the same inputs with the same feature_mask",
        found="different ones",
        mend="Explain the same batch again; targets, objectives and seeds may differ.",
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal; missing cells of a table equal each other."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _measured(
    name: str,
    attributions: Inputs,
    reference: Explanation,
    forward_func: Callable[..., Any] | None,
    baselines: Baselines,
    additional_forward_args: Any,
) -> AttributionMethod:
    if forward_func is None:
        raise ArgumentError(
            "forward_func",
            expected=f"the model, on which {name!r} is measured",
            found="None",
            mend="Pass forward_func=model; only explanations were measured when they were made.",
        )
    if reference.columns is not None:
        raise ArgumentError(
            "methods",
            expected="explanations alone, where a table is explained",
            found=f"attributions by {name!r}",
            mend="Others are measured on tensors, which the model does not take; compare objectives.",
        )
    single = attributions if isinstance(attributions, tuple) else (attributions,)
    given = tuple(part.detach() for part in single)
    curves = budget_curves(
        forward_func,
        reference.inputs,
        given,
        _means(reference) if baselines is None else baselines,
        reference.target,
        additional_forward_args,
        reference.feature_mask,
        counts=reference.curve.n_open,
    )
    groups = FeatureGroups.from_mask(reference.feature_mask, reference.inputs)
    return AttributionMethod(given, reference, curves, groups.reduce(given), groups)


def _means(explanation: Explanation) -> tuple[Tensor, ...]:
    """The baselines of an explanation, in the shape of the inputs."""
    pairs = zip(explanation.baselines, explanation.inputs, strict=True)
    return tuple(b.expand(len(b), *x.shape[1:]) for b, x in pairs)


def compared_picture(methods: Mapping[str, Method], view: View, place: int, budget: int) -> str:
    """Several methods as static HTML: their pictures, where these can be drawn, and a table of evidence."""
    drawn = {name: method.attributions(place, budget) for name, method in methods.items()}
    return render(
        "widgets/templates/compared.html",
        pictures=_side_by_side(drawn, view, place),
        heads=(
            "method",
            "features",
            "full",
            "baseline",
            "kept",
            "removed",
            "sufficiency",
            "comprehensiveness",
        ),
        rows=[(name, _evidence(method, place, budget)) for name, method in methods.items()],
    )


def _side_by_side(drawn: Mapping[str, Explanation | Inputs], view: View, place: int) -> list[tuple[str, str]]:
    """Titles and pictures: one of each text, or one without a title for all methods."""
    if isinstance(view, TextView):
        explanations = {name: method for name, method in drawn.items() if isinstance(method, Explanation)}
        return [(name, view.picture(method, place)) for name, method in explanations.items()]
    try:
        return [("", viz.comparison(drawn, place).markup(follows_theme=False))]
    except ArgumentError:  # inputs that are neither images nor rows
        return []


def _evidence(method: Method, place: int, budget: int) -> list[str]:
    """The cells of one method's row in the table."""
    count, scores = method.scores(place, budget)
    full, kept, removed = float(scores.full), float(scores.kept), float(scores.removed)
    share = float(retained_share(scores.kept, scores.full, scores.baseline))
    shown = f" ({percent(share)})" if method.tells_shares(place) else ""
    before = (f"{full:.4g}", f"{float(scores.baseline):.4g}")
    after = (f"{x:.4g}" for x in (removed, full - kept, full - removed))
    return [str(count), *before, f"{kept:.4g}{shown}", *after]
