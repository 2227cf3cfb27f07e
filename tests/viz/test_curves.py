"""Curves: the measured points, the chosen budget and the verdict."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stg_attr import viz
from stg_attr.attribution import Curve, Status
from stg_attr.errors import ArgumentError


def test_the_curve_goes_through_the_measured_shares(table):
    _, ax = viz.curve(table, 2)
    kept, removed = ax.lines[0], ax.lines[1]
    assert kept.get_xdata().tolist() == table.curve.n_open[2].tolist()
    assert np.allclose(kept.get_ydata(), (table.curve.kept[2] - 0.1) / 0.8)
    assert np.allclose(removed.get_ydata(), (table.curve.removed[2] - 0.1) / 0.8)
    assert ax.get_ylabel() == "retained score"


def test_the_selection_is_marked(table):
    _, ax = viz.curve(table, 2)
    marked = next(line for line in ax.lines if line.get_label().startswith("selected"))
    assert set(marked.get_xdata()) == {int(table.n_selected[2])}
    assert f"selected: {int(table.n_selected[2])}" in [t.get_text() for t in ax.get_legend().get_texts()]


@pytest.mark.parametrize(("count", "scale"), [(6, "linear"), (192, "symlog")])
def test_many_features_are_counted_logarithmically(count, scale, explain):
    _, ax = viz.curve(explain(torch.zeros(1, count), torch.linspace(-5, 5, count)[None]))
    assert ax.get_xscale() == scale
    assert ax.get_xlim()[0] <= 0 < count <= ax.get_xlim()[1]
    assert count in ax.get_xticks() or scale == "linear"


def test_without_a_span_the_scores_themselves_are_drawn(explain):
    explanation = explain(torch.zeros(1, 4), torch.zeros(1, 4), status=Status.NOTHING_TO_EXPLAIN)
    _, ax = viz.curve(explanation)
    assert ax.get_ylabel() == "score"
    assert "Nothing to explain: input and baseline score 0.1 and 0.1" in ax.figure.get_suptitle()


def test_of_a_small_difference_the_scores_themselves_are_drawn(table):
    small = replace(table, status=(Status.SMALL_DIFFERENCE,) * len(table))
    _, ax = viz.curve(small, 2)
    assert ax.get_ylabel() == "score"
    assert ax.lines[0].get_ydata().max() == pytest.approx(float(small.curve.kept[2].max()))


def test_a_curve_must_have_been_measured(table):
    nothing = torch.zeros(12, 0)
    bare = replace(table, curve=Curve(nothing.long(), nothing, nothing, nothing))
    with pytest.raises(ArgumentError, match=r"curve: .*found none\..*explain"):
        viz.curve(bare)


@pytest.mark.parametrize("draw", [viz.curve, viz.trace, viz.html])
def test_plain_tensors_have_no_scores(draw):
    with pytest.raises(ArgumentError, match=r"expected an Explanation.*found Tensor"):
        draw(torch.zeros(3))


@pytest.mark.parametrize("status", list(Status))
def test_the_trace_states_the_verdict(status, explain):
    picture = viz.trace(explain(torch.zeros(1, 4), torch.zeros(1, 4), status=status))
    assert picture.fig.get_suptitle().replace("\n", " ") == status.value
    assert picture.alt.endswith(status.value)


def test_the_trace_is_every_loss_and_its_mean(table):
    _, ax = viz.trace(table, 1)
    loss, mean = (np.asarray(line.get_ydata()) for line in ax.lines[:2])
    assert np.allclose(loss, table.loss_trace[:, 1])
    assert np.isclose(mean[30], loss[24:37].mean())


def test_losses_that_are_not_finite_are_gaps(table):
    trace = table.loss_trace.clone()
    trace[10:40] = torch.nan
    _, ax = viz.trace(replace(table, loss_trace=trace))
    assert np.isnan(ax.lines[1].get_ydata()).sum() == 30 - 2 * 6
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_short_traces_are_drawn(steps, table):
    viz.trace(replace(table, loss_trace=table.loss_trace[:steps])).fig.draw_without_rendering()


def test_the_moving_mean_is_as_wide_as_asked(table):
    _, ax = viz.trace(table, 1, smoothing=0.05)
    assert np.isclose(ax.lines[1].get_ydata()[30], table.loss_trace[27:34, 1].mean())
    with pytest.raises(ArgumentError, match=r"smoothing: .*\[0, 1\]; found 2"):
        viz.trace(table, smoothing=2)
