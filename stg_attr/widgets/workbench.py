"""The workbench: choose an example and settings, explain it, and compare with earlier runs."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anywidget
import ipywidgets
import torch
import traitlets
from IPython.display import DisplayHandle, display
from torch import Tensor

from stg_attr.attribution import StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation
from stg_attr.gates import Baseline
from stg_attr.model import undisturbed
from stg_attr.objective import Objective
from stg_attr.select import Sparsity
from stg_attr.viz.parts import render, replace_invisible

from .asking import MODEL
from .choices import BUDGETS, OBJECTIVES, checked_names, usual_baselines
from .explorer import Explorer, compare
from .live import Watch
from .page import controls_output, new_id, script
from .preview import preview
from .views import View

__all__ = ["Run", "Workbench"]

_PREDICTED = "predicted"


@dataclass(frozen=True, eq=False)
class Run:
    """One entry of the history.

    Attributes:
        settings: example, target, baseline, objective and budget in words.
        example: its place among the examples.
        explanation: of this example alone.
    """

    settings: tuple[str, ...]
    example: int
    explanation: Explanation

    @property
    def name(self) -> str:
        """All settings."""
        return ", ".join(self.settings)


class Workbench(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets ships no types
    """Pick an example and a target, set baseline, objective and budget, explain, and compare the runs.

    Before a solve, the features and the baseline of the chosen example are shown.

    The button starts a solve in a thread, so that Stop works while it runs; what was learned is kept. Do not
    train the model meanwhile.

    Args:
        model: as `StochasticGates` takes it.
        examples: inputs, [batch, ...].
        view: see `explore`; text needs the tokens of every example.
        names: of the examples.
        classes: names of the model's outputs.
        baselines: to choose from, by name; zeros, the mean of the examples and a blur of images by default.
        objectives: to choose from, by name; by default `Hybrid`, `Delete`, and `Preserve` by either fidelity.
        budgets: to choose from, by name; `Sweep` and four shares of the features by default.
        feature_mask: see `StochasticGates.attribute`; with one row, or one for each example.
        feature_names: see `StochasticGates.explain`.

    Attributes:
        history: all runs, first to last.

    Raises:
        ArgumentError: counts do not match, or the model cannot be explained.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        examples: Tensor,
        *,
        view: View | None = None,
        names: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        baselines: Mapping[str, Baseline] | None = None,
        objectives: Mapping[str, Objective] | None = None,
        budgets: Mapping[str, Sparsity] | None = None,
        feature_mask: Tensor | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self._model, self._examples, self._view = model, examples, view
        self._names = checked_names(names, len(examples))
        self._mask, self._classes, self._feature_names = feature_mask, classes, feature_names
        self._baselines = usual_baselines(examples) if baselines is None else dict(baselines)
        self._objectives = dict(OBJECTIVES if objectives is None else objectives)
        self._budgets = dict(BUDGETS if budgets is None else budgets)
        self._stopped = threading.Event()
        self.history: list[Run] = []
        self._explorer: Explorer | None = None
        self._shown: list[DisplayHandle] = []
        super().__init__(self._controls())
        self._controls_output = _ControlsOutput(key=new_id(), inner=self.model_id)
        self._preview()

    def explain(self) -> Run:
        """Explain with the settings of the controls, show the result, and add it to the history."""
        self._stopped.clear()
        place, words = self._example.value, self._words()  # a control may be changed while the solve runs
        stg = StochasticGates(
            self._model,
            objective=self._objectives[self._objective.value],
            sparsity=self._budgets[self._budget.value],
        )
        inputs = self._examples[place : place + 1]
        watched = Watch(self._view_of(place), names=[self._names[place]], classes=self._classes)
        with MODEL:
            explanation = stg.explain(
                inputs,
                on_step=partial(self._follow, watched),
                baselines=self._baselines[self._baseline.value],
                target=None if self._target.value == _PREDICTED else int(self._target.value),
                feature_mask=self._mask_of(place),
                feature_names=self._feature_names,
                n_steps=self._steps.value,
            )
        explanation = watched.measured(explanation)
        self._show(watched.finish(explanation))
        return self._remember(Run(words, place, explanation))

    def stop(self) -> None:
        """Stop the running solve after its next step; the explanation of the last picture is kept."""
        self._stopped.set()

    def compare(self, runs: Sequence[Run]) -> Explorer:
        """Show runs of one example side by side.

        Raises:
            ArgumentError: they are of several examples.
        """
        if len({run.example for run in runs}) != 1:
            raise ArgumentError(
                "runs",
                expected="runs of one example",
                found=f"of examples {sorted({run.example for run in runs})}",
                mend="Choose them in the history.",
            )
        differ = [len(set(column)) > 1 for column in zip(*(run.settings for run in runs), strict=True)]
        methods = {}
        for run in runs:
            own = [part for part, differs in zip(run.settings, differ, strict=True) if differs]
            number = self.history.index(run) + 1
            methods[f"{number}. {', '.join(own)}" if own else f"run {number}"] = run.explanation
        shown = compare(methods, view=self._view_of(runs[0].example), names=[self._names[runs[0].example]])
        self._show(shown)
        return shown

    def _controls(self) -> list[ipywidgets.Widget]:
        numbered = [(name, i) for i, name in enumerate(self._names)]
        self._example = ipywidgets.Dropdown(options=numbered, description="Example")
        self._target = ipywidgets.Dropdown(options=self._targets(), description="Target")
        self._baseline = ipywidgets.Dropdown(options=list(self._baselines), description="Baseline")
        self._objective = ipywidgets.Dropdown(options=list(self._objectives), description="Objective")
        self._budget = ipywidgets.Dropdown(options=list(self._budgets), description="Budget")
        self._steps = ipywidgets.BoundedIntText(12, min=1, max=10**6, description="Steps")
        self._start = _button("Explain", self._explain_in_thread)
        self._stop = _button("Stop", self.stop)
        self._stop.disabled = True
        self._status = ipywidgets.HTML()  # a Label would cut long messages off
        self._say("Choose, then explain.")
        self._runs = ipywidgets.SelectMultiple(
            options=[], description="Runs", rows=4, layout={"width": "60em"}
        )
        self._again = _button("Show or compare", self._show_chosen)
        self._before = ipywidgets.HTML()
        self._place = ipywidgets.VBox([])
        for control in (self._example, self._baseline):
            control.observe(lambda _: self._preview(), "value")
        choices = (self._example, self._target, self._baseline, self._objective, self._budget, self._steps)
        grid = ipywidgets.HBox(choices, layout={"flex_flow": "row wrap"})
        buttons = ipywidgets.HBox([self._start, self._stop])
        return [grid, buttons, self._status, self._place, ipywidgets.HBox([self._runs, self._again])]

    def _targets(self) -> list[tuple[str, int | str]]:
        device = StochasticGates(self._model).solve_device(self._examples)
        with undisturbed(self._model, device, 0) as model, torch.no_grad():
            output = model(self._examples[:1].to(device))
        predicted: list[tuple[str, int | str]] = [
            ("predicted class" if output.dim() == 2 else "output", _PREDICTED)
        ]
        if output.dim() != 2:
            return predicted
        count = output.shape[1]
        names = [
            replace_invisible(str(c)) for c in (range(count) if self._classes is None else self._classes)
        ]
        if len(names) != count:
            raise ArgumentError(
                "classes",
                expected=f"one for each of {count} outputs",
                found=str(len(names)),
                mend="Name every output of the model, in order.",
            )
        return predicted + [(name, i) for i, name in enumerate(names)]

    def _explain_in_thread(self) -> None:
        self._start.disabled, self._stop.disabled = True, False
        threading.Thread(target=self._explain_and_say, daemon=True).start()

    def _explain_and_say(self) -> None:
        """What the thread runs; it shows every error as text, because a thread's traceback is not visible."""
        self._say("Solving")
        try:
            self.explain()
        except Exception as error:
            self._say(f"{type(error).__name__}: {error}")
        finally:
            self._start.disabled, self._stop.disabled = False, True

    def _follow(self, watched: Watch, done: int, n_steps: int, so_far: Callable[[], Explanation]) -> None:
        new = watched.explorer is None
        if watched.follow(done, n_steps, so_far) and new and watched.explorer is not None:
            self._show(watched.explorer)
        self._say(watched.text)
        if self._stopped.is_set():
            raise KeyboardInterrupt  # a solve then ends and keeps what it has learned

    def _preview(self) -> None:
        """Show the features and the baseline of the chosen example, unless a solve is running."""
        if self._start.disabled:
            return
        place = self._example.value
        inputs, baseline = self._examples[place : place + 1], self._baselines[self._baseline.value]
        try:
            shown = preview(inputs, self._view_of(place), self._mask_of(place), baseline, self._feature_names)
        except ArgumentError as error:
            self._say(str(error))
            return
        self._explorer, self._before.value = None, shown
        self._place.children = (self._before,)

    def _remember(self, run: Run) -> Run:
        self.history.append(run)
        self._runs.options = [(f"{i + 1}. {run.name}", i) for i, run in enumerate(self.history)]
        self._say(f"Run {len(self.history)} is done.")
        for shown in self._shown:  # so that a saved notebook shows this run
            shown.update(*self._markup(), raw=True)
        return run

    def _words(self) -> tuple[str, ...]:
        chosen = (self._target.label, self._baseline.value, self._objective.value, self._budget.value)
        return self._names[self._example.value], *(str(part) for part in chosen)

    def _show_chosen(self) -> None:
        runs = [self.history[i] for i in self._runs.value]
        try:
            if runs:
                self.compare(runs)
        except ArgumentError as error:
            self._say(str(error))

    def _say(self, message: str) -> None:
        self._status.value = html.escape(replace_invisible(message))

    def _show(self, explorer: Explorer) -> None:
        self._explorer = explorer
        if self._place.children != (explorer,):
            self._place.children = (explorer,)

    def _mask_of(self, place: int) -> Tensor | None:
        if self._mask is None or len(self._mask) != len(self._examples):
            return self._mask
        return self._mask[place : place + 1]

    def _view_of(self, place: int) -> View | None:
        return None if self._view is None else self._view.alone(place)

    def _ipython_display_(self) -> None:
        self._shown = [*self._shown, display(*self._markup(), raw=True, display_id=True)]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._markup()[0], {}

    def _markup(self) -> tuple[dict[str, str]]:
        """The last picture and the list of runs; a running kernel puts the controls in their place."""
        lines = [f"{i + 1}. {run.name}: {run.explanation.describe(0)}" for i, run in enumerate(self.history)]
        markup = render(
            "widgets/templates/workbench.html",
            count=len(self._names),
            lines=lines,
            picture=self._before.value if self._explorer is None else self._explorer.static(),
        )
        return (
            {
                "text/plain": "\n".join(["Workbench", *lines]),
                "text/html": controls_output(self._controls_output.key, markup),
            },
        )


class _ControlsOutput(anywidget.AnyWidget):  # type: ignore[misc]  # as above
    """Puts the controls into an output of a cell that shows HTML."""

    _esm = script()

    key = traitlets.Unicode().tag(sync=True)
    inner = traitlets.Unicode().tag(sync=True)


def _button(text: str, action: Callable[[], None]) -> ipywidgets.Button:
    made = ipywidgets.Button(description=text, layout={"flex": "none"})
    made.on_click(lambda _: action())
    return made
