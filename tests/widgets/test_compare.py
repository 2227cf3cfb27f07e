"""Methods side by side: measured as plain forward passes would measure them."""

import base64
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from stg_attr import Status, StochasticGates
from stg_attr.errors import ArgumentError

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing


def _unpack(text, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


@pytest.fixture
def gradients(net, image):
    return torch.autograd.functional.jacobian(lambda x: net(x)[:, 1].sum(), image.inputs[0])


@torch.no_grad()
def test_other_methods_are_measured_at_the_same_counts(net, image, gradients):
    explorer = widgets.compare({"gates": image, "gradients": gradients}, forward_func=net)
    gates, other = explorer.methods
    columns = image.feature_mask[0][0, 0]
    for example in range(3):
        packed = other["readings"][example]
        assert packed["n"] == gates["readings"][example]["n"]
        means = torch.stack([gradients[example][:, columns == g].mean() for g in range(16)])
        order = means.argsort(descending=True)
        for count, kept, removed in zip(packed["n"], packed["kept"], packed["removed"], strict=True):
            top = torch.isin(columns, order[:count])
            x = image.inputs[0][example]
            assert kept == pytest.approx(float(net((x * top)[None])[0, 1]), abs=1e-5)
            assert removed == pytest.approx(float(net((x * ~top)[None])[0, 1]), abs=1e-5)
        level = _unpack(packed["level"], np.float32) * packed["limit"]
        assert np.allclose(level, means, atol=1e-6)
        assert _unpack(packed["rank"], np.int32).argsort().tolist() == order.tolist()


def test_targets_are_compared_without_a_model(net, images, blocks, image):
    other = StochasticGates(net).explain(images, feature_mask=blocks, target=2)
    explorer = widgets.compare({"one": image, "two": other})
    assert [method["name"] for method in explorer.methods] == ["one", "two"]
    assert explorer.explanation is image


def test_the_table_states_sufficiency_and_comprehensiveness(image, net, gradients):
    explorer = widgets.compare({"gates": image, "gradients": gradients}, forward_func=net, examples=[1])
    markup = explorer.markup()
    assert f"<td>{float(image.sufficiency[1]):.4g}</td>" in markup
    assert f"<td>{float(image.comprehensiveness[1]):.4g}</td>" in markup


def test_of_a_small_difference_no_share_is_shown(image, net, gradients):
    small = replace(image, status=(Status.CONVERGED, Status.SMALL_DIFFERENCE, Status.NOTHING_TO_EXPLAIN))
    for place, shown in enumerate((True, False, False)):
        explorer = widgets.compare({"gates": small, "other": gradients}, forward_func=net, examples=[place])
        assert [method["readings"][0]["shares"] for method in explorer.methods] == [shown] * 2
        cells = re.findall(r"<td>(.*?)</td>", explorer.markup())
        assert [cells[3].endswith("%)"), cells[10].endswith("%)")] == [shown] * 2, cells


def test_text_and_layers_are_compared(text, tokens):
    shown = widgets.compare({"a": text, "b": text}, view=widgets.TextView(tokens))
    assert "selected" in shown.markup()


def test_a_model_is_needed_for_other_methods(image, gradients):
    with pytest.raises(ArgumentError, match=r"forward_func: expected the model.*'other'"):
        widgets.compare({"gates": image, "other": gradients})


def test_an_explanation_is_needed(gradients, net):
    with pytest.raises(ArgumentError, match="methods: expected at least one Explanation"):
        widgets.compare({"other": gradients}, forward_func=net)


def test_they_must_share_inputs_and_features(image, net, images):
    other = StochasticGates(net).explain(images, target=1, n_steps=1)
    with pytest.raises(ArgumentError, match=r"same inputs .*same feature_mask"):
        widgets.compare({"a": image, "b": other})
