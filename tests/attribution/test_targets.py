"""Several targets of the same inputs: what each call alone finds, for fewer rows of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stg_attr import ArgumentError, LayerStochasticGates, ScoreFunction, Status, StochasticGates
from stg_attr.model.memory import Memory
from tests.models import mlp

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


class Counted:
    """A model that counts the rows that it is run on."""

    def __init__(self, model):
        self.model, self.rows = model, 0

    def __call__(self, x, *more):
        self.rows += len(x)
        return self.model(x, *more)


def assert_same(one, other):
    """Equal but for rounding: calls have other numbers of rows."""
    torch.testing.assert_close(one.log_alpha, other.log_alpha, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.contributions, other.contributions, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.curve.kept, other.curve.kept, rtol=1e-4, atol=1e-4)
    assert one.selected.tolist() == other.selected.tolist()
    assert one.target.tolist() == other.target.tolist()
    assert one.status == other.status


@pytest.mark.parametrize(
    ("estimator", "share"),
    [(ScoreFunction(), 0.65), (None, 0.85)],  # with slopes, the rows of the solve are run for each target
)
def test_each_is_what_explain_gives_for_fewer_rows(estimator, share):
    alone, shared = (Counted(mlp(6, 8, 4).double()) for _ in range(2))
    x, rows = X.double(), torch.zeros(1, 6).double()
    found = StochasticGates(shared, estimator=estimator).explain_targets(x, [*range(4), None], baselines=rows)
    one = StochasticGates(alone, estimator=estimator)
    for target, got in zip([*range(4), None], found, strict=True):
        assert_same(got, one.explain(x, rows, target=target))
    assert sum(int(each.n_evaluations.sum()) for each in found) == shared.rows
    assert shared.rows < share * alone.rows


def test_a_target_that_was_asked_for_runs_no_row_again_but_to_see_chance():
    shared = Counted(mlp(6, 8, 4))
    first, again = StochasticGates(shared, estimator=ScoreFunction()).explain_targets(X[:1], [1, 1])
    assert_same(again, first)
    assert int(again.n_evaluations) <= 4 < int(first.n_evaluations)


def test_arguments_go_with_their_rows():
    shift = torch.tensor([[0.0], [2.0], [-1.0]])

    def model(x, shift):
        return torch.cat([(x * x).cumsum(1), x + shift], 1)

    stg = StochasticGates(model, estimator=ScoreFunction())
    x = X[:1].expand(3, -1)  # equal rows, which the argument tells apart
    for target, got in zip(
        [3, 8], stg.explain_targets(x, [3, 8], additional_forward_args=shift), strict=True
    ):
        assert_same(got, stg.explain(x, target=target, additional_forward_args=shift))


def test_tables_texts_and_layers():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2.0, 5.0], "b": ["x", "y", "y"]})

    def of_frame(table):
        return np.stack([table.a, (table.b == "x") * 3.0 - table.a], 1)

    by_class = StochasticGates(of_frame).explain_targets(frame[:1], range(2), baselines=frame[1:])
    assert [each.feature_names for each in by_class] == [("a", "b")] * 2
    assert (
        by_class[1].selected.tolist()
        == StochasticGates(of_frame).explain(frame[:1], frame[1:], 1).selected.tolist()
    )

    def of_texts(texts):
        return [[float("good" in text), float("bad" in text)] for text in texts]

    good, bad = StochasticGates(of_texts).explain_targets(["good, not bad"], [0, 1])
    assert [word for word, on in zip(good.tokens[0], good.selected[0], strict=True) if on] == ["good"]
    assert [word for word, on in zip(bad.tokens[0], bad.selected[0], strict=True) if on] == [" bad"]

    net = mlp(6, 8, 4)
    gates = LayerStochasticGates(net, net[0])
    for target, got in enumerate(gates.explain_targets(X, range(2))):
        assert_same(got, gates.explain(X, target=target))


@pytest.mark.filterwarnings("ignore:.*Not reproducible")
def test_a_model_that_draws_is_asked_each_time():
    def model(x):
        return x @ torch.eye(6)[:, :2] + 0.01 * torch.rand(len(x), 2)

    stg = StochasticGates(model, estimator=ScoreFunction())
    for target, got in enumerate(stg.explain_targets(X, [0, 1])):
        alone = stg.explain(X, target=target)
        assert got.n_evaluations.tolist() == alone.n_evaluations.tolist()
        assert got.log_alpha.equal(alone.log_alpha)


def test_after_ctrl_c_those_until_then_are_returned():
    steps = []

    def on_step(done, n_steps, read):
        steps.append(done)
        if steps.count(2) == 2:  # in the second of three
            raise KeyboardInterrupt

    stg = StochasticGates(mlp(6, 8, 4))
    with pytest.warns(UserWarning, match="nterrupted"):
        found = stg.explain_targets(X[:1], range(3), on_step=on_step)
    assert [Status.INTERRUPTED in each.status for each in found] == [False, True]


@pytest.mark.parametrize("targets", [2, None, [], "ab"])
def test_what_is_no_list_of_targets_is_refused(targets):
    with pytest.raises(ArgumentError, match=r"targets: expected several targets.* Pass range\(10\)"):
        StochasticGates(mlp(6, 8, 4)).explain_targets(X, targets)


def test_a_memory_runs_each_row_once_and_keeps_no_more_than_fits(monkeypatch):
    asked = []

    def output(memory, rows):
        recalled = memory.recall([rows], [], [])
        asked.append(len(recalled.inputs[0]))
        return recalled.whole(recalled.inputs[0].sum(1, keepdim=True) if asked[-1] else None), recalled.known

    memory = Memory()
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    found, known = output(memory, rows)
    assert found.tolist() == [[3.0], [7.0], [3.0]]
    assert known.tolist() == [0, 0, 1]
    assert output(memory, rows.flip(0))[0].tolist() == [[3.0], [7.0], [3.0]]
    monkeypatch.setattr("stg_attr.model.memory._MOST_NUMBERS", 3)
    output(memory, rows + 1)
    assert output(memory, rows + 1)[1].tolist() == [0, 0, 1]
    assert asked == [2, 0, 2, 2]
    assert not memory.may_answer()  # with slopes
    with torch.no_grad():
        assert memory.may_answer()


def test_a_target_beside_the_targets_is_refused():
    with pytest.raises(
        ArgumentError, match=r"target: expected the targets .*found target=1.*Leave target out"
    ):
        StochasticGates(torch.nn.Identity()).explain_targets(X[:1], [0, 2], target=1)
