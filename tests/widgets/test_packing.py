"""What is sent to the browser holds every reading of the explanation, in little space."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from stg_attr import BinaryConcrete, Gaussian, StochasticGates, viz
from stg_attr.errors import ArgumentError

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
pack = pytest.importorskip("stg_attr.widgets.packing").pack


def unpack(text, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


def probabilities(packed, gates, point):
    """What the front end computes, written anew."""
    parameter = unpack(packed["alpha"], np.float32) + np.float32(packed["shift"][point])
    parameter = np.where(
        unpack(packed["rank"], np.int32) < 0, np.minimum(parameter, gates["half"]), parameter
    )
    table = unpack(gates["table"], np.float32)
    place = ((parameter - gates["half"] + gates["reach"]) / gates["step"]).clip(0, len(table) - 1)
    return np.interp(place, np.arange(len(table)), table)


def _agrees(explanation, explorer):
    (method,) = explorer.methods
    for example, packed in enumerate(method["readings"]):
        rank = unpack(packed["rank"], np.int32)
        for point, count in enumerate(packed["n"]):
            known = explanation.at(budget=min(1.0, count / packed["gates"]))
            drawn = probabilities(packed, method["gates"], point)
            assert np.allclose(drawn, known.active_probabilities[example], atol=2e-4)
            assert (((rank >= 0) & (rank < count)) == known.selected[example].numpy()).all()
            assert packed["kept"][point] == pytest.approx(
                float(known.scores.kept[example]), rel=1e-4, abs=1e-6
            )
            assert packed["removed"][point] == pytest.approx(
                float(known.scores.removed[example]), rel=1e-4, abs=1e-6
            )


@pytest.mark.parametrize("gates", [BinaryConcrete(), BinaryConcrete(temperature=0.3), Gaussian()])
def test_every_reading_is_that_of_at(gates, net, images, blocks):
    explanation = StochasticGates(net, gates=gates).explain(images, feature_mask=blocks, target=1)
    _agrees(explanation, widgets.explore(explanation))


def test_features_that_the_model_cannot_see_stay_closed(table):
    explorer = widgets.explore(table)
    _agrees(table, explorer)
    rank = unpack(explorer.methods[0]["readings"][0]["rank"], np.int32)
    assert rank[[2, 5]].tolist() == [-1, -1]


def test_examples_with_fewer_features_than_others():
    mask = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
    explanation = StochasticGates(lambda x: x.sum(1)).explain(torch.rand(2, 4) + 1, feature_mask=mask)
    explorer = widgets.explore(explanation)
    _agrees(explanation, explorer)
    assert [reading["gates"] for reading in explorer.methods[0]["readings"]] == [4, 2]


def test_nothing_to_explain_is_packed():
    explanation = StochasticGates(lambda x: 0 * x.sum(1) + 3).explain(torch.rand(2, 4))
    explorer = widgets.explore(explanation)
    assert [reading["explainable"] for reading in explorer.methods[0]["readings"]] == [False, False]
    _agrees(explanation, explorer)


def test_pixels_are_those_of_the_image(image):
    scene = widgets.explore(image).payload["examples"][1]["scene"]
    drawn = unpack(scene["pixels"], np.uint8).reshape(16, 16, 3)
    assert np.abs(drawn / 255 - image.inputs[0][1].permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
    assert scene["size"] == [16, 16, 3]
    assert scene["layers"] == 1
    assert unpack(scene["columns"], np.int32).reshape(16, 16)[0, 15] == 3
    assert scene["ids"] == image.feature_ids[0].tolist()


def test_channels_with_gates_of_their_own_have_layers(net, images):
    explanation = StochasticGates(net).explain(images[:1], target=0, n_steps=2)
    assert widgets.explore(explanation).payload["examples"][0]["scene"]["layers"] == 3


def test_large_images_are_thinned_out():
    x = torch.rand(1, 1, 900, 500)
    mask = (torch.arange(900)[:, None] // 300).expand(900, 500)[None, None]
    explanation = StochasticGates(lambda x: x.mean((1, 2, 3))).explain(x, feature_mask=mask, n_steps=2)
    scene = widgets.explore(explanation).payload["examples"][0]["scene"]
    assert scene["size"] == [300, 167, 1]


def test_words_know_their_gates(text, tokens):
    scene = widgets.explore(text, view=widgets.TextView(tokens)).payload["examples"][0]["scene"]
    words = {word["t"]: word["g"] for word in scene["words"]}
    assert words["unbelievable"] == [1, 2, 3]
    assert words["[CLS]"] == []
    assert words["film"] == [4]
    assert scene["names"][2] == "##believ"


def test_series_know_their_gates(series):
    scene = widgets.explore(series).payload["examples"][0]["scene"]
    assert scene["kind"] == "series"
    assert unpack(scene["columns"], np.int32).reshape(3, 80)[1, 8] == 11
    assert np.array_equal(unpack(scene["values"], np.float32).reshape(3, 80), series.inputs[0][0].numpy())


def test_tables_name_features_and_values(table):
    view = widgets.TableView(name for name in "abcdef")  # which can be read only once
    for _ in range(2):
        scene = widgets.explore(table, view=view).payload["examples"][0]["scene"]
        assert scene["names"] == list("abcdef")
    assert scene["values"][0] == f"{float(table.inputs[0][0, 0]):.4g}"
    assert scene["hidden"] == ["0"] * 6


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((3, 8, 10), "image"), ((8, 8), "image"), ((4, 30), "series"), ((30, 4), "table"), ((7,), "table")],
)
def test_the_view_fits_the_inputs(shape, kind):
    explanation = StochasticGates(lambda x: x.flatten(1).sum(1)).explain(torch.rand(1, *shape), n_steps=1)
    assert widgets.explore(explanation).payload["kind"] == kind


def test_several_inputs_are_a_table():
    pair = (torch.rand(1, 3), torch.rand(1, 2))
    explanation = StochasticGates(lambda a, b: a.sum(1) + b.sum(1)).explain(pair, n_steps=1)
    scene = widgets.explore(explanation).payload["examples"][0]["scene"]
    assert len(scene["names"]) == len(scene["values"]) == len(scene["hidden"]) == 5


def test_it_is_plain_json(image, text, tokens, table, series):
    for explorer in (
        widgets.explore(image),
        widgets.explore(text, view=widgets.TextView(tokens)),
        widgets.explore(table),
        widgets.explore(series),
    ):
        json.dumps([explorer.payload, explorer.methods], allow_nan=False)


def test_packing_keeps_every_number():
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    assert np.array_equal(unpack(pack(values.T), np.float32).reshape(5, 7), values.T)


def test_there_must_be_a_curve(net, images, image):
    from dataclasses import replace

    from stg_attr.attribution import Curve

    none = torch.zeros(3, 0)
    bare = replace(image, curve=Curve(none.long(), none, none, none))
    with pytest.raises(ArgumentError, match=r"measured curve.*found no curve"):
        widgets.explore(bare)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"examples": [9]}, "examples: expected a number from 0 to 2; found 9"),
        ({"examples": []}, "examples: expected at least one"),
        ({"names": ["one"]}, "names: expected one for each of 3 examples; found 1"),
        ({"view": widgets.SeriesView()}, "inputs of .batch, channels, time"),
        ({"view": widgets.TextView(["a"])}, "tokens: expected"),
    ],
)
def test_what_cannot_be_shown_is_refused(settings, message, image):
    with pytest.raises(ArgumentError, match=message):
        widgets.explore(image, **settings)


def test_series_names_are_counted(series):
    with pytest.raises(ArgumentError, match=r"names: expected 3, .*found 1"):
        widgets.explore(series, view=widgets.SeriesView(["a"]))


def test_token_lists_are_counted(text):
    with pytest.raises(ArgumentError, match=r"tokens: .*2 examples.*found 3"):
        widgets.explore(text, view=widgets.TextView([["a"]] * 3))


def test_only_explanations_are_explored(image):
    with pytest.raises(ArgumentError, match="explanation: expected an Explanation"):
        widgets.explore(image.attributions)


def test_what_is_sent_to_the_browser_can_be_limited(image, table):
    scene = widgets.explore(image, view=widgets.ImageView(longest_side=8)).payload["examples"][0]["scene"]
    assert scene["size"] == [8, 8, 3]
    scene = widgets.explore(table, view=widgets.TableView(most_named=2)).payload["examples"][0]["scene"]
    assert len(scene["names"]) == len(scene["values"]) == 2


@pytest.mark.parametrize(
    ("view", "name"), [(widgets.ImageView, "longest_side"), (widgets.TableView, "most_named")]
)
def test_limits_are_whole_numbers(view, name):
    with pytest.raises(ArgumentError, match=f"{name}: .*at least 1; found 0"):
        view(**{name: 0})


def test_code_can_be_run_with_a_second_input():
    pair = (torch.rand(1, 6, 6), torch.rand(1, 8, 8))
    view = StochasticGates(lambda a, b: a.sum((1, 2)) + b.sum((1, 2))).explain(pair, n_steps=1)
    for call in widgets.ImageView(which=1, mean=0.5, std=[0.25]).code(0).values():
        assert "which=1, mean=0.5, std=0.25" in call
        assert eval(call, {"view": view, "viz": viz}).alt


def test_a_table_is_sent_with_its_contributions_and_names():
    explanation = StochasticGates(lambda x: 3 * x[:, 0] - 2 * x[:, 1]).explain(
        torch.ones(1, 3), feature_names=["a", "b", "c"]
    )
    scene = widgets.TableView().scene(explanation, 0)
    assert scene["names"] == ["a", "b", "c"]
    assert scene["adds"] == pytest.approx([3, -2, 0], abs=1e-3)
    assert widgets.TableView().scene(replace(explanation, contributions=None), 0)["adds"] is None
