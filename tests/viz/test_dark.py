"""Figures for dark pages: light ink, the same data, and nothing of it stays in the figure."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from stg_attr import viz
from stg_attr.viz.dark import on_dark

from .test_conventions import EVERY

every = pytest.mark.parametrize("name", EVERY)


def _drawn(picture):
    buffer = io.BytesIO()
    picture.fig.savefig(buffer, format="png")
    buffer.seek(0)
    return imread(buffer)


def _luminance(colours):
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def _texts(fig):
    return [text for text in fig.findobj(lambda a: hasattr(a, "get_fontsize")) if text.get_text()]


@every
def test_the_figure_is_left_as_it_was(name, request, tmp_path):
    draw, source = EVERY[name]
    pictures = [draw(request.getfixturevalue(source)) for _ in range(2)]
    pictures[0].save(tmp_path / "light.png")
    pictures[1].save(tmp_path / "dark.png", dark=True)
    for picture in pictures:
        picture.fig.set_layout_engine("none")
    one, other = (_drawn(picture) for picture in pictures)
    assert np.abs(one - other).max() < 0.02


@every
def test_dark_pages_have_light_text_on_no_ground(name, request, tmp_path):
    draw, source = EVERY[name]
    picture = draw(request.getfixturevalue(source))
    picture.save(tmp_path / "dark.png", dark=True)
    drawn = imread(tmp_path / "dark.png")
    assert drawn[0, 0, 3] == 0 or drawn[-1, -1, 3] == 0  # transparent
    with on_dark(picture.fig):
        for text in _texts(picture.fig):
            if (
                text.get_bbox_patch() is None and text.get_color() != "none"
            ):  # those in boxes on an image have a ground of their own
                contrast = (_luminance(np.array(to_rgb(text.get_color()))) + 0.05) / (0.0065 + 0.05)
                assert contrast > 4.5, text.get_text()


def test_what_is_drawn_on_an_image_keeps_its_colours(image):
    picture = viz.superpixels(image)
    lines = [collection.get_edgecolor().copy() for collection in picture.ax.collections]
    with on_dark(picture.fig):
        assert all(
            np.array_equal(old, new.get_edgecolor())
            for old, new in zip(lines, picture.ax.collections, strict=True)
        )


def test_an_error_while_drawing_changes_nothing():
    fig = Figure()
    title = fig.suptitle("black")
    with on_dark(fig):
        assert to_rgb(title.get_color())[0] > 0.8
    with pytest.raises(KeyError), on_dark(fig):
        raise KeyError
    assert title.get_color() == "black"


def test_the_markup_has_a_picture_for_either_theme(table):
    markup = viz.bars(table).markup()
    light, dark = re.findall(r'class="stg-picture only-(light|dark)".*?base64,([^"]*)"', markup, re.S)
    assert (light[0], dark[0]) == ("light", "dark")
    kinds = ("png", "webp")
    first, second = (
        imread(io.BytesIO(base64.b64decode(data)), format=kind)
        for kind, (_, data) in zip(kinds, (light, dark), strict=True)
    )
    assert first.shape == second.shape
    assert first[0, 0, 3] == 1
    assert second[0, 0, 3] == 0
    assert 'width="0" height="0"' in markup  # hides it where style sheets are taken away
    assert viz.bars(table).markup(follows_theme=False).count("<img") == 1
