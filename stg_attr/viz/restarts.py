"""Restarts: how often each feature is selected when the solve is repeated, with confidence intervals."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from stg_attr.attribution import Explanation, Restarts
from stg_attr.errors import ArgumentError

from .colours import NEUTRAL
from .features import Names, best, feature_names, rows_of
from .picture import Picture, evidence_title, figure_for, with_description
from .source import as_array, checked_explanation, percent
from .tabular import draw_bars

__all__ = ["frequency"]


def frequency(
    explanation: Explanation,
    example: int = 0,
    *,
    names: Names | None = None,
    top: int = 10,
    ax: Axes | None = None,
) -> Picture:
    """Share of the restarts that selected each feature, with its 95 % interval (Wilson's).

    Features that the explanation reports are filled, the others hollow.

    Args:
        explanation: of `explain(..., n_restarts=...)`.
        example: its place in the batch.
        names: of the features, or of the input's elements, as for `bars`.
        top: how many to draw.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: not an explanation, no restarts, no such example, or counts that do not match.
    """
    explanation = checked_explanation(explanation, "explanation")
    restarts = _restarts_of(explanation)
    (row,) = rows_of(explanation, [example])
    there = explanation.feature_ids[example] >= 0
    often = as_array(restarts.frequency[example][there])
    low, high = (as_array(end[example][there]) for end in restarts.interval())
    chosen = best(often, row.rank, top)
    labels = [feature_names(names, row)[i] for i in chosen]
    fig, drawn = figure_for(ax, (6.4, 1.3 + 0.32 * len(chosen)))
    draw_bars(drawn, often[chosen], row.selected[chosen], labels, high[chosen])
    reach = np.stack([often - low, high - often]).clip(0.0)[:, chosen]
    drawn.errorbar(
        often[chosen],
        np.arange(len(chosen)),
        xerr=reach,
        fmt="none",
        ecolor=NEUTRAL,
        capsize=3,
        linewidth=1.2,
    )
    drawn.set_xlabel("selected by this share of the restarts, and its 95 % interval")
    claim = (
        f"{len(restarts)} restarts; two of them share {percent(float(restarts.agreement[example]))} "
        "of what they select"
    )
    evidence_title(drawn, claim, inside=ax is not None)
    shown = ", ".join(
        f"{label} {often[i]:.2f} ({low[i]:.2f} to {high[i]:.2f})"
        for label, i in zip(labels, chosen, strict=True)
    )
    return with_description(fig, drawn, f"Selection frequencies: {shown}. {claim}.")


def _restarts_of(explanation: Explanation) -> Restarts:
    if explanation.restarts is None:
        raise ArgumentError(
            "explanation",
            expected="one with restarts",
            found="a single solve, or one that was read again",
            mend="Call explain(..., n_restarts=16), say, and draw what it returns.",
        )
    return explanation.restarts
