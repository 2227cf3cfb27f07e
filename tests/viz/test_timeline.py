"""Time series: lanes, shades and spans are where the explanation has them."""

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh

from stg_attr import viz
from stg_attr.errors import ArgumentError


def _meshes(ax):
    return [c for c in ax.collections if isinstance(c, QuadMesh)]


def _spans(ax):
    return [s.tolist() for c in ax.collections if not isinstance(c, QuadMesh) for s in c.get_segments()]


def test_every_channel_has_a_lane_with_its_probabilities(signal):
    _, ax = viz.series(signal, names=["a", "b", "c"])
    for mesh, row in zip(_meshes(ax), signal.attributions[0], strict=True):
        assert np.allclose(mesh.get_array().ravel(), row)
        assert mesh.get_clim() == (0.0, 1.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]


def test_lines_stay_in_their_lanes(signal):
    _, ax = viz.series(signal)
    for lane, line in enumerate(line for line in ax.lines if len(line.get_xdata()) == 40):
        assert lane < line.get_ydata().min() <= line.get_ydata().max() < lane + 1


def test_large_values_are_up(signal):
    _, ax = viz.series(signal)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 40)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert np.argmin(line.get_ydata()) == int(signal.inputs[0][0, 0].argmax())


def test_selected_spans_are_marked(signal):
    _, ax = viz.series(signal)
    assert [[(a[0], b[0]), int(a[1])] for a, b in _spans(ax)] == [[(9.5, 19.5), 0], [(19.5, 24.5), 1]]


def test_the_words_name_the_spans(signal):
    assert "selected spans: a at 10 to 19; b at 20 to 24." in viz.series(signal, names=["a", "b", "c"]).alt


def test_channels_last_is_the_transpose():
    heat = torch.rand(7, 2, generator=torch.Generator().manual_seed(0))
    first, last = viz.series(heat.T), viz.series(heat, channels_last=True)
    assert [m.get_array().tolist() for m in _meshes(first.ax)] == [
        m.get_array().tolist() for m in _meshes(last.ax)
    ]


def test_uneven_times_have_uneven_cells():
    _, ax = viz.series(torch.tensor([0.0, 1.0, 0.0]), times=[0.0, 1.0, 5.0])
    assert _spans(ax)[0] == [[0.5, 0.96], [3.0, 0.96]]


@pytest.mark.parametrize("shape", [(1,), (3, 1), (1, 30)])
def test_short_series_are_drawn(shape):
    picture = viz.series(torch.ones(shape), inputs=torch.zeros(shape), channels_last=False)
    picture.fig.draw_without_rendering()
    assert len(_meshes(picture.ax)) == (shape[0] if len(shape) > 1 else 1)


def test_more_channels_than_steps_are_drawn_with_a_warning_unless_they_are_said_to_be_channels():
    heat = torch.rand(7, 2, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"7 channels of 2 steps.*channels_last=True"):
        drawn = viz.series(heat)
    assert len(_meshes(drawn.ax)) == 7
    assert len(_meshes(viz.series(heat, channels_last=False).ax)) == 7
    assert len(_meshes(viz.series(heat, channels_last=True).ax)) == 2


def test_long_names_of_channels_stay_different():
    names = [f"the_mean_of_the_third_accelerometer_on_the_left_{i}" for i in range(8)]
    _, ax = viz.series(torch.rand(8, 9), names=names)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"{name[:20]}…{name[-19:]}" for name in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a"]}, "names: expected 3, one per channel; found 1"),
        ({"times": [1.0, 2.0]}, r"times: expected 40 ascending numbers; found shape \(2,\)"),
        ({"times": [0.0] * 40}, "times: expected 40 ascending numbers; found numbers that do not ascend"),
    ],
)
def test_counts_must_match(arguments, message, signal):
    with pytest.raises(ArgumentError, match=message):
        viz.series(signal, **arguments)


def test_images_are_no_series(image):
    with pytest.raises(
        ArgumentError, match=r"attributions: expected \[channels, time\] or \[time\].*viz.panel"
    ):
        viz.series(image)
