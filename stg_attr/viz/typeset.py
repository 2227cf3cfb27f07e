"""Typesetting: shaded words in lines, drawn by matplotlib.

Matplotlib cannot break a line of words that have different fonts and backgrounds: `offsetbox` packs boxes
without line breaks, and wrapped text has one font. So lines are broken here, from measured widths.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, ScaledTranslation, Transform

from .colours import KEPT, SCALE, transparent_colours
from .picture import Picture, figure_for, with_description
from .words import Word

if TYPE_CHECKING:
    from matplotlib.typing import ColorType  # since matplotlib 3.8

__all__ = ["typeset"]

_SIZE = 11.0  # points, as are all lengths here
_SMALLEST = 4.0  # letters do not shrink below this size to fit the caller's axes
_LEADING = 1.75  # line height over font size
_MARGIN = 8.0
_PAD = 1.5  # space after every word
_SMALL = 0.8  # size of muted words and evidence
_LONGEST = 40  # letters of a word with its punctuation; else a long run of punctuation could not be broken
_FONTS = (  # fonts with letters that DejaVu does not have, on different systems
    "Noto Sans CJK", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Source Han Sans", "WenQuanYi",
    "Hiragino Sans", "PingFang", "Yu Gothic", "Microsoft YaHei", "SimHei", "Malgun Gothic", "IPAGothic",
    "Droid Sans Fallback", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Hebrew",
)  # fmt: skip

Row = tuple[str, tuple[Word, ...], str, bool]  # name, words, claim, right to left


@dataclass(frozen=True)
class _PlacedWord:
    """A word with its place: left edge, base line and width."""

    word: Word
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class _Caption:
    """A line without shades: left edge, base line, and whether it is a name or evidence."""

    text: str
    x: float
    y: float
    is_name: bool


@dataclass(frozen=True)
class _Layout:
    """The place of every word and caption, and the height of all."""

    placed: list[_PlacedWord]
    captions: list[_Caption]
    height: float


def typeset(rows: Sequence[Row], ax: Axes | None, width: float, alt: str) -> Picture:
    """Draw rows of words; on the caller's axes the letters shrink until all fit.

    Args:
        rows: name, words, claim, and whether they run from right to left.
        ax: where to draw; a new figure by default.
        width: of a new figure, inches.
        alt: the picture in words.
    """
    if ax is None:
        size, width_of_lines = _SIZE, width * 72
        layout = _laid_out(rows, width_of_lines, size)
        tall = layout.height
        fig = Figure(figsize=(width, tall / 72))
        ax = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    else:
        fig, ax = figure_for(ax, (width, 1.0))
        width_of_lines, tall = _extent(ax)
        size, layout = _fitted(rows, width_of_lines, tall)
        tall = max(tall, layout.height)
    _draw(ax, layout, size, tall)
    return with_description(fig, ax, alt)


def _extent(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes, after matplotlib has laid out the figure."""
    ax.set_axis_off()
    whole = ax.figure.figure
    whole.draw_without_rendering()
    box = ax.get_window_extent()
    return box.width * 72 / whole.dpi, box.height * 72 / whole.dpi


def _fitted(rows: Sequence[Row], width_of_lines: float, tall: float) -> tuple[float, _Layout]:
    size = _SIZE
    layout = _laid_out(rows, width_of_lines, size)
    while layout.height > tall and size > _SMALLEST:
        size -= 0.5
        layout = _laid_out(rows, width_of_lines, size)
    return size, layout


def _laid_out(rows: Sequence[Row], width_of_lines: float, size: float) -> _Layout:
    placed: list[_PlacedWord] = []
    captions: list[_Caption] = []
    y = _MARGIN
    for name, words, claim, right_to_left in rows:
        if name:
            y += size * 1.3
            captions.append(_Caption(name, _MARGIN, y, True))
        for line in _lines(words, width_of_lines - 2 * _MARGIN, size):
            y += size * _LEADING
            placed += _placed_line(line, width_of_lines, y, size, right_to_left)
        for text in _wrapped(claim, width_of_lines - 2 * _MARGIN, size * _SMALL):
            y += size * 1.4
            captions.append(_Caption(text, _MARGIN, y, False))
        y += size * 1.2
    return _Layout(placed, captions, y + size * 1.2 + _MARGIN)


def _lines(words: Sequence[Word], width_of_lines: float, size: float) -> list[list[Word]]:
    """Lines of words that fit; no line begins with the punctuation that belongs to the word before."""
    lines: list[list[Word]] = [[]]
    used = 0.0
    for group in _with_punctuation(words):
        need = sum(_needed_width(word, size) for word in group)
        if lines[-1] and (group[0].broken or used + need > width_of_lines):
            lines.append([])
            used = 0.0
        lines[-1] += group
        used += need
    return lines


def _with_punctuation(words: Sequence[Word]) -> list[list[Word]]:
    """Groups of a word and the punctuation after it, between which no line is broken."""
    groups: list[list[Word]] = []
    for word in words:
        attached = not word.spaced and not word.broken and not word.text[:1].isalnum()
        if groups and attached and sum(len(w.text) for w in groups[-1]) < _LONGEST:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _placed_line(
    words: Sequence[Word], width_of_lines: float, y: float, size: float, right_to_left: bool
) -> list[_PlacedWord]:
    placed, used = [], 0.0
    for i, word in enumerate(words):
        used += _space(word, size) if i else 0.0
        width = _width(word.text, *_face(word, size))
        x = width_of_lines - _MARGIN - used - width if right_to_left else _MARGIN + used
        placed.append(_PlacedWord(word, x, y, width))
        used += width + _PAD
    return placed


def _wrapped(text: str, width_of_lines: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, size, False, False) <= width_of_lines:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _needed_width(word: Word, size: float) -> float:
    return _space(word, size) + _width(word.text, *_face(word, size)) + _PAD


def _space(word: Word, size: float) -> float:
    return 0.34 * size if word.spaced else 0.0


def _face(word: Word, size: float) -> tuple[float, bool, bool]:
    """Size, bold, italic."""
    return (size * _SMALL, False, True) if word.muted else (size, word.selected, False)


def _width(text: str, size: float, bold: bool, italic: bool) -> float:
    font = _font(size, bold, italic, _in_dejavu(text))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # drawing warns about letters that no font has; a second warning is not needed
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


@cache
def _font(size: float, bold: bool, italic: bool, plain: bool) -> FontProperties:
    """DejaVu Sans; if it lacks a letter also other fonts, and then not bold, because few of them are."""
    style: Literal["italic", "normal"] = "italic" if italic else "normal"
    if plain:
        weight = "bold" if bold else "normal"
        return FontProperties(family="DejaVu Sans", size=size, style=style, weight=weight)
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    more = sorted(name for name in installed if name.startswith(_FONTS))
    return FontProperties(family=["DejaVu Sans", *more], size=size)


def _in_dejavu(text: str) -> bool:
    """Whether DejaVu Sans has all its letters."""
    return all(ord(letter) in _dejavu_letters() for letter in text)


@cache
def _dejavu_letters() -> frozenset[int]:
    path = font_manager.findfont("DejaVu Sans")
    return frozenset(font_manager.get_font(path).get_charmap())


def _draw(ax: Axes, layout: _Layout, size: float, tall: float) -> None:
    """Draw all, in points from the upper left corner: if the axes move later, all words move together."""
    corner = ScaledTranslation(0.0, 1.0, ax.transAxes)  # type: ignore[arg-type]  # axes are affine
    points = Affine2D().scale(1 / 72, -1 / 72) + ax.figure.dpi_scale_trans + corner
    ax.set_axis_off()
    ax.set_autoscale_on(False)
    for one in layout.placed:
        _draw_word(ax, one, size, points)
    for caption in layout.captions:
        small = size if caption.is_name else size * _SMALL
        _write(ax, caption.x, caption.y, caption.text, (small, caption.is_name, False), points)
    _draw_scale(ax, size * _SMALL, tall - _MARGIN, points)


def _draw_word(ax: Axes, one: _PlacedWord, size: float, points: Transform) -> None:
    word, x, y = one.word, one.x - 1, one.y
    wide = one.width + 2
    if word.gated:
        shade = transparent_colours()(word.probability)
        ax.add_patch(_box(x, y - size, wide, 1.35 * size, shade, points))
    if word.selected:
        ax.add_patch(_box(x, y + 0.35 * size, wide, 0.16 * size, KEPT, points))
    _write(ax, one.x, y, word.text, _face(word, size), points, alpha=0.75 if word.faint else 1.0)


def _draw_scale(ax: Axes, size: float, y: float, points: Transform) -> None:
    """Draw the colour bar at the bottom."""
    face = (size, False, False)
    start = _MARGIN + _width("active probability 0", *face) + size / 2
    edges = np.linspace(start, start + 7 * size, 65)
    _write(ax, _MARGIN, y, "active probability 0", face, points)
    steps = np.linspace(0.0, 1.0, 64)[None]
    heights = [y + 0.1 * size, y - 0.8 * size]
    ax.pcolormesh(edges, heights, steps, cmap=transparent_colours(), norm=SCALE, transform=points)
    frame = _box(start, y - 0.8 * size, 7 * size, 0.9 * size, "none", points)
    frame.set(edgecolor=KEPT, linewidth=0.6)
    ax.add_patch(frame)
    _write(ax, edges[-1] + size / 2, y, "1, underlined: selected", face, points)


def _box(x: float, y: float, width: float, height: float, colour: ColorType, points: Transform) -> Rectangle:
    return Rectangle((x, y), width, height, facecolor=colour, linewidth=0, transform=points)


def _write(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    face: tuple[float, bool, bool],
    points: Transform,
    alpha: float = 1.0,
) -> None:
    font = _font(*face, _in_dejavu(text))
    ax.text(x, y, text, fontproperties=font, alpha=alpha, parse_math=False, transform=points)
