"""What holds for every picture: it leaves all else alone, is the same twice, and says what it shows."""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stg_attr import viz
from stg_attr.attribution import Restarts
from stg_attr.errors import ArgumentError


def _frequency(explanation, *arguments, **settings):
    """Explanations made for all pictures have no restarts; here they have three that agree."""
    agreeing = Restarts(explanation.selected.expand(3, -1, -1))
    return viz.frequency(
        replace(explanation, restarts=explanation.restarts or agreeing), *arguments, **settings
    )


def _signed(explanation):
    """The same with contributions of both signs, as a solve measures them."""
    _, n = explanation.log_alpha.shape
    signs = torch.where(torch.arange(n) % 2 == 0, 1.0, -0.5)
    return replace(explanation, contributions=signs * explanation.active_probabilities)


def _scatter(explanation, **settings):
    return viz.scatter(_signed(explanation), 0, **settings)


def _components(explanation, *arguments, **settings):
    """Every gate as a head of a layer, whatever it is."""
    names = tuple(f"layers.{i % 2}.attn[{i // 2}]" for i in range(explanation.log_alpha.shape[1]))
    return viz.components(replace(explanation, feature_names=names), *arguments, **settings)


ON_ONE_AXES = {
    "heatmap": (viz.heatmap, "image"),
    "overlay": (viz.overlay, "image"),
    "contour": (viz.contour, "image"),
    "kept": (viz.kept, "image"),
    "removed": (viz.removed, "image"),
    "superpixels": (viz.superpixels, "image"),
    "bars": (viz.bars, "table"),
    "importance": (viz.importance, "table"),
    "beeswarm": (viz.beeswarm, "table"),
    "matrix": (viz.matrix, "table"),
    "series": (viz.series, "signal"),
    "components": (_components, "table"),
    "curve": (viz.curve, "table"),
    "trace": (viz.trace, "table"),
    "frequency": (_frequency, "restarted"),
    "scatter": (_scatter, "table"),
    "waterfall": (lambda e, *i, **settings: viz.waterfall(_signed(e), *i, **settings), "table"),
    "signed bars": (lambda e, *i, **settings: viz.bars(_signed(e), *i, **settings), "table"),
    "signed beeswarm": (lambda e, **settings: viz.beeswarm(_signed(e), **settings), "table"),
    "mean contributions": (lambda e, **settings: viz.importance(_signed(e), **settings), "table"),
}
SIGNED = {"signed bars", "signed beeswarm", "mean contributions"}  # drawn by functions that are here already
ON_SEVERAL = {
    "panel": (viz.panel, "image"),
    "grid": (viz.grid, "images"),
    "strip": (viz.strip, "image"),
    "preview": (lambda e, i=0: viz.preview(e.inputs[0], e.feature_mask[0], example=i), "image"),
    "comparison": (lambda e: viz.comparison({"gates": e, "other": e.attributions - 0.5}), "image"),
}
EVERY = ON_ONE_AXES | ON_SEVERAL

one_axes = pytest.mark.parametrize("name", ON_ONE_AXES)
every = pytest.mark.parametrize("name", EVERY)


def test_every_picture_is_here():
    others = {"Picture", "Text", "html", "text"}
    assert set(viz.__all__) == set(EVERY) - SIGNED | others


@every
def test_returns_figure_and_axes(name, request):
    draw, source = EVERY[name]
    picture = draw(request.getfixturevalue(source))
    fig, ax = picture
    assert isinstance(fig, Figure)
    assert isinstance(ax, Axes) if name in ON_ONE_AXES else all(isinstance(a, Axes) for a in ax.flat)
    assert len(picture.alt) > 20


@one_axes
def test_draws_on_the_axes_given_and_leaves_the_figure_alone(name, request):
    draw, source = ON_ONE_AXES[name]
    own = Figure(figsize=(4, 3))
    own.set_label("mine")
    left, right = own.subplots(1, 2)
    place = left.get_position().bounds
    picture = draw(request.getfixturevalue(source), ax=left)
    own.draw_without_rendering()
    assert picture.ax is left
    assert picture.fig is own
    assert (*own.get_size_inches(), own.get_label()) == (4, 3, "mine")
    assert own.axes == [left, right]  # a colour bar is inside the axes, not beside them
    assert not right.has_data()
    if left.get_aspect() == "auto":
        assert left.get_position().bounds == place


@one_axes
def test_draws_on_axes_of_a_subfigure(name, request):
    draw, source = ON_ONE_AXES[name]
    whole = Figure()
    part = whole.subfigures(1, 2)[0]
    picture = draw(request.getfixturevalue(source), ax=part.subplots())
    assert picture.fig is whole
    assert picture._repr_html_().startswith("<img alt=")


@one_axes
def test_nothing_is_cut_off(name, request):
    """On a figure of its own everything drawn is inside, titles and labels too."""
    draw, source = ON_ONE_AXES[name]
    fig, _ = draw(request.getfixturevalue(source))
    fig.draw_without_rendering()
    left, bottom, right, top = fig.get_tightbbox().extents
    width, height = fig.get_size_inches()
    slack = 0.02  # inches: the width of a line
    assert left >= -slack
    assert bottom >= -slack
    assert right <= width + slack
    assert top <= height + slack


@every
def test_touches_no_global_state(name, request):
    from matplotlib import pyplot

    draw, source = EVERY[name]
    explanation = request.getfixturevalue(source)
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    draw(explanation)._repr_html_()
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    assert pyplot.get_fignums() == []


@every
def test_is_drawn_the_same_twice(name, request):
    draw, source = EVERY[name]
    explanation = request.getfixturevalue(source)
    assert draw(explanation)._repr_html_() == draw(explanation)._repr_html_()


@every
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_zero_and_all_one_are_drawn(name, value, request, explain):
    draw, source = EVERY[name]
    like = request.getfixturevalue(source)
    extreme = explain(
        like.inputs[0],
        torch.full_like(like.log_alpha, 60.0 if value else -60.0),
        like.feature_mask[0],
    )
    picture = draw(extreme)
    picture.fig.draw_without_rendering()
    assert "nan" not in picture.alt
    for ax in picture.fig.axes:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"scatter"}))  # a feature of all elements has no value
def test_one_feature_is_drawn(name, request, explain):
    draw, source = EVERY[name]
    x = request.getfixturevalue(source).inputs[0]
    single = explain(x, torch.full((len(x), 1), 4.0), torch.zeros(1, *x.shape[1:], dtype=torch.long))
    draw(single).fig.draw_without_rendering()


@one_axes
def test_axes_must_be_one(name, request):
    draw, source = ON_ONE_AXES[name]
    explanation = request.getfixturevalue(source)
    with pytest.raises(ArgumentError, match=r"ax: .*Axes; found ndarray.*one"):
        draw(explanation, ax=Figure().subplots(1, 2))


OF_MANY = {"importance", "beeswarm", "matrix", "grid", "comparison", "scatter", *SIGNED} - {"signed bars"}


@pytest.mark.parametrize("name", sorted(set(EVERY) - OF_MANY))
def test_there_must_be_such_an_example(name, request):
    draw, source = EVERY[name]
    explanation = request.getfixturevalue(source)
    with pytest.raises(ArgumentError, match=r"example: .*from 0 to \d+; found 99"):
        draw(explanation, 99)


@pytest.mark.parametrize("name", ["heatmap", "overlay", "bars", "importance", "beeswarm", "matrix", "series"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, r"expected active probabilities in \[0, 1\]; found values from .* to 1.5. .*viz.comparison"),
        (float("nan"), "expected finite numbers; found 1 that are NaN or infinite"),
    ],
)
def test_only_probabilities_are_drawn(name, value, message, request):
    draw, source = EVERY[name]
    attributions = request.getfixturevalue(source).attributions.clone()
    attributions.flatten()[0] = value
    with pytest.raises(ArgumentError, match=message):
        draw(attributions)


def test_nothing_goes_through_pyplot():
    sources = Path(viz.__file__).parent.glob("*.py")
    imports = [line for path in sources for line in path.read_text().splitlines() if "import" in line]
    assert [line for line in imports if "pyplot" in line or "rcParams" in line] == []
