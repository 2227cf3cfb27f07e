"""What is saved and exported: a picture for those without scripts, and nothing hostile anywhere."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from stg_attr import StochasticGates

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
page_parts = pytest.importorskip("stg_attr.widgets.page")

# what JupyterLab's sanitizer lets through in notebooks that are not trusted, of what is used here
TAGS = {"div", "img", "ul", "li", "p", "table", "tr", "th", "td", "figure", "figcaption"}
TAGS |= {"span", "strong", "details", "summary", "br"}
ATTRIBUTES = {"alt", "class", "src", "style", "title", "scope", "dir"}


class Parsed(HTMLParser):
    """Tags with their attributes, and the text between them, as a browser reads them."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def explorers(image, text, tokens, table, series, net, hostile):
    gradients = torch.autograd.functional.jacobian(lambda x: net(x)[:, 1].sum(), image.inputs[0])
    names = [hostile, "b", "c"]
    return {
        "image": widgets.explore(image, names=names, classes=names),
        "text": widgets.explore(text, view=widgets.TextView(tokens), names=names[:2]),
        "table": widgets.explore(table, view=widgets.TableView([hostile, *"bcdef"]), names=names),
        "series": widgets.explore(series, view=widgets.SeriesView(names), names=[hostile]),
        "compared": widgets.compare({hostile: image, "gradients": gradients}, forward_func=net, names=names),
    }


kinds = pytest.mark.parametrize("kind", ["image", "text", "table", "series", "compared"])


def _static(markup):
    """What is left when scripts, styles and ids are taken away."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", markup, flags=re.S)


@kinds
def test_the_static_part_passes_the_sanitizer(kind, explorers):
    parsed = Parsed(_static(explorers[kind].markup()))
    assert {tag for tag, _ in parsed.tags} <= TAGS
    used = {name for _, attributes in parsed.tags for name in attributes}
    assert used - {"id"} <= ATTRIBUTES
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]*", "", _static(explorers[kind].markup()))
    assert not re.search(r"hsl|var\(|currentColor", without_images)
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert all(a["src"].startswith("data:image/png;base64,") and len(a["alt"]) > 20 for a in images)
    assert bool(images) != (kind == "text")
    assert "the score from" in parsed.text or kind == "compared"


@kinds
def test_hostile_names_are_only_text(kind, explorers, hostile, tmp_path):
    explorers[kind].to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    parsed = Parsed(page)
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 3
    assert "<img src=x" not in page
    assert "<script>harm" not in page
    assert "harm()" in page
    assert "%%style%%" in page  # left alone, not filled in
    assert page.count(page_parts.style()) == 1


@kinds
def test_nothing_is_fetched(kind, explorers, tmp_path):
    explorers[kind].to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<>)]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, which nothing looks up
    assert "import " not in page_parts.script()


@kinds
def test_a_notebook_gets_markup_and_words(kind, explorers):
    data, _ = explorers[kind]._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}  # a widget view would be an error message once reopened
    assert data["text/plain"].startswith("Explanation of")
    assert explorers[kind].key in data["text/html"]


def test_two_outputs_do_not_share_ids(explorers):
    ids = [re.findall(r'id="([^"]*)"', explorers["image"].markup()) for _ in range(2)]
    assert len(ids[0]) == len(set(ids[0])) == 5
    assert not set(ids[0]) & set(ids[1])


def test_the_page_holds_what_is_shown(explorers, tmp_path):
    explorer = explorers["image"]
    explorer.budget, explorer.example, explorer.show = 5, 2, "kept"
    explorer.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    state = json.loads(re.search(r'id="stg-data">(.*?)</script>', page, re.S).group(1))
    assert {name: state[name] for name in ("budget", "example", "show")} == {
        "budget": 5, "example": 2, "show": "kept",
    }  # fmt: skip
    assert state["payload"] == explorer.payload
    assert "5 of 16 features bring" in Parsed(_static(page)).text


def test_a_page_of_one_photograph_is_below_one_megabyte(tmp_path):
    generator = torch.Generator().manual_seed(0)
    photograph = torch.rand(1, 3, 224, 224, generator=generator)  # noise: nothing compresses worse
    cells = torch.arange(224) // 16
    mask = (14 * cells[:, None] + cells)[None, None]
    stg = StochasticGates(lambda x: x[:, :, :112, :112].mean((1, 2, 3)))
    widgets.explore(stg.explain(photograph, feature_mask=mask)).to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size <= 1_000_000


def test_the_reading_follows_the_slider(image):
    explorer = widgets.explore(image, examples=[2, 0])
    explorer.budget = 3
    assert explorer.place == 2
    assert int(explorer.reading.n_selected[2]) == 3
    explorer.example = 1
    assert explorer.place == 0
    assert explorer.explanation is image
