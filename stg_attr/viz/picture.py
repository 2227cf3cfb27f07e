"""A picture: a matplotlib figure with its axes and a description in words, and ways to save it."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stg_attr.errors import ArgumentError

from .colours import SCALE
from .dark import on_dark
from .markup import render

__all__ = [
    "Picture",
    "colour_bar",
    "evidence_title",
    "figure_for",
    "figure_with_axes",
    "footnote",
    "label_rows",
    "mark_doubt",
    "page",
    "with_description",
]

_DPI = 110
_QUALITY = 90  # of 100, in WebP
_QUIET = "#4d4d4d"
_LETTER = 0.54  # mean width of a letter, as a share of the font size


class Picture(NamedTuple):
    """What every drawing function returns: the pair `(fig, ax)`, which a notebook shows as an image.

    `pyplot` is not used, so no window opens and no global setting changes.

    Attributes:
        fig: the figure; the outermost one if `ax` is in a subfigure.
        ax: its axes, or an array of them where the picture has several.

    Example:
        >>> import torch
        >>> from stg_attr import viz
        >>> fig, ax = viz.heatmap(torch.tensor([[0.0, 1.0], [0.2, 0.9]]))
        >>> ax.get_images()[0].get_clim()
        (0.0, 1.0)
    """

    fig: Figure
    ax: Axes | NDArray[np.object_]

    @property
    def alt(self) -> str:
        """What the picture shows, in words, for readers who do not see it."""
        labelled = self.ax if isinstance(self.ax, Axes) else self.fig
        return str(labelled.get_label())

    def save(self, path: str | PathLike[str], *, dpi: float = _DPI, dark: bool = False) -> None:
        """Write an image file of the kind that the name ends in. PNG, SVG and PDF hold the description too.

        Args:
            path: where to write.
            dpi: dots per inch, for images of pixels.
            dark: for dark pages: light ink on a transparent ground.
        """
        kind = Path(path).suffix.lower()
        words = {
            ".png": {"Description": self.alt, "Software": None},
            ".svg": {"Description": self.alt, "Date": None},
            ".pdf": {"Subject": self.alt, "CreationDate": None},
        }
        with on_dark(self.fig) if dark else nullcontext():
            self.fig.savefig(path, dpi=dpi, metadata=words.get(kind), transparent=dark)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a whole page that holds the image and its description, and needs no network."""
        Path(path).write_text(page(self.markup(), title=self.alt), encoding="utf-8")

    def markup(self, *, follows_theme: bool = True) -> str:
        """The picture as HTML: an image that holds its own data, with its description.

        Args:
            follows_theme: add the picture for dark pages, which JupyterLab, VS Code, this package's pages and
                Sphinx show where they are dark.
        """
        dark = self._data(dark=True) if follows_theme else ""
        return render("viz/templates/image.html", alt=self.alt, data=self._data(), dark=dark)

    def _data(self, *, dark: bool = False) -> str:
        """An image file in base64: PNG, and for dark pages WebP, which takes a tenth of the place."""
        buffer = io.BytesIO()
        if dark:
            with on_dark(self.fig):
                quality = {"quality": _QUALITY}
                self.fig.savefig(buffer, format="webp", dpi=_DPI, transparent=True, pil_kwargs=quality)
        else:
            self.fig.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def _repr_html_(self) -> str | None:
        """The image as HTML; None if `pyplot` manages the figure, because a notebook then shows it anyway."""
        return None if self.fig.canvas.manager is not None else self.markup()


def figure_for(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Figure and axes to draw on: the caller's axes, or those of a new figure of `size` inches.

    Raises:
        ArgumentError: `ax` is not one axes.
    """
    if ax is None:
        fig = Figure(figsize=size, layout="constrained")
        return fig, fig.add_subplot()
    if not isinstance(ax, Axes):
        raise ArgumentError(
            "ax",
            expected="one matplotlib Axes",
            found=type(ax).__name__,
            mend="Pick one from the array, for example axes[0].",
        )
    whole = ax.figure.figure  # the outermost figure, if the axes are in a subfigure
    assert isinstance(whole, Figure)
    return whole, ax


def figure_with_axes(
    rows: int, columns: int, size: tuple[float, float]
) -> tuple[Figure, NDArray[np.object_]]:
    """A new figure with several axes, [rows, columns]."""
    fig = Figure(figsize=size, layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False)


def colour_bar(ax: Axes, colours: Colormap, label: str, *, inside: bool) -> Colorbar:
    """A colour bar beside the axes, on the fixed scale from 0 to 1.

    Args:
        ax: whose colours it explains.
        colours: from 0 to 1.
        label: what they mean.
        inside: do not move the axes, because they are the caller's; else the figure makes room for the bar.
    """
    shown = ScalarMappable(SCALE, colours)
    if inside:
        bar = ax.figure.colorbar(shown, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)))
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="small")
        return bar
    return ax.figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.02, label=label)


def evidence_title(ax: Axes, text: str, *, inside: bool) -> None:
    """Write the evidence as a title, in lines that fit.

    Args:
        ax: the axes that it belongs to.
        text: the evidence.
        inside: above the axes and no wider, because the figure is the caller's; else above the whole figure.
    """
    across = ax.get_position().width if inside else 1.0
    width = across * ax.figure.bbox.width / ax.figure.dpi * 72  # points
    size = FontProperties(size="medium").get_size_in_points()
    lines = "\n".join(textwrap.wrap(text, max(16, int(width / (_LETTER * size)))))
    if inside:
        ax.set_title(lines, fontsize="medium")
    elif lines:
        ax.figure.suptitle(lines, fontsize="medium")


def footnote(ax: Axes, text: str, *, inside: bool) -> None:
    """Write sentences below the picture, in lines that fit; see `evidence_title` for the arguments."""
    across = ax.get_position().width if inside else 1.0
    width = across * ax.figure.bbox.width / ax.figure.dpi * 72  # points
    size = FontProperties(size="small").get_size_in_points()
    lines = textwrap.fill(text, max(16, int(width / (_LETTER * size))))
    if inside:
        ax.set_xlabel(f"{ax.get_xlabel()}\n{lines}", fontsize="small", loc="center")
    else:
        ax.figure.supxlabel(lines, fontsize="small", color=_QUIET)


def mark_doubt(ax: Axes, doubtful: bool) -> None:
    """Hatch a picture whose status is doubtful."""
    if doubtful:
        lines = Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, hatch="//", linewidth=0)
        lines.set(edgecolor=_QUIET, alpha=0.5, zorder=5)
        ax.add_patch(lines)


def label_rows(ax: Axes, places: Sequence[float] | NDArray[np.generic], labels: Sequence[str]) -> None:
    """Write names beside rows as they are: matplotlib reads text between two dollar signs as a formula."""
    ax.set_yticks(places, labels, parse_math=False)


def with_description(fig: Figure, ax: Axes | NDArray[np.object_], alt: str) -> Picture:
    """Attach a description and return the picture; the label of a caller's figure does not change."""
    labelled = ax if isinstance(ax, Axes) else fig
    labelled.set_label(alt)
    return Picture(fig, ax)


def page(body: str, *, title: str) -> str:
    """A whole HTML page around some HTML; it is light or dark as the reader's browser is set.

    Args:
        body: HTML, written as it is.
        title: of the page, escaped.
    """
    return render("viz/templates/page.html", body=body, title=title)
