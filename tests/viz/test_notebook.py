"""In a notebook an explanation shows the fitting picture and its evidence at once."""

import subprocess
import sys

import pytest
import torch

from stg_attr import ArgumentError, grid_mask, position_mask, viz
from stg_attr.viz import notebook


@pytest.fixture
def called(monkeypatch):
    """The names of the pictures that are drawn, in order."""
    names = []
    for name in ("panel", "heatmap", "series", "bars"):
        real = getattr(notebook, name)
        monkeypatch.setattr(
            notebook, name, lambda *args, name=name, real=real: names.append(name) or real(*args)
        )
    return names


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((3, 8, 10), "panel"),
        ((8, 10, 3), "panel"),
        ((1, 8, 8), "panel"),
        ((8, 8), "panel"),
        ((4, 30), "series"),
        ((30, 4), "bars"),
        ((7,), "bars"),
        ((2, 8, 8), "heatmap"),
        ((13, 8, 9), "heatmap"),
        ((9, 8, 13), "heatmap"),
        ((2, 3, 3), "bars"),
        ((3, 2, 2), "bars"),
        ((2, 3, 4, 5), "bars"),
        ((), "bars"),
    ],
)
def test_the_picture_fits_the_inputs(shape, drawn, explain, called):
    x = torch.rand(1, *shape)
    explain(x, torch.zeros(1, x.numel()))._repr_html_()
    assert called == [drawn]


@pytest.mark.parametrize("shape", [(6, 20), (8, 8)])
def test_embedded_words_are_neither_a_series_nor_an_image(shape, explain, called):
    x = torch.rand(1, *shape)
    explain(x, torch.zeros(1, shape[0]), feature_mask=position_mask(x))._repr_html_()
    assert called == ["bars"]


def test_windows_that_all_channels_share_are_a_series(explain, called):
    x = torch.rand(1, 3, 20)
    explain(x, torch.zeros(1, 4), feature_mask=grid_mask(x, (5,)))._repr_html_()
    assert called == ["series"]


def test_words_of_several_texts_are_no_image(explain, called):
    x = torch.rand(1, 2, 6, 8)
    words = torch.arange(12).reshape(1, 2, 6, 1).expand(x.shape)
    explain(x, torch.zeros(1, 12), feature_mask=words)._repr_html_()
    assert called == ["bars"]


def test_pictures_that_cannot_be_drawn_become_bars(explain):
    x = torch.full((1, 1, 6, 6), torch.nan)
    assert "Bars of active probability" in explain(x, torch.zeros(1, 36))._repr_html_()


def test_several_inputs_are_bars(explain):
    pair = (torch.zeros(1, 1, 6, 6), torch.zeros(1, 2))
    assert "Bars of active probability" in explain(pair, torch.zeros(1, 38))._repr_html_()


def test_the_evidence_of_the_first_eight_is_written_out(table):
    markup = viz.html(table, 9)
    assert markup.index("example 9:") < markup.index("example 0:")
    assert "example 6:" in markup
    assert "example 7:" not in markup
    assert "and 4 more" in markup
    assert table.describe(9).split(".")[0] in markup


def test_one_example_is_singular(image, table):
    assert repr(image).startswith("Explanation of 1 example, ")
    assert repr(table).startswith("Explanation of 12 examples, ")


def test_no_examples_say_so(explain):
    assert viz.html(explain(torch.zeros(0, 3), torch.zeros(0, 3))) == "<p>Explanation of no examples</p>"


def test_without_matplotlib_the_evidence_is_text(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "stg_attr.viz", None)
    markup = table._repr_html_()
    assert markup.startswith("<pre>Explanation of 12 examples")
    assert "<img" not in markup


def test_how_many_are_listed_can_be_chosen(table):
    assert "and 9 more" in viz.html(table, listed=3)
    with pytest.raises(ArgumentError, match=r"listed: .*at least 1; found 0"):
        viz.html(table, listed=0)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
@pytest.mark.quick_cases(1)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package):
    code = f"import sys, stg_attr; sys.modules['{package}'] = None\nimport stg_attr.viz"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"stg_attr.viz needs {package}: pip install 'stg_attr[viz]'" in run.stderr
