"""Comparison: gates on their own scale, every other method on its own."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients

from stg_attr import viz
from stg_attr.errors import ArgumentError


def _model(x):
    return torch.stack([x.flatten(1).sum(1), x.flatten(1)[:, 0]], 1)


def test_captum_attributions_stand_beside_gates(image, photo):
    methods = {
        "gates": image,
        "IG": IntegratedGradients(_model).attribute(photo, target=0),
        "ablation": FeatureAblation(_model).attribute(photo, target=0),
    }
    _fig, axes = viz.comparison(methods)
    assert [ax.get_title() for ax in axes][:2] == ["input\n", "gates\n0 to 1"]
    assert np.allclose(axes[1].get_images()[0].get_array(), image.attributions[0].max(0).values)
    shown = axes[2].get_images()[0]
    assert np.allclose(shown.get_array(), methods["IG"][0].sum(0).detach())
    low, high = shown.get_clim()
    assert low == -high
    assert high == pytest.approx(float(methods["IG"][0].sum(0).abs().max()))


def test_the_title_states_the_scale(photo):
    _, axes = viz.comparison({"a": photo[:, :1] - 0.25, "b": photo[:, :1]})
    assert [ax.get_title() for ax in axes] == ["a\n±0.75", "b\n0 to 1"]


def test_rows_are_bars_of_the_same_features(table):
    signed = table.inputs[0]
    _fig, axes = viz.comparison({"gates": table, "other": signed}, 2, names=list("abcdef"), top=3)
    assert len(axes[0].patches) == len(axes[1].patches) == 3
    chosen = [label.get_text() for label in axes[0].get_yticklabels()]
    widths = [bar.get_width() for bar in axes[1].patches]
    assert widths == [float(signed[2, "abcdef".index(name)]) for name in chosen]


def test_tuples_are_read_at_which(table):
    _, axes = viz.comparison({"pair": (torch.zeros(1, 2), torch.ones(1, 3))}, which=1)
    assert [bar.get_width() for bar in axes[0].patches] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("shape", [(1, 5), (1, 3, 6, 6)])
def test_nothing_at_all_is_drawn(shape):
    fig, _ = viz.comparison({"none": torch.zeros(shape), "some": -torch.ones(shape)})
    fig.draw_without_rendering()


@pytest.mark.parametrize(
    ("methods", "arguments", "message"),
    [
        ({}, {}, "methods: expected attributions of one shape; found no methods"),
        ({"a": torch.zeros(1, 3), "b": torch.zeros(1, 4)}, {}, r"found a \(3,\), b \(4,\)"),
        ({"a": torch.full((1, 3), torch.nan)}, {}, r"methods\['a'\]: expected finite numbers; found 3"),
        ({"a": torch.zeros(1, 3)}, {"names": ["x"]}, "names: expected 3, one per feature; found 1"),
        ({"a": torch.zeros(1, 2, 3, 3, 3)}, {}, "image: expected"),
    ],
)
def test_bad_methods_are_refused(methods, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        viz.comparison(methods, **arguments)
