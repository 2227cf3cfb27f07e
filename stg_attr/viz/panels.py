"""Panels: several pictures of an image side by side, with the measured scores in their titles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .colours import SCALE, heat_colours
from .image import Pixels, draw_heat, draw_image, draw_kept, draw_outline, draw_removed, not_none
from .picture import Picture, figure_with_axes, mark_doubt, with_description
from .pixels import ColourScale, Numbers, as_map
from .source import (
    Example,
    Source,
    checked_explanation,
    evidence_line,
    percent,
    read_example,
    replace_invisible,
)

__all__ = ["grid", "panel", "strip"]

_DIMS = (2, 3)
_TITLES = ("original", "baseline", "kept", "removed", "active probability")
_LETTERS = 14  # letters of a small font in an inch
_BUDGETS = (0.01, 0.03, 0.1, 0.3, 1.0)


def panel(
    source: Source,
    example: int = 0,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    baselines: Pixels | float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    title: str | None = None,
) -> Picture:
    """The image with its selection outlined, the baseline, what is kept, what is removed, and the heat map.

    The titles give the model's score of each of the four images. What is read from an explanation with a
    doubtful status is hatched.

    Args:
        source: an explanation, or attributions, [batch, channels, height, width], [channels, height, width],
            [height, width, channels] or [height, width].
        example: its place in the batch.
        which: the input to draw, where an explanation has several.
        inputs: the image, in the shape of the attributions; only with plain attributions.
        baselines: what hidden pixels show, 0 by default; only with plain attributions.
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.
        title: above the whole; the evidence by default.

    Returns:
        The figure and its five axes, [5].

    Raises:
        ArgumentError: the example cannot be shown as an image, or its attributions are no probabilities.
    """
    one = read_example(source, example, dims=_DIMS, which=which, inputs=inputs, baselines=baselines)
    scale = ColourScale.of(one, mean, std)
    fig, axes = figure_with_axes(1, 5, (13.0, _height(one, 2.35) + 0.9))
    _draw_all(axes[0], one, scale)
    for ax, text in zip(axes[0], _titles(one), strict=True):
        ax.set_title(text, fontsize="medium")
    _shared_bar(axes[0, 4:])
    evidence = "" if one.explanation is None else evidence_line(one.explanation, one.number)
    fig.suptitle(evidence if title is None else replace_invisible(title))
    return with_description(
        fig,
        axes[0],
        f"Original, baseline, kept and removed pixels, and active probabilities. {evidence}".strip(),
    )


def grid(
    source: Source,
    examples: Sequence[int] | None = None,
    *,
    which: int = 0,
    inputs: Pixels | None = None,
    baselines: Pixels | float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """The panels of several examples, one row each.

    Takes the arguments of `panel`, but `examples`, their places in the batch (by default the first eight),
    instead of `example`; and `names`, what to write beside each row.

    Returns:
        The figure and its axes, [examples, 5].
    """
    chosen = _first_eight(source) if examples is None else list(examples)
    if not chosen:
        raise ArgumentError("examples", expected="at least one", found="none", mend="For example [0, 1].")
    labels = _row_names(names, chosen)
    ones = [
        read_example(source, i, dims=_DIMS, which=which, inputs=inputs, baselines=baselines) for i in chosen
    ]
    fig, axes = figure_with_axes(len(ones), 5, (9.8, sum(_height(one, 1.7) + 0.35 for one in ones) + 0.3))
    for row, one, label in zip(axes, ones, labels, strict=True):
        _draw_all(row, one, ColourScale.of(one, mean, std))
        _title_row(row, one)
        _beside(row[0], label, _height(one, 1.7))
    _shared_bar(axes[:, 4])
    claims = [evidence_line(one.explanation, one.number) for one in ones if one.explanation is not None]
    return with_description(
        fig,
        axes,
        "; ".join([f"{len(ones)} images, original, baseline, kept, removed, heat map", *claims]) + ".",
    )


def strip(
    explanation: Explanation,
    example: int = 0,
    *,
    budgets: Sequence[float] = _BUDGETS,
    which: int = 0,
    mean: Numbers | None = None,
    std: Numbers | None = None,
) -> Picture:
    """The kept pixels at several budgets of the same solve, with the share of the score that they retain.

    Args:
        explanation: with a measured curve.
        example: its place in the batch.
        budgets: the largest shares of features to keep, each in [0, 1].
        which: the input to draw, where the explanation has several.
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.

    Returns:
        The figure and its axes, [budgets].

    Raises:
        ArgumentError: not an explanation, no budgets, or a budget outside [0, 1].
    """
    if not len(budgets):
        raise ArgumentError("budgets", expected="at least one", found="none", mend="For example [0.1, 0.5].")
    readings = [checked_explanation(explanation, "explanation").at(budget=budget) for budget in budgets]
    ones = [read_example(reading, example, dims=_DIMS, which=which) for reading in readings]
    fig, axes = figure_with_axes(1, len(ones), (2.0 * len(ones) + 0.4, _height(ones[0], 1.9) + 0.8))
    for ax, budget, reading, one in zip(axes[0], budgets, readings, ones, strict=True):
        draw_kept(ax, one, ColourScale.of(one, mean, std))
        mark_doubt(ax, one.doubtful)
        ax.set_title(_budget_title(budget, reading, one.number), fontsize="small")
    claims = [evidence_line(reading, one.number) for reading, one in zip(readings, ones, strict=True)]
    return with_description(fig, axes[0], f"Kept pixels at {len(ones)} budgets: {'; '.join(claims)}.")


def _first_eight(source: Source) -> list[int]:
    batched = isinstance(source, Explanation) or source.ndim > max(_DIMS)
    return list(range(min(len(source), 8) if batched else 1))


def _draw_all(axes: NDArray[np.object_], one: Example, scale: ColourScale) -> None:
    draw_image(axes[0], scale.colours(not_none(one.shown)))
    draw_outline(axes[0], one)
    draw_image(axes[1], scale.colours(not_none(one.baseline)))
    draw_kept(axes[2], one, scale)
    draw_removed(axes[3], one, scale)
    draw_heat(axes[4], one)
    for ax in axes[2:]:
        mark_doubt(ax, one.doubtful)


def _titles(one: Example) -> list[str]:
    if one.explanation is None:
        return list(_TITLES)
    scores, i = one.explanation.scores, one.number
    count = f"{int(one.explanation.n_selected[i])} of {int((one.explanation.feature_ids[i] >= 0).sum())}"
    return [
        f"original\nscore {float(scores.full[i]):.3g}",
        f"baseline\nscore {float(scores.baseline[i]):.3g}",
        f"kept: {count} features\nscore {float(scores.kept[i]):.3g}",
        f"removed\nscore {float(scores.removed[i]):.3g}",
        "active probability\n",
    ]


def _title_row(axes: NDArray[np.object_], one: Example) -> None:
    titles = list(_TITLES)
    if one.explanation is not None:
        scores, i = one.explanation.scores, one.number
        for k, score in enumerate((scores.full, scores.baseline, scores.kept, scores.removed)):
            titles[k] += f" {float(score[i]):.3g}"
    for ax, text in zip(axes, titles, strict=True):
        ax.set_title(text, fontsize="small")


def _budget_title(budget: float, reading: Explanation, example: int) -> str:
    n = int(reading.n_selected[example])
    share = f" ({percent(float(reading.retained[example]))})" if reading.status[example].tells_shares else ""
    return f"budget {budget:.3g}: {n} open\nscore {float(reading.scores.kept[example]):.3g}{share}"


def _row_names(names: Sequence[str] | None, chosen: list[int]) -> list[str]:
    if names is None:
        return [f"example {i}" for i in chosen]
    if len(names) != len(chosen):
        raise ArgumentError(
            "names",
            expected=f"one for each of the {len(chosen)} examples",
            found=str(len(names)),
            mend="Name the rows in the order in which they are drawn.",
        )
    return [replace_invisible(str(name)) for name in names]


def _beside(ax: Axes, text: str, height: float) -> None:
    """Write a name beside a row, in lines that are no longer than the row is high (inches)."""
    letters = max(int(_LETTERS * height), 4)
    ax.text(
        -0.06,
        0.5,
        "\n".join(textwrap.wrap(text, letters, max_lines=3, placeholder="\u2026")),
        transform=ax.transAxes,
        rotation=90,
        parse_math=False,
        ha="right",
        va="center",
        fontsize="small",
    )


def _shared_bar(axes: NDArray[np.object_]) -> None:
    fig = axes[0].figure
    fig.colorbar(ScalarMappable(SCALE, heat_colours()), ax=list(axes), shrink=0.85)


def _height(one: Example, width: float) -> float:
    height, across = as_map(one.columns).shape
    return float(min(max(width * height / across, 0.6), 3 * width))
