"""Watching: show the picture, the evidence and the loss of a solve while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from IPython import get_ipython
from IPython.display import display
from torch import Tensor

from stg_attr.attribution import LayerStochasticGates, StochasticGates
from stg_attr.errors import check_number
from stg_attr.explanation import Explanation, Status
from stg_attr.model import Inputs

from .explorer import Explorer, explore
from .views import View

__all__ = ["Pace", "Watch", "watch"]


@dataclass(frozen=True)
class Pace:
    """How often a solve that is watched is shown; each picture costs model evaluations.

    Args:
        pause: the least number of seconds between two pictures.
        times: the least time between two pictures, as a multiple of what the last one took; with 2, pictures
            take about a third of the whole time at most.
        report: the least number of seconds between two reports of progress.
    """

    pause: float = 0.4
    times: float = 2.0
    report: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_number(name, value, least=0, mend="Pace() has the usual numbers.")


class Watch:
    """Follows a solve: keeps its latest explanation, and shows it in an explorer.

    Args:
        view: how examples are drawn; see `explore`.
        pace: how often a picture is drawn; `Pace()` by default.
        in_parts: examples are solved in parts, so that there is no picture of all before the end.
        settings: see `explore`.
    """

    def __init__(
        self, view: View | None = None, pace: Pace | None = None, in_parts: bool = False, **settings: Any
    ) -> None:
        self._pace = Pace() if pace is None else pace
        self._in_parts = in_parts
        self._settings = {"view": view, **settings}
        self._began = self._drawn = time.monotonic()
        self._cost = self._reported = 0.0
        self.explorer: Explorer | None = None
        self.latest: Explanation | None = None
        self.text = ""

    def follow(self, done: int, n_steps: int, so_far: Callable[[], Explanation]) -> bool:
        """Read the state after a step if a picture is due; returns whether one was drawn. See `OnStep`."""
        self._report(done, n_steps)
        now = time.monotonic()
        due = self.latest is None or now - self._drawn > max(self._pace.pause, self._pace.times * self._cost)
        if self._in_parts or not due:  # a picture shows the whole batch or nothing
            return False
        self.latest = so_far()
        self.show(self.latest)
        self._drawn = time.monotonic()
        self._cost = self._drawn - now
        return True

    def show(self, explanation: Explanation) -> Explorer:
        """Show an explanation in the explorer."""
        if self.explorer is None:
            self.explorer = explore(explanation, **self._settings)
        else:
            self.explorer.refresh(explanation)
        return self.explorer

    def measured(self, explanation: Explanation) -> Explanation:
        """What is reported of an interrupted solve: the last picture's reading, since that was measured."""
        if self.latest is None or Status.INTERRUPTED not in explanation.status:
            return explanation
        return replace(self.latest, status=(Status.INTERRUPTED,) * len(self.latest))

    def finish(self, explanation: Explanation) -> Explorer:
        """Show the result, and how long it took."""
        shown = self.show(explanation)
        shown.budget = int(explanation.n_selected[shown.place])
        steps, spent = len(explanation.loss_trace), time.monotonic() - self._began
        said = f"{steps} step{'s' * (steps != 1)} in {spent:.1f} s"
        shown.progress = {"done": 1, "total": 1, "text": said, "running": False}
        return shown

    def _report(self, done: int, n_steps: int) -> None:
        now = time.monotonic()
        if now - self._reported < self._pace.report:
            return
        self._reported = now
        left = (now - self._began) / done * (n_steps - done)
        self.text = f"step {done} of {n_steps}, about {left:.0f} s left"
        if self.explorer is not None:
            self.explorer.progress = {
                "done": done, "total": n_steps, "text": self.text, "running": True,
            }  # fmt: skip


def watch(
    stg: StochasticGates | LayerStochasticGates,
    inputs: Inputs,
    *,
    view: View | None = None,
    examples: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    pace: Pace | None = None,
    **arguments: Any,
) -> Explanation:
    """Explain, and show the picture, the evidence and the loss while the solve runs.

    To stop, interrupt the kernel (the square button, or I twice in JupyterLab): the explanation of the last
    picture is returned, with the status `INTERRUPTED`. Outside a notebook a progress bar is shown instead.

    Args:
        stg: how to explain.
        inputs: what to explain, as `stg.explain` takes it.
        view: see `explore`.
        examples: see `explore`.
        names: of these examples.
        classes: names of the model's outputs.
        pace: how often a picture is drawn; `Pace()` by default.
        arguments: passed on to `stg.explain`.

    Returns:
        What `stg.explain` returns. Pictures cost model evaluations, which `n_evaluations` counts.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    if getattr(get_ipython(), "kernel", None) is None:
        return stg.explain(inputs, show_progress=True, **arguments)
    first = inputs if isinstance(inputs, Tensor) else inputs[0]
    in_parts = (arguments.get("internal_batch_size") or len(first)) < len(first)
    watched = Watch(view, pace, in_parts, examples=examples, names=names, classes=classes)
    shown = display({"text/plain": "Solving"}, raw=True, display_id=True)

    def follow(done: int, n_steps: int, so_far: Callable[[], Explanation]) -> None:
        new = watched.explorer is None
        if watched.follow(done, n_steps, so_far) and new:
            shown.update(watched.explorer)
        elif watched.explorer is None:
            shown.update({"text/plain": watched.text}, raw=True)

    try:
        explanation = watched.measured(stg.explain(inputs, on_step=follow, **arguments))
    except KeyboardInterrupt:  # interrupted before the first step, or while the result was read
        if watched.latest is None:
            raise
        explanation = replace(watched.latest, status=(Status.INTERRUPTED,) * len(watched.latest))
    shown.update(watched.finish(explanation))
    return explanation
