"""Tables: which features of one row are needed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.explanation import rounded

from .colours import KEPT
from .features import Features, Names, Values, feature_names, feature_values, rows_of, with_contributions
from .picture import Picture, evidence_title, figure_for, footnote, label_rows, with_description
from .signed import Shares, draw_shares, draw_steps
from .source import Array, Source, checked_explanation, evidence_line, verdict

__all__ = ["bars", "waterfall"]


def bars(
    source: Source,
    example: int = 0,
    *,
    names: Names | None = None,
    values: Values | None = None,
    top: int = 10,
    inputs: Tensor | NDArray[np.generic] | None = None,
    ax: Axes | None = None,
) -> Picture:
    """What each feature of one row adds to the score, in its units; the needed ones are solid and bold.

    Bars to the right raise the score, bars to the left lower it. They add up to the score of the row less
    that of the baseline; what is not drawn is summed in the last row. If the status of the explanation is
    doubtful, the bars are grey and hatched. Without measured contributions, and of plain attributions,
    active probabilities are drawn; selected features are then filled, the others hollow.

    Args:
        source: an explanation, or attributions, [batch, features] or [features].
        example: its place in the batch.
        names: of the features, or of the input's elements, which name their group together; of a DataFrame
            the columns are taken. Those of the explanation by default.
        values: of the features, to write beside the names; the input's own by default.
        top: how many to draw; needed features come before others.
        inputs: the rows, in the shape of the attributions; only with plain attributions.
        ax: where to draw; a new figure by default.

    Raises:
        ArgumentError: counts do not match, or the attributions are no probabilities.

    Example:
        >>> import torch
        >>> from stg_attr import viz
        >>> fig, ax = viz.bars(torch.tensor([0.1, 0.9]), names=["width", "height"], values=[3.0, 4.0])
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['height = 4', 'width = 3']
    """
    (row,) = rows_of(source, [example], inputs)
    if isinstance(source, Explanation) and row.contributions is not None:
        shares = _shares(source, example, row, names, values, top)
        fig, drawn = figure_for(ax, (6.8, 1.9 + 0.32 * len(shares.labels)))
        draw_shares(drawn, shares)
        return _with_evidence(
            fig, drawn, source, example, "Contributions to the score", shares, ax is not None
        )
    chosen = row.best(top)
    labels = _labels(chosen, feature_names(names, row), feature_values(values, row))
    fig, drawn = figure_for(ax, (6.4, 1.3 + 0.32 * len(chosen)))
    draw_bars(drawn, row.probabilities[chosen], row.selected[chosen], labels, row.probabilities[chosen])
    drawn.set_xlabel("active probability")
    claim = evidence_line(source, example) if isinstance(source, Explanation) else ""
    evidence_title(drawn, claim, inside=ax is not None)
    shown = ", ".join(f"{label} {p:.2f}" for label, p in zip(labels, row.probabilities[chosen], strict=True))
    return with_description(fig, drawn, f"Bars of active probability: {shown}. {claim}".strip())


def waterfall(
    explanation: Explanation,
    example: int = 0,
    *,
    names: Names | None = None,
    values: Values | None = None,
    top: int = 10,
    ax: Axes | None = None,
) -> Picture:
    """From the score of the baseline, at the bottom, to that of one row, at the top, feature by feature.

    Takes the arguments of `bars`, and marks needed features and doubtful explanations in the same way.

    Raises:
        ArgumentError: not an explanation, counts do not match, or contributions were not measured.
    """
    explanation = checked_explanation(explanation, "explanation")
    (row,) = with_contributions(rows_of(explanation, [example]))
    shares = _shares(explanation, example, row, names, values, top)
    fig, drawn = figure_for(ax, (6.8, 2.1 + 0.36 * len(shares.labels)))
    draw_steps(drawn, shares)
    return _with_evidence(
        fig, drawn, explanation, example, "Steps from the baseline's score", shares, ax is not None
    )


def _shares(
    explanation: Explanation,
    example: int,
    row: Features,
    names: Names | None,
    values: Values | None,
    top: int,
) -> Shares:
    chosen = row.largest(top)
    labels = _labels(chosen, feature_names(names, row), feature_values(values, row))
    return Shares.of(explanation, example, row, chosen, labels)


def _with_evidence(
    fig: Figure, ax: Axes, explanation: Explanation, example: int, kind: str, shares: Shares, inside: bool
) -> Picture:
    """The claim above the picture, the scores on its axis, certificate and status below it."""
    claim = evidence_line(explanation, example)
    evidence_title(ax, claim, inside=inside)
    one, other = rounded((shares.baseline, shares.full), shares.full - shares.baseline)
    # to the right, where long names have left it little room
    said = f"contribution to the score: baseline {one}, {shares.whose} {other} (solid: needed)"
    ax.set_xlabel(said, loc="right")
    footnote(ax, verdict(explanation, example), inside=inside)
    return with_description(fig, ax, f"{kind}: {shares.words}. {claim}. {verdict(explanation, example)}")


def draw_bars(ax: Axes, lengths: Array, filled: NDArray[np.bool_], labels: list[str], ends: Array) -> None:
    """Draw horizontal bars on the scale from 0 to 1, the first at the top; numbers stand behind `ends`."""
    places = np.arange(len(lengths))
    faces = [KEPT if full else "none" for full in filled]
    ax.barh(places, lengths, color=faces, edgecolor=KEPT, height=0.7)
    for place, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        ax.text(end + 0.01, place, f"{length:.2f}", va="center", fontsize="small")
    label_rows(ax, places, labels)
    ax.set_ylim(len(lengths) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.12)  # room for the numbers; the scale itself ends at 1
    ax.xaxis.set_major_locator(MultipleLocator(0.25))
    ax.spines[["top", "right"]].set_visible(False)


def _labels(chosen: list[int], names: list[str], values: list[str]) -> list[str]:
    return [f"{names[i]} = {values[i]}" if values[i] else names[i] for i in chosen]
