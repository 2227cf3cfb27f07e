"""HTML: the picture that fits an explanation, and its evidence, as a notebook shows them."""

from __future__ import annotations

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError, check_count

from .image import heatmap
from .markup import render
from .panels import panel
from .passages import Text, text
from .picture import Picture
from .pixels import channel_axis
from .source import checked_explanation, checked_position
from .tabular import bars
from .timeline import series

__all__ = ["draws_image", "draws_series", "html", "is_image"]

_CHANNELS = (1, 3, 4)
_SMALLEST = 4  # inputs with fewer pixels on a side are not drawn as images


def html(explanation: Explanation, example: int = 0, *, listed: int = 8) -> str:
    """The picture that fits the inputs of one example, above the evidence of the first examples.

    Strings are drawn with `text`, images with `panel`, those whose channels are no colours with `heatmap`,
    [channels, time] with `series`, and all else with `bars`. Embedded words, [positions, width] with one gate
    per position, are bars where the explanation does not hold their tokens; `text` draws them with the tokens
    that it is given. The HTML needs no script, no style sheet and no network, and untrusted notebooks show
    all of it.

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


def _fitting(explanation: Explanation, example: int) -> Picture | Text:
    """The picture for the shape of the inputs; bars, which can always be drawn, for all else."""
    if explanation.tokens is not None:
        return text(explanation, examples=[example])
    if draws_image(explanation):
        try:
            return panel(explanation, example)
        except ArgumentError:  # some pixels are not finite, so that they have no colour
            return bars(explanation, example)
    if _draws_map(explanation):
        return heatmap(explanation, example)
    return series(explanation, example) if draws_series(explanation) else bars(explanation, example)


def draws_image(explanation: Explanation) -> bool:
    """Whether the input, a single one, has the shape of an image, and gates that differ along its width."""
    shape = tuple(explanation.inputs[0].shape[1:])
    is_plane = len(shape) == 3 or not _shares_width(explanation)
    return len(explanation.inputs) == 1 and is_image(shape) and is_plane


def _draws_map(explanation: Explanation) -> bool:
    """Whether the input, a single one, has channels that are no colours, and gates that vary in its plane."""
    shape = tuple(explanation.inputs[0].shape[1:])
    if len(explanation.inputs) > 1 or len(shape) != 3:
        return False
    mask, plane = explanation.feature_mask[0], {0, 1, 2} - {channel_axis(shape)}
    varies = (bool((mask != mask.narrow(1 + dim, 0, 1)).any()) for dim in plane)
    return min(shape[dim] for dim in plane) >= _SMALLEST and all(varies)


def draws_series(explanation: Explanation) -> bool:
    """Whether the input, a single one, is [channels, time], with gates that differ along the time."""
    shape = tuple(explanation.inputs[0].shape[1:])
    is_long = len(shape) == 2 and shape[0] <= shape[1]
    return len(explanation.inputs) == 1 and is_long and not _shares_width(explanation)


def _shares_width(explanation: Explanation) -> bool:
    """Whether the gates of [positions, width] are those of several positions, as those of embedded words."""
    mask = explanation.feature_mask[0]
    return mask.dim() == 3 and mask.shape[1] > 1 and bool((mask == mask[..., :1]).all())


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether it can be [channels, height, width], [height, width, channels], or a square [height, width]."""
    if len(shape) == 2:
        return shape[0] == shape[1] >= _SMALLEST
    if len(shape) != 3:
        return False
    sides = shape[1:] if shape[0] in _CHANNELS else shape[:2] if shape[2] in _CHANNELS else (0,)
    return min(sides) >= _SMALLEST
