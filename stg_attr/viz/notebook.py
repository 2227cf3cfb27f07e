"""HTML: the picture that fits an explanation, and its evidence, as a notebook shows them."""

from __future__ import annotations

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError, check_count

from .markup import render
from .panels import panel
from .picture import Picture
from .source import checked_explanation, checked_position
from .tabular import bars
from .timeline import series

__all__ = ["html", "is_image"]

_CHANNELS = (1, 3, 4)
_SMALLEST = 4  # inputs with fewer pixels on a side are not drawn as images


def html(explanation: Explanation, example: int = 0, *, listed: int = 8) -> str:
    """The picture that fits the inputs of one example, above the evidence of the first examples.

    Images are drawn with `panel`, [channels, time] with `series`, and all else with `bars`. The HTML needs no
    script, no style sheet and no network, and untrusted notebooks show all of it.

    Args:
        explanation: what to show.
        example: the one to draw.
        listed: the largest number of examples whose evidence is written out.

    Raises:
        ArgumentError: not an explanation, no such example, or no positive number.
    """
    explanation = checked_explanation(explanation, "explanation")
    check_count("listed", listed, mend="It is a number of examples.")
    if len(explanation) == 0:
        return "<p>Explanation of no examples</p>"
    example = checked_position("example", example, len(explanation))
    chosen = [example, *(i for i in range(len(explanation)) if i != example)][:listed]
    return render(
        "viz/templates/explanation.html",
        picture=_fitting(explanation, example).markup(),
        evidence=[(i, explanation.describe(i)) for i in chosen],
        more=len(explanation) - len(chosen),
    )


def _fitting(explanation: Explanation, example: int) -> Picture:
    """The picture for the shape of the inputs; bars, which can always be drawn, for all else."""
    shape = tuple(explanation.inputs[0].shape[1:])
    if len(explanation.inputs) == 1 and is_image(shape):
        try:
            return panel(explanation, example)
        except ArgumentError:  # some pixels are not finite
            return bars(explanation, example)
    if len(explanation.inputs) == 1 and len(shape) == 2 and shape[0] <= shape[1]:
        return series(explanation, example)
    return bars(explanation, example)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether it can be [channels, height, width], [height, width, channels], or a square [height, width]."""
    if len(shape) == 2:
        return shape[0] == shape[1] >= _SMALLEST
    if len(shape) != 3:
        return False
    sides = shape[1:] if shape[0] in _CHANNELS else shape[:2] if shape[2] in _CHANNELS else (0,)
    return min(sides) >= _SMALLEST
