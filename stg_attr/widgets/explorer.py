"""The explorer: an explanation, or several side by side, with a slider over the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError
from stg_attr.model import Baselines, Inputs
from stg_attr.viz.parts import checked_explanation, checked_position, render, replace_invisible

from .asking import KnownScores, answer, near_curve, scores_of
from .methods import ExplanationMethod, Method, at_count, checked_methods, compared_picture
from .packing import Json, checked_curve, target_name
from .page import cell_output, new_id, script, standalone_page, style, template
from .views import View, fitting_view

__all__ = ["Explorer", "compare", "explore", "explorer"]

_LISTED = 8  # examples whose evidence is written out
_SHOWN = 12  # examples that are sent to the browser if the caller does not choose any


class Explorer(anywidget.AnyWidget):  # type: ignore[misc]  # ipywidgets ships no types
    """What `explore`, `compare` and `watch` show: an ipywidgets widget, whose view needs no kernel.

    Its traits can be read, set and observed from Python, and linked to other widgets.

    Attributes:
        example: index of the shown example among those that can be chosen.
        budget: the largest number of features to keep.
        show: "all", "kept", "removed" or, for images, "veil".
        chosen: columns of the features that the reader has switched on; None where the budget says which.
        answer: what the kernel has measured of them: the scores that are known of the shown example.
    """

    _esm = script()
    _css = style()

    payload = traitlets.Dict().tag(sync=True)
    methods = traitlets.List().tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)
    page = traitlets.Unicode(template()).tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    example = traitlets.Int(0).tag(sync=True)
    budget = traitlets.Int(0).tag(sync=True)
    show = traitlets.Unicode("all").tag(sync=True)
    chosen = traitlets.List(traitlets.Int(min=0), allow_none=True, default_value=None).tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, shown: Mapping[str, Method], view: View, places: Sequence[int], **traits: Any) -> None:
        self._methods, self._view, self._places = dict(shown), view, list(places)
        self._known: list[KnownScores] = [{} for _ in self._places]
        super().__init__(key=new_id(), **traits)

    @property
    def explanation(self) -> Explanation:
        """The explanation, or the first of several."""
        return next(m.explanation for m in self._methods.values() if isinstance(m, ExplanationMethod))

    @property
    def place(self) -> int:
        """Index of the shown example in the batch."""
        return self._places[int(self.example)]

    @property
    def reading(self) -> Explanation:
        """The explanation, or the first of several, read at the budget that is shown."""
        return at_count(self.explanation, self.place, self.budget)

    @property
    def selection(self) -> Tensor:
        """The features of the shown example that are on, bool [gates]: as chosen, or as the budget says."""
        if self.chosen is None:
            return self.reading.selected[self.place]
        kept = torch.zeros_like(self.explanation.selected[self.place])
        kept[self.chosen] = True
        return kept

    def refresh(self, explanation: Explanation) -> None:
        """Show another state of the same solve, at the example and budget that are shown now."""
        self._methods = {"explanation": ExplanationMethod(explanation)}
        self._known = [{} for _ in self._places]
        self.chosen = None
        self.methods = _packed_methods(self._methods, self._places)

    def measure_ahead(self, sets: Tensor | None = None) -> None:
        """Measure sets of features now, so that a page without a kernel shows their scores at a click, too.

        The scores of what they leave out are measured as well. For all examples that can be chosen.

        Args:
            sets: features that are on, bool [sets, gates]; by default all that one click makes of a set along
                the curve, which are about twenty-four for each feature.

        Raises:
            ArgumentError: the explanation has no model, or the sets are not of its gates.
        """
        for place, known in zip(self._places, self._known, strict=True):
            near = near_curve(self.explanation, place) if sets is None else sets
            known |= scores_of(self.explanation, place, near, known)

    @traitlets.validate("chosen")  # type: ignore[untyped-decorator]  # as above
    def _checked_choice(self, proposal: Any) -> list[int] | None:
        if proposal.value is None:
            return None
        exists = (self.explanation.feature_ids[self.place] >= 0).tolist()
        on = sorted(set(proposal.value))
        if all(column < len(exists) and exists[column] for column in on):
            return on
        raise ArgumentError(
            "chosen",
            expected=f"columns of features, from 0 to {len(exists) - 1}, that the example has",
            found=repr(on),
            mend="For example explorer.selection.nonzero().flatten().tolist().",
        )

    @traitlets.observe("chosen")  # type: ignore[untyped-decorator]  # as above
    def _ask(self, change: Any) -> None:
        if self.chosen is None or len(self._methods) > 1:
            return
        example = int(self.example)
        problem = answer(self.explanation, self.place, self.chosen, self._known[example])
        known = dict(self._known[example])
        self.answer = {"example": example, "on": self.chosen, "known": known, "problem": problem}

    @traitlets.observe("example", "budget")  # type: ignore[untyped-decorator]  # as above
    def _follow_budget(self, change: Any) -> None:
        self.chosen = None

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a whole page, in which the slider works without a kernel and without a network.

        Where scripts do not run, the page shows the picture and the evidence of the shown example.
        """
        Path(path).write_text(standalone_page(self.page_state(), self.static()), encoding="utf-8")

    def markup(self) -> str:
        """The explorer as HTML for a page or an output of a cell; it needs no kernel and no network."""
        return cell_output(self.page_state(), self.static())

    def page_state(self) -> Json:
        """What a page needs: the traits, and the scores that were measured since."""
        names = ("key", "payload", "methods", "example", "budget", "show", "chosen")
        return {**{name: getattr(self, name) for name in names}, "known": self._known}

    def static(self) -> str:
        """HTML without scripts: the shown example as a picture, and the evidence of the first examples."""
        place = self.place
        if len(self._methods) > 1:
            return compared_picture(self._methods, self._view, place, self.budget)
        reading = self.reading
        chosen = [place, *(i for i in self._places if i != place)][:_LISTED]
        labels = {i: entry["label"] for i, entry in zip(self._places, self.payload["examples"], strict=True)}
        return render(
            "widgets/templates/explanation.html",
            picture=self._view.picture(reading, place),
            evidence=[(labels[i], reading.describe(i)) for i in chosen],
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """HTML, which works without a kernel, and connects to this widget if the kernel runs.

        It is not a widget view, because that would be an error message in a notebook that is opened again
        without its kernel, and an empty cell on a page made from a notebook whose widget states were stored.
        """
        return {"text/plain": repr(self.explanation), "text/html": self.markup()}, {}


def explore(
    explanation: Explanation,
    *,
    view: View | None = None,
    examples: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Explorer:
    """A slider over the budget of an explanation: it adds and removes features along the measured curve.

    Args:
        explanation: with a measured curve, as `explain` returns it.
        view: how examples are drawn; the one that fits the inputs by default. Token ids need
            `TextView(tokens)`, strings nothing.
        examples: their places in the batch; the first twelve by default.
        names: of these examples.
        classes: names of the model's outputs.

    Raises:
        ArgumentError: not an explanation, no curve, no such example, or it cannot be drawn in this view.
    """
    explanation = checked_explanation(explanation, "explanation")
    checked_curve(explanation)
    return explorer({"explanation": ExplanationMethod(explanation)}, view, examples, names, classes)


def compare(
    methods: Mapping[str, Explanation | Inputs],
    *,
    forward_func: Callable[..., Any] | None = None,
    baselines: Baselines = None,
    additional_forward_args: Any = None,
    view: View | None = None,
    examples: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Explorer:
    """Several methods, or several targets, side by side at one budget, each measured on the model.

    Attributions of other methods are ranked by their mean over each feature, and measured with as many
    features as the first explanation was.

    Args:
        methods: explanations, or attributions as Captum returns them, by name; at least one explanation.
            All of the same inputs and features.
        forward_func: the model; needed for attributions that are no explanation.
        baselines: what removed features show when these are measured; those of the first explanation by
            default, averaged over references.
        additional_forward_args: passed on to the model.
        view: see `explore`.
        examples: see `explore`.
        names: of these examples.
        classes: names of the model's outputs.

    Raises:
        ArgumentError: there is no explanation, they do not belong together, or the model is missing.
    """
    measured = checked_methods(methods, forward_func, baselines, additional_forward_args)
    return explorer(measured, view, examples, names, classes, compared=True)


def explorer(
    methods: Mapping[str, Method],
    view: View | None,
    examples: Sequence[int] | None,
    names: Sequence[str] | None,
    classes: Sequence[str] | None,
    compared: bool = False,
) -> Explorer:
    """The widget of some methods; arguments as for `explore`."""
    first = next(m.explanation for m in methods.values() if isinstance(m, ExplanationMethod))
    view = fitting_view(first) if view is None else view
    count = len(first)
    places = [
        checked_position("examples", i, count)
        for i in (range(min(count, _SHOWN)) if examples is None else examples)
    ]
    labels = _labels(first, places, names, classes)
    return Explorer(
        methods,
        view,
        places,
        payload=_packed(first, view, places, labels, compared),
        methods=_packed_methods(methods, places),
        budget=int(first.n_selected[places[0]]),
    )


def _packed(
    first: Explanation, view: View, places: Sequence[int], labels: Sequence[str], compared: bool
) -> Json:
    """What the browser draws at every budget and for every method."""
    scenes = [view.scene(first, place) for place in places]
    return {
        "kind": scenes[0]["kind"],
        "modes": list(view.code(places[0])),
        "compared": compared,
        "examples": [
            {"label": label, "scene": scene, "place": place, "code": _code(view, place, compared)}
            for label, scene, place in zip(labels, scenes, places, strict=True)
        ],
    }


def _packed_methods(methods: Mapping[str, Method], places: Sequence[int]) -> list[Json]:
    return [{"name": name, **method.packed(places)} for name, method in methods.items()]


def _code(view: View, place: int, compared: bool) -> dict[str, str]:
    modes = view.code(place)
    return dict.fromkeys(modes, f"viz.comparison(view, {place})") if compared else modes


def _labels(
    explanation: Explanation,
    places: Sequence[int],
    names: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> list[str]:
    if not places:
        raise ArgumentError("examples", expected="at least one", found="none", mend="For example [0, 1].")
    if names is not None and len(names) != len(places):
        raise ArgumentError(
            "names",
            expected=f"one for each of {len(places)} examples",
            found=str(len(names)),
            mend="Name what examples=[...] chooses, in its order.",
        )
    given = [f"example {place}" for place in places] if names is None else names
    own = [replace_invisible(str(name)) for name in given]
    targets = [target_name(explanation, place, classes) for place in places]
    return [f"{name} ({target})" if target else name for name, target in zip(own, targets, strict=True)]
