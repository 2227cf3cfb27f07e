"""Layers by components: cells are where names say, shaded by probability, and framed if selected."""

from dataclasses import replace

import pytest
import torch
from matplotlib.patches import Rectangle

from stg_attr import viz
from stg_attr.errors import ArgumentError

NAMES = tuple(
    f"block.{layer}.{part}" for part in ("attn[0]", "attn[1]", "mlp") for layer in range(2)
)  # of block 0 and 1 by turns


@pytest.fixture
def model(explain):
    """Six components of two layers; two of them are selected."""
    log_alpha = torch.tensor([[3.0, -1.0, -2.0, -4.0, -3.0, 2.0]])
    return replace(explain(torch.ones(1, 6), log_alpha), feature_names=NAMES)


def _cells(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_fill()]


def _frames(ax):
    return [tuple(patch.get_center().round(6).tolist()) for patch in ax.patches if not patch.get_fill()]


def test_cells_are_where_their_names_say(model):
    _, ax = viz.components(model)
    places = [cell.get_xy() for cell in _cells(ax)]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2.5, 0), (2.5, 1)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["block.0", "block.1"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first layer is at the top
    assert [text.get_text() for text in ax.texts] == ["attn", "mlp"]


def test_the_shade_is_the_probability(model):
    _, ax = viz.components(model)
    opacity = torch.tensor([cell.get_facecolor()[3] for cell in _cells(ax)], dtype=torch.float64)
    expected = viz.colours.MAX_OPACITY * model.active_probabilities[0].double()
    torch.testing.assert_close(opacity, expected, rtol=0, atol=0.01)


def test_selected_cells_are_framed_and_named(model):
    picture = viz.components(model)
    assert _frames(picture.ax) == [(0.5, 0.5), (3.0, 1.5)]
    assert "selected: block.0.attn[0], block.1.mlp." in picture.alt


def test_sites_without_a_number_are_layers(explain):
    found = replace(explain(torch.ones(1, 3), torch.ones(1, 3)), feature_names=("one[0]", "one[1]", "two"))
    _, ax = viz.components(found)
    assert [cell.get_xy() for cell in _cells(ax)] == [(0, 0), (1, 0), (0, 1)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]


def test_hundreds_of_channels_have_no_numbers(explain):
    names = tuple(f"conv[{i}]" for i in range(100))
    found = replace(explain(torch.ones(1, 100), torch.linspace(-5, 5, 100)[None]), feature_names=names)
    picture = viz.components(found)
    picture.fig.draw_without_rendering()
    assert len(picture.ax.get_xticks()) == 0
    assert picture.fig.get_size_inches()[0] <= 10


def test_an_explanation_without_names_is_refused(model):
    with pytest.raises(ArgumentError, match=r"feature_names.*viz.bars"):
        viz.components(replace(model, feature_names=None))
