"""Dark pages: the same figure with light ink on a transparent ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.spines import Spine
from matplotlib.text import Text

from .colours import dark_value_colours, value_colours

__all__ = ["on_dark"]

_GREY = 0.02  # largest difference of the channels of a grey
_LIGHT, _DARK = 0.91, 0.07  # what black and white become
_COLOURS: tuple[tuple[type[Artist], tuple[str, ...]], ...] = (
    (Text, ("color",)),
    (Line2D, ("color", "markerfacecolor", "markeredgecolor")),
    (Patch, ("facecolor", "edgecolor")),
    (Collection, ("facecolor", "edgecolor")),
)


@contextmanager
def on_dark(fig: Figure) -> Iterator[None]:
    """Draw a figure for dark pages inside of this context: greys are reversed, all other colours stay.

    What is drawn on an image keeps its colours; the titles and ticks around it do not.
    """
    undo: list[Callable[[], Any]] = []
    artists = _inked(fig)
    try:
        for artist in artists:
            _reverse(artist, undo)
        yield
    finally:
        for step in reversed(undo):
            step()
        known = set(map(id, artists))
        for artist in _inked(fig):
            if id(artist) not in known:  # a tick that was made while drawing, as a copy of a light one
                _reverse(artist, [], back=True)


def _inked(fig: FigureBase) -> list[Artist]:
    """The artists whose ink is reversed, each once."""
    return list({id(artist): artist for artist in _inked_figure(fig)}.values())


def _inked_figure(fig: FigureBase) -> Iterator[Artist]:
    for child in fig.get_children():
        if isinstance(child, Axes):
            yield from _inked_axes(child)
        elif isinstance(child, FigureBase):
            yield from _inked_figure(child)
        elif child is not getattr(fig, "patch", None):
            yield from child.findobj()


def _inked_axes(ax: Axes) -> Iterator[Artist]:
    on_image = bool(ax.get_images())
    for child in ax.get_children():
        if isinstance(child, Axes):  # a colour bar inside the axes
            yield from _inked_axes(child)
        elif child is not ax.patch and (not on_image or _is_around(ax, child)):
            yield from child.findobj()
            if isinstance(child, Axis):  # it keeps ticks that it does not need now
                for tick in (*child.majorTicks, *child.minorTicks):
                    yield from tick.findobj()


def _is_around(ax: Axes, child: Artist) -> bool:
    """Whether it stands beside what the axes hold: ticks, titles, and text outside of the frame."""
    if isinstance(child, Text):
        x, y = child.get_position()
        return child.get_transform() != ax.transData and not (0 < x < 1 and 0 < y < 1)
    return isinstance(child, (Axis, Spine))


def _reverse(artist: Artist, undo: list[Callable[[], Any]], back: bool = False) -> None:
    """Reverse the greys of one artist, or put them back, and note how to undo it."""
    mapped = isinstance(artist, Collection) and artist.get_array() is not None
    if mapped and artist.get_cmap().name == value_colours().name:  # type: ignore[attr-defined]  # a collection
        old = artist.get_cmap()  # type: ignore[attr-defined]
        artist.set_cmap(dark_value_colours())  # type: ignore[attr-defined]
        undo.append(lambda: artist.set_cmap(old))  # type: ignore[attr-defined]
    names = [name for kind, names in _COLOURS if isinstance(artist, kind) and not mapped for name in names]
    # all are read before any is changed, because some are made of others
    for name, old in [(name, getattr(artist, f"get_{name}")()) for name in names]:
        _reverse_one(artist, name, old, undo, back)


def _reverse_one(artist: Artist, name: str, old: Any, undo: list[Callable[[], Any]], back: bool) -> None:
    if isinstance(old, str) and old in ("none", "auto"):
        return
    before = to_rgba_array(old)
    # what is transparent stays so: matplotlib gives a new colour the opacity of its artist
    grey = (np.ptp(before[:, :3], axis=1) <= _GREY) & (before[:, 3] > 0)
    if not grey.any():
        return
    after = before.copy()
    greys, span = before[grey, :3], _DARK - _LIGHT
    after[grey, :3] = ((greys - _LIGHT) / span).clip(0, 1) if back else _LIGHT + span * greys
    change = getattr(artist, f"set_{name}")
    change(after if isinstance(artist, Collection) else tuple(after[0]))
    undo.append(lambda: change(old))
