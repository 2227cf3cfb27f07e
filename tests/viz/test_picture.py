"""Pictures show themselves, keep their words wherever they go, and leave others' figures to others."""

import re

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from stg_attr import viz


def test_a_picture_is_the_pair_of_figure_and_axes(table):
    picture = viz.bars(table)
    fig, ax = picture
    assert (fig, ax) == picture
    assert (picture.fig, picture.ax) == (fig, ax)


def test_a_notebook_shows_image_and_words(table):
    markup = viz.bars(table)._repr_html_()
    start = r'<img alt="Bars of active probability: [^"]+" class="stg-picture only-light" style="[^"]+" src='
    assert re.match(start + '"data:image/png;base64,', markup)


def test_words_with_quotes_are_escaped():
    import torch

    markup = viz.bars(torch.tensor([0.5]), names=['"><script>'])._repr_html_()
    assert "<script>" not in markup


def test_png_svg_and_pdf_hold_the_words(table, tmp_path):
    picture = viz.importance(table)
    for kind in ("png", "svg", "pdf"):
        picture.save(tmp_path / f"a.{kind}")
    assert Image.open(tmp_path / "a.png").text["Description"] == picture.alt
    assert picture.alt in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert b"Mean active probability over 12 rows" in (tmp_path / "a.pdf").read_bytes()


def test_png_files_are_the_same_twice(table, tmp_path):
    for name in ("a.png", "b.png"):
        viz.curve(table).save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_to_html_stands_alone(table, tmp_path):
    viz.curve(table).to_html(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<title>Budget curve: " in page
    assert not re.search("https?:|<script|@import|url", re.sub('base64,[^"]*', "", page))


def test_words_stay_with_the_axes_in_a_figure_of_several(table):
    left, right = Figure().subplots(1, 2)
    first, second = viz.curve(table, ax=left), viz.trace(table, ax=right)
    assert first.alt.startswith("Budget curve")
    assert second.alt.startswith("Loss over")


@pytest.mark.filterwarnings("ignore:.*non-interactive.*")
def test_figures_that_pyplot_manages_are_not_shown_twice(table):
    from matplotlib import pyplot

    fig, ax = pyplot.subplots()
    try:
        assert viz.curve(table, ax=ax)._repr_html_() is None
    finally:
        pyplot.close(fig)


def test_words_say_dollars_as_they_are():
    assert "$5 and $6 1.00" in viz.bars(torch.ones(1), names=["$5 and $6"]).alt


def test_signs_that_turn_text_around_are_shown():
    picture = viz.text(torch.ones(1, 2), ["a\u202eb", "\x00"], names=["\u2066c"])
    assert picture.alt == "\ufffdc: selected words: a\ufffdb \ufffd."
    assert "d\ufffde" in viz.bars(torch.ones(1), names=["d\u2069e"]).alt


def test_dollars_reach_matplotlib_as_they_are_and_begin_no_formula():
    name = "$5 and $6"
    pictures = [
        viz.bars(torch.ones(1), names=[name]),
        viz.comparison({name: torch.ones(1, 2)}, names=[name, "b"]),
        viz.series(torch.ones(2, 4), names=[name, "b"]),
    ]
    for picture in pictures:
        picture.fig.draw_without_rendering()
        texts = [text for ax in picture.fig.axes for text in (*ax.get_yticklabels(), ax.title)]
        shown = [text for text in texts if name in text.get_text()]
        assert shown
        assert not any(text.get_parse_math() for text in shown)
