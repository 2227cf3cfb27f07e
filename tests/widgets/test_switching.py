"""Features that are switched on and off: what is on, and the scores that the model gives."""

import json

import pytest
import torch

from stg_attr import ArgumentError, StochasticGates

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
asking = pytest.importorskip("stg_attr.widgets.asking")


@pytest.fixture
def explorer(image):
    return widgets.explore(image)


def _scores(explanation, place, on):
    """The scores of a set and of what it leaves out."""
    kept = torch.zeros_like(explanation.selected[[place]])
    kept[0, on] = True
    return explanation.score_of(torch.stack([kept, ~kept]), examples=[place]).flatten().tolist()


def _known(explorer, place, on):
    kept = torch.zeros_like(explorer.explanation.selected[place])
    kept[on] = True
    known = explorer.answer["known"]
    return [known[asking.set_key(kept)], known[asking.set_key(~kept)]]


def test_what_is_switched_on_is_measured(explorer, image):
    explorer.example = 1
    explorer.chosen = [9, 2, 5]
    assert explorer.chosen == [2, 5, 9]
    assert explorer.answer["example"] == 1
    assert explorer.answer["on"] == [2, 5, 9]
    assert explorer.answer["problem"] == ""
    assert _known(explorer, 1, [2, 5, 9]) == pytest.approx(_scores(image, 1, [2, 5, 9]), rel=1e-5)
    assert explorer.selection.nonzero().flatten().tolist() == [2, 5, 9]


def test_the_slider_and_another_example_end_the_choice(explorer, image):
    explorer.chosen = [3]
    explorer.budget = 5
    assert explorer.chosen is None
    assert torch.equal(explorer.selection, image.at(budget=5 / 16).selected[0])
    explorer.chosen = []
    assert not explorer.selection.any()
    explorer.example = 2
    assert explorer.chosen is None
    explorer.chosen = [3]
    explorer.refresh(image)
    assert explorer.chosen is None


def test_known_scores_are_not_measured_again(net, images, blocks):
    calls = []

    def counted(x):
        calls.append(len(x))
        return net(x)

    explorer = widgets.explore(StochasticGates(counted).explain(images[:1], feature_mask=blocks, target=1))
    explorer.chosen = [1]
    before = len(calls)
    explorer.chosen = None
    explorer.chosen = [1]
    explorer.chosen = [g for g in range(16) if g != 1]  # whose complement is known
    assert len(calls) == before


def test_sets_measured_ahead_are_on_the_page(image, tmp_path):
    explorer = widgets.explore(image, examples=[2])
    explorer.measure_ahead()
    (known,) = explorer.page_state()["known"]
    for reading in image.readings():
        for column in range(16):
            kept = reading.selected[2].clone()
            kept[column] = ~kept[column]
            on = kept.nonzero().flatten().tolist()
            found = [known[asking.set_key(kept)], known[asking.set_key(~kept)]]
            assert found == pytest.approx(_scores(image, 2, on), rel=1e-4, abs=1e-5)
    explorer.to_html(tmp_path / "page.html")
    assert json.dumps(known).replace(" ", "") in (tmp_path / "page.html").read_text().replace(" ", "")


def test_any_sets_can_be_measured_ahead(image):
    explorer, sets = widgets.explore(image), torch.zeros(1, 16, dtype=torch.bool)
    sets[0, [4, 7]] = True
    explorer.measure_ahead(sets)
    assert [len(known) for known in explorer.page_state()["known"]] == [2, 2, 2]
    with pytest.raises(ArgumentError, match=r"sets: expected .* 16 gates; found torch.bool of \[1, 15\]"):
        explorer.measure_ahead(torch.zeros(1, 15, dtype=torch.bool))


def test_too_many_sets_are_not_guessed():
    explanation = StochasticGates(lambda x: x.flatten(1).sum(1)).explain(torch.rand(1, 3, 24, 24), n_steps=2)
    with pytest.raises(ArgumentError, match=r"sets: .*1728 features"):
        widgets.explore(explanation).measure_ahead()


def test_an_explanation_without_a_model_says_so(image, tmp_path):
    image.save(tmp_path / "a.safetensors")
    explorer = widgets.explore(type(image).load(tmp_path / "a.safetensors"))
    explorer.chosen = [1]
    assert "found data only" in explorer.answer["problem"]
    with pytest.raises(ArgumentError, match="found data only"):
        explorer.measure_ahead()


def test_a_model_that_fails_says_so(net, images, blocks):
    def broken(x):
        if broken.on:
            raise RuntimeError("no room")
        return net(x)

    broken.on = False
    explorer = widgets.explore(StochasticGates(broken).explain(images[:1], feature_mask=blocks, target=1))
    broken.on = True
    explorer.chosen = [1]
    assert explorer.answer["problem"] == "RuntimeError: no room"
    assert asking.MODEL.acquire(blocking=False)
    asking.MODEL.release()


def test_a_click_does_not_run_the_model_during_a_solve(explorer):
    with asking.MODEL:
        explorer.chosen = [1]
    assert explorer.answer["problem"].startswith("the model is busy")
    explorer.chosen = None
    explorer.chosen = [1]
    assert explorer.answer["problem"] == ""


@pytest.mark.parametrize("on", [[16], [-1], [3, 40]])
def test_only_features_that_are_there_can_be_on(explorer, on):
    with pytest.raises(Exception, match=r"from 0 to 15|16|value .*-1"):
        explorer.chosen = on


def test_features_that_an_example_lacks_are_in_no_set():
    mask = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
    explanation = StochasticGates(lambda x: x.sum(1)).explain(torch.rand(2, 4) + 1, feature_mask=mask)
    explorer = widgets.explore(explanation)
    assert [m["missing"] for m in explorer.methods[0]["readings"]] == [[], [2, 3]]
    explorer.example = 1
    with pytest.raises(ArgumentError, match="chosen: expected columns of features"):
        explorer.chosen = [0, 2]
    explorer.chosen = [0]
    assert set(explorer.answer["known"]) == {"1", "2"}  # the other one is the second feature alone


def test_several_methods_have_no_features_by_hand(image, net, images):
    shown = widgets.compare({"a": image, "b": image})
    shown.chosen = [1]
    assert shown.answer == {}


def test_regions_have_the_names_that_were_given(net, images, blocks, hostile):
    names = [hostile, *(f"part {i}" for i in range(1, 16))]
    explanation = StochasticGates(net).explain(
        images[:1], feature_mask=blocks, feature_names=names, n_steps=2
    )
    scene = widgets.explore(explanation).payload["examples"][0]["scene"]
    assert scene["names"][1:] == names[1:]
    assert "\ud83d" not in scene["names"][0]
