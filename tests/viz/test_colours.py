"""Colours mean something, can be told apart by everybody, and leave letters readable."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from stg_attr.viz.colours import (
    KEPT,
    MAX_OPACITY,
    REMOVED,
    heat_colours,
    luminance,
    shade,
    transparent_colours,
    value_colours,
)

PAGES = {  # background and text
    "white page": ("#ffffff", "#000000"),
    "JupyterLab": ("#ffffff", "#212121"),
    "JupyterLab dark": ("#111111", "#ffffff"),
    "documentation": ("#ffffff", "#222832"),
    "documentation dark": ("#14181e", "#ced6dd"),
    "VS Code dark": ("#1e1e1e", "#d4d4d4"),
}


def _over(colour, opacity, ground):
    return opacity * np.array(to_rgb(colour)) + (1 - opacity) * np.array(to_rgb(ground))


def _contrast(a, b):
    low, high = sorted((float(luminance(np.array(a))), float(luminance(np.array(b)))))
    return (high + 0.05) / (low + 0.05)


def _lab(colours):
    """CIE L*a*b* of sRGB, [n, 3]."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = linear @ np.array(to_xyz).T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def _without_green_cones(colours):
    """Deuteranopia, full severity; Machado, Oliveira, Fernandes (2009), table for severity 1."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (
        linear
        @ np.array(
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
        ).T
    )
    seen = seen.clip(0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("page", PAGES)
def test_letters_are_readable_on_every_shade(page):
    ground, letters = PAGES[page]
    worst = min(
        _contrast(_over(KEPT, MAX_OPACITY * p, ground), to_rgb(letters)) for p in np.linspace(0, 1, 101)
    )
    assert worst >= 4.5  # WCAG AA


@pytest.mark.parametrize("page", PAGES)
def test_higher_probabilities_stand_out_more(page):
    ground = PAGES[page][0]
    shades = _lab(np.stack([_over(KEPT, MAX_OPACITY * p, ground) for p in np.linspace(0, 1, 11)]))
    assert (np.diff(np.linalg.norm(shades - shades[0], axis=1)) > 0).all()


@pytest.mark.parametrize("eyes", [lambda colours: colours, _without_green_cones])
def test_the_heat_map_is_even_for_all_eyes(eyes):
    colours = _lab(eyes(heat_colours()(np.linspace(0, 1, 33))[:, :3]))
    lightness = colours[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert np.diff(lightness).max() < 2.5 * np.diff(lightness).mean()


@pytest.mark.parametrize("eyes", [lambda colours: colours, _without_green_cones])
def test_low_and_high_values_are_told_apart_and_seen_on_white(eyes):
    colours = value_colours()(np.linspace(0, 1, 33))[:, :3]
    lightness = _lab(eyes(colours))[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] - lightness[0] > 40
    assert min(_contrast(colour, (1, 1, 1)) for colour in colours) > 2


def test_kept_and_removed_are_told_apart_by_all_eyes():
    pair = _without_green_cones(np.array([to_rgb(KEPT), to_rgb(REMOVED)]))
    assert np.linalg.norm(np.subtract(*_lab(pair))) > 20


def test_css_and_matplotlib_agree():
    red, green, blue, opacity = transparent_colours()(1.0)
    assert shade(1.0) == f"rgba({red * 255:.0f}, {green * 255:.0f}, {blue * 255:.0f}, {opacity:g})"
    assert shade(0.0).endswith(", 0)")
