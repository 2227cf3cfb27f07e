"""The colours of all pictures: one scale for probabilities, one pair for kept and removed."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb

from .source import Array

__all__ = [
    "KEPT",
    "LOWERS",
    "MAX_OPACITY",
    "NEUTRAL",
    "RAISES",
    "REMOVED",
    "SCALE",
    "dark_value_colours",
    "dimming_colours",
    "heat_colours",
    "shade",
    "transparent_colours",
    "value_colours",
]

KEPT = "#0072B2"  # blue and vermilion of Okabe and Ito (2008): different with every kind of colour vision
REMOVED = "#D55E00"
NEUTRAL = "#808080"
RAISES, LOWERS = KEPT, REMOVED  # what a feature does to the score, as in pictures that compare methods

SCALE = Normalize(0.0, 1.0)  # fixed, so that two pictures can be compared

MAX_DIMMING = 0.85  # opacity over a probability of 0; what is hidden can still be recognised
MAX_OPACITY = 0.72  # opacity for a probability of 1; higher, and text would be hard to read on some pages
_STEPS = 256
_DARK = 0.75  # part of plasma that is dark enough for a white page


def heat_colours() -> Colormap:
    """Opaque colours for heat maps: cividis, perceptually uniform with and without red-green vision.

    Optimizing colormaps with consideration for color vision deficiency (Nuñez, Anderton, Renslow, 2018),
    https://doi.org/10.1371/journal.pone.0199239.
    """
    return colormaps["cividis"]


def value_colours() -> Colormap:
    """Opaque colours for low and high values: plasma without its lightest part, which white pages hide."""
    return ListedColormap(colormaps["plasma"](np.linspace(0.0, _DARK, _STEPS)), name="values")


def dark_value_colours() -> Colormap:
    """The same for dark pages: plasma without its darkest part."""
    return ListedColormap(colormaps["plasma"](np.linspace(1 - _DARK, 1.0, _STEPS)), name="values on dark")


def transparent_colours(colour: str = KEPT, opacity: float = MAX_OPACITY) -> Colormap:
    """One colour that is transparent at 0 and has `opacity` at 1, to draw over a picture or behind text."""
    steps = np.tile([*to_rgb(colour), 0.0], (_STEPS, 1))
    steps[:, 3] = np.linspace(0.0, opacity, _STEPS)
    return ListedColormap(steps, name="veil")


def dimming_colours() -> Colormap:
    """A grey that hides most of a picture at 0 and is transparent at 1, to draw over what is not selected."""
    steps = np.full((_STEPS, 4), to_rgb(NEUTRAL)[0])
    steps[:, 3] = np.linspace(MAX_DIMMING, 0.0, _STEPS)
    return ListedColormap(steps, name="dimming")


def shade(probability: float, colour: str = KEPT) -> str:
    """The colour of a probability as CSS, in a form that JupyterLab does not remove from untrusted notebooks.

    Example:
        >>> shade(0.5)
        'rgba(0, 114, 178, 0.36)'
    """
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return f"rgba({red}, {green}, {blue}, {round(MAX_OPACITY * probability, 3):g})"


def luminance(rgb: Array) -> Array:
    """Relative luminance of sRGB colours in [0, 1], [..., 3], as the WCAG defines it."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    weighted: Array = linear @ np.array([0.2126, 0.7152, 0.0722])
    return weighted
