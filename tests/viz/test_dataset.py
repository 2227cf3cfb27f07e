"""Data sets: means, dots and cells are those of the explanation."""

import numpy as np
import pandas as pd
import pytest
import torch

from stg_attr import viz
from stg_attr.errors import ArgumentError


def _labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def _dots(ax):
    return [c.get_offsets().data for c in ax.collections if len(c.get_offsets()) > 1]


def test_importance_is_the_mean_over_rows(table):
    _, ax = viz.importance(table)
    mean = table.active_probabilities.mean(0)
    order = mean.argsort(descending=True)
    assert _labels(ax) == [f"feature {i}" for i in order.tolist()]
    assert np.allclose([bar.get_width() for bar in ax.patches], mean[order], atol=1e-6)
    assert np.allclose(ax.lines[0].get_xdata(), table.selected.float().mean(0)[order])


def test_a_swarm_has_a_dot_for_each_row_at_its_probability(table):
    _, ax = viz.beeswarm(table, top=2)
    mean = table.active_probabilities.mean(0)
    dots = _dots(ax)
    assert len(dots) == 2
    for lane, column in enumerate(mean.argsort(descending=True)[:2].tolist()):
        assert np.allclose(np.sort(dots[lane][:, 0]), table.active_probabilities[:, column].sort().values)
        assert np.abs(dots[lane][:, 1] - lane).max() < 0.5


def test_dots_of_one_place_stay_apart():
    _, ax = viz.beeswarm(torch.full((40, 1), 0.5), inputs=torch.arange(40.0)[:, None])
    (dots,) = _dots(ax)
    assert len(np.unique(dots[:, 1].round(6))) == 40


def test_the_colour_of_a_dot_is_the_rank_of_its_value(table):
    _, ax = viz.beeswarm(table, top=1)
    swarm = next(c for c in ax.collections if len(c.get_offsets()) > 1)
    assert np.allclose(swarm.get_array(), np.arange(12) / 11)  # the values rise from row to row


def test_the_matrix_holds_every_probability(table):
    _, ax = viz.matrix(table, range(12))
    order = table.active_probabilities.mean(0).argsort(descending=True)
    shown = ax.get_images()[0]
    assert np.allclose(shown.get_array(), table.active_probabilities[:, order].T)
    assert shown.get_clim() == (0.0, 1.0)


def test_the_matrix_puts_alike_rows_together():
    rows = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    shown = np.asarray(viz.matrix(rows).ax.get_images()[0].get_array())
    assert shown.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("draw", [viz.importance, viz.beeswarm, viz.matrix])
def test_names_come_from_a_data_frame(draw, table):
    names = pd.DataFrame(columns=list("uvwxyz"))
    order = table.active_probabilities.mean(0).argsort(descending=True)
    assert _labels(draw(table, names=names).ax) == ["uvwxyz"[i] for i in order.tolist()]


@pytest.mark.parametrize("draw", [viz.importance, viz.beeswarm, viz.matrix])
def test_rows_must_have_the_same_features(draw, explain):
    mask = torch.tensor([[0, 0, 1], [0, 1, 1]])
    explanation = explain(torch.zeros(2, 3), torch.zeros(2, 2), mask)
    with pytest.raises(ArgumentError, match=r"source: .*same features; found a feature_mask"):
        draw(explanation)


@pytest.mark.parametrize("draw", [viz.importance, viz.beeswarm, viz.matrix])
def test_there_must_be_rows(draw):
    with pytest.raises(ArgumentError, match="source: expected at least one row"):
        draw(torch.zeros(0, 3))
