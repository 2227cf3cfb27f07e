"""Hostile names stay text in every output of `viz`, and in notebooks: live, exported, and not trusted."""

import json
import subprocess
import sys

import pytest
import torch

from stg_attr import StochasticGates, viz
from stg_attr.viz.picture import page as whole_page

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing


@pytest.fixture(scope="module")
def drawn(hostile):
    """Every output of `viz` that takes names or tokens."""
    weight = torch.tensor([3.0, -2.0, 0.0, 1.0, 0.5, 0.0, 2.0])
    rows = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    table = StochasticGates(lambda x: x @ weight).explain(rows, n_restarts=2)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    image = StochasticGates(lambda x: x[:, 0].flatten(1).sum(1)).explain(images)
    wave = torch.rand(1, 7, 20, generator=torch.Generator().manual_seed(0))
    series = StochasticGates(lambda x: x[:, 1].sum(1)).explain(wave)
    return [
        table,
        *(draw(table, names=hostile) for draw in (viz.bars, viz.frequency)),
        *(draw(table, names=hostile) for draw in (viz.importance, viz.beeswarm, viz.matrix)),
        viz.bars(table, names=list("abcdefg"), values=hostile),
        viz.comparison(dict.fromkeys(hostile[5:], table), names=hostile),
        viz.text(table, hostile, examples=[0], names=[hostile[0]]),
        viz.text(table, hostile, examples=[0], names=[hostile[6]]).draw(),
        viz.grid(image, names=hostile[5:]),
        viz.series(series, names=hostile),
    ]


@pytest.mark.filterwarnings("ignore:Glyph")  # letters that the font lacks
def test_in_every_picture(drawn, hostile, look, inert, tmp_path):
    body = "".join(one._repr_html_() for one in drawn)
    (tmp_path / "all.html").write_text(whole_page(body, title=hostile[4]), encoding="utf-8")
    opened = look(tmp_path / "all.html", ready="img")
    opened.page.locator("summary").first.click()
    inert(opened)
    said = opened.page.locator("main").inner_text() + "".join(
        image.get_attribute("alt") for image in opened.page.locator("img").all()
    )
    assert all(said.count(name) >= 5 for name in hostile[:6])
    assert opened.page.locator("img:not(.only-dark)").count() == len(drawn) - 1
    assert opened.requests == [f"file://{tmp_path}/all.html"]
    assert opened.errors == []


@pytest.mark.filterwarnings("ignore:Glyph")
def test_in_pages_of_one_picture(drawn, look, inert, tmp_path):
    for i, one in enumerate(drawn[1:]):
        one.to_html(tmp_path / f"{i}.html")
        inert(look(tmp_path / f"{i}.html", ready="main"))


SETUP = """
import torch
from torch import nn
from stg_attr import StochasticGates, viz, widgets

HOSTILE = {hostile!a}
torch.manual_seed(0)
images = torch.rand(2, 3, 16, 16)
mask = (torch.arange(16)[:, None] // 4 * 4 + torch.arange(16) // 4)[None, None]
net = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval()
stg, settings = StochasticGates(net), dict(feature_mask=mask, target=1)
explanation = stg.explain(images, **settings)
gradients = torch.rand(2, 3, 16, 16)

def failing(x):
    if x.requires_grad or len(x) > 1:
        raise ValueError(" ".join(HOSTILE))
    return net(x)
"""
SHOWN = {
    "explore": "widgets.explore(explanation, names=HOSTILE[:2], classes=HOSTILE[4:])",
    "compare": """
rivals = {name: gradients for name in HOSTILE}
widgets.compare({"gates": explanation} | rivals, forward_func=net)""",
    "watch": "seen = widgets.watch(stg, images, names=HOSTILE[2:4], classes=HOSTILE[4:], **settings)",
    "workbench": """
bench = widgets.Workbench(net, images, names=HOSTILE[5:], classes=HOSTILE[:3], feature_mask=mask)
first, second = bench.explain(), bench.explain()
bench""",
    "explanation": "explanation",
    "text": "viz.text(torch.rand(1, 7), HOSTILE, names=HOSTILE[6:])",
    "errors": """
broken = widgets.Workbench(failing, images, names=HOSTILE[5:], classes=HOSTILE[:3], feature_mask=mask)
broken._explain_and_say()
broken""",
    "error": "widgets.compare({'gates': explanation, HOSTILE[6]: gradients})",
}


@pytest.fixture(scope="module")
def notebook(lab, hostile):
    """Every widget in a notebook, after all cells were run."""
    opened = lab("hostile", SETUP.format(hostile=hostile), *SHOWN.values())
    opened.run()
    opened.page.locator("text=ArgumentError").last.wait_for()
    return opened


def _output(opened, name):
    cell = opened.page.locator(".jp-CodeCell").nth(1 + list(SHOWN).index(name))
    cell.scroll_into_view_if_needed()
    return cell.locator(".jp-OutputArea-output").last


def test_in_live_widgets(notebook, inert):
    for name in ("explore", "compare", "watch"):
        _output(notebook, name).locator(".stg-sentence").wait_for()
    for name in ("workbench", "errors"):
        _output(notebook, name).get_by_label("Runs").wait_for()
    assert "ValueError: <img src=x" in _output(notebook, "errors").inner_text()
    inert(notebook)
    assert notebook.outside == []
    assert notebook.errors == []


def _shows_pictures_and_evidence(output, name, hostile):
    if name not in ("text", "errors", "error"):
        picture = output.locator("img").first
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("i => i.complete && i.naturalWidth") > 300, name
    evidence = {
        "compare": "sufficiency",
        "text": "selected",
        "errors": "no runs yet",
        "error": "ArgumentError",
    }
    text = output.inner_text()
    assert evidence.get(name, "of 16 features bring") in text, name
    assert "oading widget" not in text, name
    assert name in ("explanation", "errors", "error") or any(own in text for own in hostile[:6]), name
    assert output.locator("mjx-container").count() == 0, name


def test_in_a_notebook_that_is_not_trusted(notebook, lab, hostile, inert):
    saved = json.dumps(notebook.save()).replace("HOSTILE = ", "HOSTILE =  ")  # not what was signed
    (notebook.root / "stranger-hostile.ipynb").write_text(saved)
    opened = lab("stranger-hostile")
    for name in SHOWN:
        _shows_pictures_and_evidence(_output(opened, name), name, hostile)
    assert opened.page.locator(".stg").count() == 0
    assert opened.outside == []
    inert(opened)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_in_a_page_made_of_the_notebook(scripts, notebook, look, hostile, inert):
    notebook.save()
    path = notebook.root / "hostile.ipynb"
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(path)], check=True, capture_output=True
    )
    opened = look(path.with_suffix(".html"), ready=None, java_script_enabled=scripts, offline=True)
    outputs = opened.page.locator(".jp-Cell:has(.jp-OutputArea-output)")
    for place, name in enumerate(SHOWN):
        output = outputs.nth(place).locator(".jp-OutputArea-output").last
        if scripts and name in ("explore", "compare", "watch"):
            output.locator(".stg input[type=range]").wait_for()
        else:
            _shows_pictures_and_evidence(output, name, hostile)
    if scripts:
        inert(opened)
