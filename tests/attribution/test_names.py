"""Names of features: checked at the door, kept in files, and used in sentences and tables."""

import pytest
import torch

from stg_attr import ArgumentError, Explanation, LayerStochasticGates, StochasticGates

X = torch.tensor([[2.0, 1.0, 0.5, 3.0], [1.0, -1.0, 0.0, 2.0]])
NAMES = ["age", "calls", "rate", "tenure"]


def _linear(x):
    return x @ torch.tensor([1.0, 0.0, 0.0, 2.0])


def test_sentences_name_the_needed_features_with_their_values():
    found = StochasticGates(_linear).explain(X, feature_names=NAMES)
    assert found.feature_names == tuple(NAMES)
    assert found.describe(0).startswith(
        "tenure = 3 and age = 2 bring the score from 0 (baseline) to 8 of 8; without them it is 0. "
    )
    assert "keep 100% of the score, exactly, for this baseline." in found.describe(0)


def test_without_names_features_are_counted():
    found = StochasticGates(_linear).explain(X)
    assert found.feature_names is None
    assert found.describe(0).startswith("2 of 4 features bring the score from 0 (baseline) to 8 of 8; ")


def test_names_of_columns_make_those_of_their_groups():
    found = StochasticGates(_linear).explain(
        X, feature_mask=torch.tensor([[0, 1, 1, 0]]), feature_names=NAMES
    )
    assert found.feature_names == ("age, tenure", "calls, rate")
    assert found.describe(0).startswith("age, tenure brings the score from 0 ")


def test_names_of_groups_are_taken_as_they_are():
    found = StochasticGates(_linear).explain(
        X, feature_mask=torch.tensor([[0, 1, 1, 0]]), feature_names=["a", "b"]
    )
    assert found.feature_names == ("a", "b")


def test_frames_and_files_hold_them(tmp_path):
    found = StochasticGates(_linear).explain(X, feature_names=NAMES)
    frame = found.to_frame()
    assert frame["name"].tolist() == NAMES * 2
    assert frame["score"].tolist() == [8.0] * 4 + [5.0] * 4
    assert frame["baseline_score"].tolist() == [0.0] * 8
    found.save(tmp_path / "a.safetensors")
    assert Explanation.load(tmp_path / "a.safetensors").feature_names == tuple(NAMES)
    assert found.rows(slice(1, 2)).feature_names == tuple(NAMES)
    assert found.at(budget=0.5).describe(0).startswith(("tenure = 3", "age"))


def test_files_without_names_are_read(tmp_path):
    """As in files of earlier versions, which have no such entry."""
    import json

    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    StochasticGates(_linear).explain(X, feature_names=NAMES).save(path)
    with safe_open(path, "pt") as file:
        text = json.loads(file.metadata()["stg_attr"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    del text["feature_names"]
    save_file(tensors, path, {"stg_attr": json.dumps(text)})
    assert Explanation.load(path).feature_names is None
    for wrong in (["a"], [1, 2, 3, 4], "abcd"):
        save_file(tensors, path, {"stg_attr": json.dumps(text | {"feature_names": wrong})})
        with pytest.raises(ArgumentError, match=r"path: expected a file written by Explanation\.save"):
            Explanation.load(path)


def test_layers_take_them():
    first = torch.nn.Linear(4, 3)
    net = torch.nn.Sequential(first, torch.nn.Linear(3, 1))
    found = LayerStochasticGates(net, first).explain(X, feature_names=["a", "b", "c"])
    assert found.feature_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "feature_names: expected 4, one per feature; found 1"),
        ("abcd", "feature_names: expected a sequence of texts; found str"),
        ([1, 2, 3, 4], "feature_names: expected a sequence of texts; found int"),
        (7, "feature_names: expected a sequence of texts; found int"),
        ([], "feature_names: expected a sequence of texts; found list"),
    ],
)
def test_names_are_checked_before_the_model_is_run(names, message):
    def never(x):
        raise AssertionError("the model was run")

    with pytest.raises(ArgumentError, match=message):
        StochasticGates(never).explain(X, feature_names=names)


def test_a_group_may_be_named_by_its_columns():
    with pytest.raises(ArgumentError, match=r"names: expected 2, .* or 4, .*found 3"):
        StochasticGates(_linear).explain(
            X, feature_mask=torch.tensor([[0, 1, 1, 0]]), feature_names=["a", "b", "c"]
        )


def test_rows_of_an_explanation_keep_their_values():
    found = StochasticGates(_linear).explain(X, baselines=-X, feature_names=NAMES)
    second = found.rows(torch.tensor([1]))
    assert second.describe(0) == found.describe(1)
    assert torch.equal(second.inputs[0], X[1:])
    assert torch.equal(second.baselines[0], -X[1:])
    again = Explanation.joined([found.rows(slice(0, 1)), second])
    assert torch.equal(again.inputs[0], X)
    assert torch.equal(again.baselines[0], -X)
    assert again.feature_mask[0].shape == found.feature_mask[0].shape
