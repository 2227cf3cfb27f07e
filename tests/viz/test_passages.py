"""Text pictures: escaped, whole in notebooks that are not trusted, and the same as a figure."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from stg_attr import viz
from stg_attr.errors import ArgumentError
from stg_attr.viz.colours import KEPT, MAX_OPACITY

# What JupyterLab 4 keeps of HTML in notebooks that are not trusted, as far as we use it.
LENGTH = r"[0-9.]+(px|em|%)|0"
COLOUR = r"#[0-9a-f]{6}|rgba\(\d+, \d+, \d+, (0(\.\d+)?|1)\)"
STYLES = {
    "background-color": COLOUR,
    "background-image": rf"linear-gradient\(90deg, ({COLOUR}), ({COLOUR})\)",
    "border": rf"({LENGTH}) solid ({COLOUR})",
    "border-bottom": rf"({LENGTH}) solid ({COLOUR})",
    "border-radius": LENGTH,
    "display": "inline-block",
    "font-size": "small|smaller",
    "font-style": "italic",
    "font-weight": "bold",
    "height": LENGTH,
    "line-height": r"[0-9.]+",
    "margin": rf"(({LENGTH})\s*){{1,4}}",
    "max-width": LENGTH,
    "opacity": r"0\.\d+",
    "overflow-wrap": "break-word",
    "padding": rf"(({LENGTH})\s*){{1,4}}",
    "width": LENGTH,
}
TAGS = {
    "figure",
    "figcaption",
    "div",
    "span",
    "strong",
    "br",
    "details",
    "summary",
    "table",
    "tr",
    "th",
    "td",
}
TAGS |= {"img", "ul", "li"}
ATTRIBUTES = {"class", "style", "title", "dir", "scope", "alt", "src", "width", "height"}


class Reader(HTMLParser):
    """Collects tags, text and everything that JupyterLab would strip."""

    def __init__(self):
        super().__init__()
        self.stripped, self.open, self.text, self.titles = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.stripped += [tag] * (tag not in TAGS)
        self.open += [tag] * (tag not in ("br", "img"))
        for name, value in attrs:
            self.stripped += [name] * (name not in ATTRIBUTES)
            self.titles += [value] * (name == "title")
            if name == "style":
                self.stripped += [part for part in value.split("; ") if not self._kept(part)]

    def _kept(self, part):
        name, value = part.split(": ")
        return name in STYLES and re.fullmatch(STYLES[name], value, re.IGNORECASE)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def _parsed(markup):
    reader = Reader()
    reader.feed(markup)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("name", ["image", "table", "signal", "sentence"])
@pytest.mark.quick_cases(1)
def test_explanations_survive_notebooks_without_trust(name, request):
    markup = request.getfixturevalue(name)._repr_html_()
    rules = re.findall(r"<style>.*?</style>", markup, flags=re.DOTALL)
    reader = _parsed(re.sub(r"<style>.*?</style>", "", markup, flags=re.DOTALL))
    assert reader.stripped == []
    assert "bring the score from" in reader.text
    assert "http" not in markup
    # the rules only choose between a light and a dark picture; without them the light one is seen
    assert all(".stg-picture" in line for rule in rules for line in rule.splitlines() if "{ display" in line)
    assert markup.count('only-dark" width="0" height="0"') == markup.count("<img") // 2 == len(rules)


def test_text_survives_notebooks_without_trust(sentence, tokens):
    markup = viz.text(sentence, tokens, names=["a name"])._repr_html_()
    reader = _parsed(markup)
    assert reader.stripped == []
    assert "unbelievable" in reader.text
    assert "http" not in markup


@pytest.mark.parametrize("evil", ["<img src=x onerror=alert(1)>", "</script>", '"><b>', "&lt;", "a<b"])
def test_markup_in_tokens_names_and_hover_is_escaped(evil):
    picture = viz.text(torch.tensor([0.5, 0.9]), [evil, "##more"], names=[evil])
    reader = _parsed(picture._repr_html_())
    assert reader.stripped == []
    assert reader.text.count(evil) >= 2


def test_hover_shows_the_number(sentence, tokens):
    titles = _parsed(viz.text(sentence, tokens)._repr_html_()).titles
    assert titles[0] == "no gate"
    assert "1.00" in titles
    assert any(re.fullmatch(r"0\.\d\d \(un .*, able .*\)|1\.00 \(un .*\)", title) for title in titles)


def test_shade_and_underline_say_the_same_as_the_numbers(sentence, tokens):
    markup = viz.text(sentence, tokens)._repr_html_()
    spans = {text: style for style, text in re.findall(r'style="([^"]*)">([^<]*)</span>', markup)}
    assert f"rgba(0, 114, 178, {MAX_OPACITY:g})" in spans["great"]
    assert KEPT in spans["great"]
    assert KEPT not in spans["the"]
    assert "background-color" not in spans["[CLS]"]


def test_right_to_left_runs_from_right_to_left():
    markup = viz.text(
        torch.tensor([[0.9, 0.1], [0.1, 0.9]]), [["הסרט", "נפלא"], ["the", "film"]]
    )._repr_html_()
    assert re.findall('dir="([a-z]+)"', markup) == ["rtl", "ltr"]


def test_one_text_serves_all_classes():
    picture = viz.text(torch.tensor([[0.9, 0.1], [0.1, 0.9]]), ["good", "film"], names=["pro", "contra"])
    assert picture.alt == "pro: selected words: good. contra: selected words: film."


def test_embeddings_show_their_largest_dimension():
    attributions = torch.zeros(1, 3, 4)
    attributions[0, 1, 2] = 0.9
    assert viz.text(attributions, ["a", "b", "c"]).alt == "selected words: b."


def test_one_token_per_gate_will_do(explain):
    mask = torch.tensor([[0, 0, 1, 1, -1]])
    explanation = explain(torch.zeros(1, 5), torch.tensor([[-4.0, 4.0]]), mask)
    assert viz.text(explanation, ["no", "yes"]).alt.startswith("selected words: yes.")


def test_to_html_stands_alone(tmp_path, sentence, tokens):
    path = tmp_path / "page.html"
    viz.text(sentence, tokens).to_html(path)
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "color-scheme: light dark" in page
    assert not re.search("https?:|src=|href=|<script|@import|url", page)


def test_figure_holds_the_same_words_and_shades(sentence, tokens):
    picture = viz.text(sentence, tokens)
    fig, ax = picture.draw()
    drawn = [text.get_text() for text in ax.texts]
    assert {word.text for word in picture.passages[0].words} <= set(drawn)
    boxes = [p for p in ax.patches if p.get_linewidth() == 0 and p.get_facecolor()[3] < 1]
    gated = [word.probability for word in picture.passages[0].words if word.gated]
    assert np.allclose([p.get_facecolor()[3] for p in boxes], [MAX_OPACITY * p for p in gated], atol=0.005)
    assert fig.get_size_inches()[0] == 7


def test_figure_lines_stay_inside_and_do_not_collide():
    long = viz.text(torch.linspace(0, 1, 300), [f"word{'s' * (i % 9)}" for i in range(300)])
    fig, ax = long.draw()
    fig.draw_without_rendering()
    boxes = np.array([text.get_window_extent().extents for text in ax.texts])
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= fig.bbox.width).all()
    assert (boxes[:, 3] <= fig.bbox.height).all()
    lines = {}
    for box in boxes[:-2]:
        lines.setdefault(round(box[1] / 10), []).append(box)
    for line in lines.values():
        line.sort(key=lambda box: box[0])
        assert all(a[2] <= b[0] + 1 for a, b in pairwise(line))


def test_figure_shrinks_its_letters_to_fit_the_axes_given():
    words = viz.text(torch.linspace(0, 1, 200), ["word"] * 200)
    ax = Figure(figsize=(4, 3)).subplots()
    words.draw(ax)
    ax.figure.draw_without_rendering()
    lowest = min(text.get_window_extent().y0 for text in ax.texts)
    assert lowest >= ax.get_window_extent().y0 - 1
    assert ax.texts[0].get_fontsize() < 11


def test_dollars_are_no_formulas():
    fig, _ = viz.text(torch.tensor([0.1, 0.9, 0.9]), ["$x$", r"$\frac", "^$"], names=["$5 $6"]).draw()
    fig.draw_without_rendering()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_everything_are_drawn(value):
    picture = viz.text(torch.full((3,), value), ["a", "b", "c"])
    assert picture.alt == f"selected words: {'a b c' if value else 'none'}."
    picture.draw().fig.draw_without_rendering()


@pytest.mark.parametrize(
    ("attributions", "tokens", "arguments", "message"),
    [
        (
            torch.zeros(1, 3),
            ["a", "b"],
            {},
            r"tokens: expected 3, one per position, or 3, one per gate; found 2",
        ),
        (torch.zeros(2, 1), [["a"]], {}, "tokens: expected one list for each of 2 examples.*found 1 lists"),
        (torch.zeros(1, 1), ["a"], {"names": ["x", "y"]}, "names: expected one for each of 1 rows; found 2"),
        (torch.full((1, 1), 2.0), ["a"], {}, r"attributions: expected active probabilities in \[0, 1\]"),
        (torch.full((1, 1), torch.inf), ["a"], {}, "attributions: expected finite numbers"),
        (torch.zeros(1, 2, 3, 4), ["a", "b"], {}, "attributions: expected 1 dimensions, or 2 with a batch"),
    ],
)
def test_bad_texts_are_refused(attributions, tokens, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        viz.text(attributions, tokens, **arguments)
