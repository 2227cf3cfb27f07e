"""Curves: the scores of one example against the number of features, and the loss of its solve."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stg_attr.attribution import Explanation, Status
from stg_attr.errors import ArgumentError, check_share
from stg_attr.objective import retained_share

from .colours import KEPT, NEUTRAL, REMOVED
from .picture import Picture, evidence_title, figure_for, with_description
from .source import Array, as_array, checked_explanation, checked_position, evidence_line

__all__ = ["curve", "trace"]

_LINEAR = 24  # up to this many features the axis is linear; for more it is logarithmic from 1 on
_COMPARED = 2 / 3  # where the trace is marked: a solve has converged if its selection did not change after it


def curve(explanation: Explanation, example: int = 0, *, ax: Axes | None = None) -> Picture:
    """The budget curve: retained score of the best k features alone, and of all other features.

    A line marks the selection. If baseline and input have the same score, the retained score is not defined,
    and the scores themselves are drawn.

    Args:
        explanation: with a measured curve.
        example: its place in the batch.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: not an explanation, no such example, or no curve was measured.
    """
    explanation = checked_explanation(explanation, "explanation")
    example = checked_position("example", example, len(explanation))
    counts, kept, removed, retained = _curves(explanation, example)
    fig, drawn = figure_for(ax, (6.0, 3.8))
    drawn.plot(counts, kept, color=KEPT, marker="o", markersize=4, label="kept")
    drawn.plot(counts, removed, color=REMOVED, marker="s", markersize=4, linestyle="--", label="removed")
    _mark_selection(drawn, int(explanation.n_selected[example]))
    _budget_axes(drawn, int((explanation.feature_ids[example] >= 0).sum()), retained)
    claim = evidence_line(explanation, example)
    evidence_title(drawn, claim, inside=ax is not None)
    return with_description(fig, drawn, f"Budget curve: {claim}.")


def trace(
    explanation: Explanation, example: int = 0, *, smoothing: float = 0.1, ax: Axes | None = None
) -> Picture:
    """The loss of every step of the solve, its moving mean, and the status of the example.

    Args:
        explanation: what was solved.
        example: its place in the batch.
        smoothing: the moving mean is taken over this share of the steps on each side, in [0, 1].
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: not an explanation, no such example, or no such share.
    """
    explanation = checked_explanation(explanation, "explanation")
    example = checked_position("example", example, len(explanation))
    check_share("smoothing", smoothing, zero=True, mend="0.1 averages over a fifth of the steps.")
    loss = as_array(explanation.loss_trace[:, example])
    status = explanation.status[example].value
    fig, drawn = figure_for(ax, (6.0, 3.4))
    steps = np.arange(1, len(loss) + 1)
    drawn.plot(steps, loss, color=NEUTRAL, linewidth=0.8, marker=".", markersize=3, label="loss")
    drawn.plot(steps, _moving_mean(loss, smoothing), color=KEPT, linewidth=2, label="moving mean")
    if explanation.status[example] in (Status.CONVERGED, Status.NOT_CONVERGED):
        drawn.axvline(_COMPARED * len(loss), color=NEUTRAL, linestyle=":", label="two thirds")
    drawn.set(xlabel="step", ylabel="loss")
    drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawn.legend(fontsize="small")
    evidence_title(drawn, status, inside=ax is not None)
    return with_description(fig, drawn, f"Loss over {len(loss)} steps. {status}")


def _curves(explanation: Explanation, example: int) -> tuple[Array, Array, Array, bool]:
    """Counts, kept and removed, and whether these are retained shares; one point for each count."""
    measured = explanation.curve
    if measured.n_open.shape[1] == 0:
        raise ArgumentError(
            "curve",
            expected="measured points",
            found="none",
            mend="Draw what explain returns; attribute measures no curve.",
        )
    counts, first = np.unique(as_array(measured.n_open[example]), return_index=True)
    kept, removed = measured.kept[example], measured.removed[example]
    full, baseline = explanation.scores.full[example], explanation.scores.baseline[example]
    has_share = explanation.status[example].tells_shares and bool(full != baseline)
    if has_share:
        kept, removed = (retained_share(scores, full, baseline) for scores in (kept, removed))
    return counts, as_array(kept)[first], as_array(removed)[first], has_share


def _mark_selection(ax: Axes, count: int) -> None:
    ax.axvline(count, color=NEUTRAL, linestyle=":", zorder=0, label=f"selected: {count}")


def _budget_axes(ax: Axes, n_gates: int, retained: bool) -> None:
    if n_gates > _LINEAR:
        ax.set_xscale("symlog", linthresh=1.0)
        ticks = [0, *(m * 10**e for e in range(len(str(n_gates))) for m in (1, 2, 5) if m * 10**e < n_gates)]
        ax.set_xticks(_spread([*ticks, n_gates]), minor=False)
        ax.set_xticks([], minor=True)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(-0.05 * min(n_gates, 3), n_gates * (1.1 if n_gates > _LINEAR else 1.03))
    ax.set_xlabel(f"number of features, of {n_gates}")
    ax.set_ylabel("retained score" if retained else "score")
    if retained:
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, -0.05), max(high, 1.05))
        for share in (0.0, 1.0):
            ax.axhline(share, color=NEUTRAL, linewidth=0.6, zorder=0)
    ax.legend(fontsize="small")


def _spread(ticks: list[int]) -> list[int]:
    """The ticks without the last but one if its label would touch the last one."""
    return ticks if len(ticks) < 3 or ticks[-1] >= 1.6 * ticks[-2] else [*ticks[:-2], ticks[-1]]


def _moving_mean(values: Array, smoothing: float) -> Array:
    """Mean of the finite values in a window around each step; NaN if the window has none."""
    if len(values) == 0:
        return values
    width = max(1, round(smoothing * len(values)))
    window = np.ones(2 * width + 1)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), window)[width : width + len(values)]
    weight = np.convolve(finite.astype(float), window)[width : width + len(values)]
    smooth: Array = np.where(weight > 0, total / np.maximum(weight, 1.0), np.nan)
    return smooth
