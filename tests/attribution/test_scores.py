"""Scores: those that the model returned, in the precision in which it returned them."""

import numpy as np
import pytest
import torch

from stg_attr import Hybrid, OutputMatch, Preserve, ScoreFunction, StochasticGates

WEIGHT = torch.tensor([5.0, 1.0, 4.0, 0.0, 2.0, 3.0, -1.0, 1.0])
X = torch.ones(2, 8)
OFFSET = 100_000_000  # single precision has every eighth number there
OBJECTIVES = [Hybrid(), Preserve(OutputMatch())]


def _amount(x):
    return x.double() @ WEIGHT.double()


MODELS = {
    "double": (lambda x, offset: offset + _amount(x), None),
    "double, by forwards": (lambda x, offset: offset + _amount(x), ScoreFunction()),
    "whole numbers": (lambda x, offset: offset + _amount(x).long(), ScoreFunction()),
    "small whole numbers": (lambda x, offset: offset + _amount(x).int(), ScoreFunction()),
    "Python floats": (lambda x, offset: [offset + float(v) for v in _amount(x)], ScoreFunction()),
    "Python ints": (lambda x, offset: [offset + int(v) for v in _amount(x)], ScoreFunction()),
    "NumPy": (lambda x, offset: (offset + _amount(x)).numpy(), ScoreFunction()),
}


@pytest.mark.filterwarnings("ignore:forward_func returns whole numbers")  # they are amounts here
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["by score", "by match"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_added_to_a_score_changes_nothing_but_the_score(name, objective):
    forward, estimator = MODELS[name]
    stg = {"objective": objective, "estimator": estimator}
    near = StochasticGates(lambda x: forward(x, 0), **stg).explain(X)
    far = StochasticGates(lambda x: forward(x, OFFSET), **stg).explain(X)
    assert far.scores.full.tolist() == [OFFSET + 15.0] * 2
    assert far.scores.baseline.tolist() == [float(OFFSET)] * 2
    assert torch.equal(far.selected, near.selected)
    assert bool(near.selected[:, [0, 2]].all())
    assert torch.equal(far.scores.kept, near.scores.kept + OFFSET)
    assert torch.equal(far.curve.removed, near.curve.removed + OFFSET)
    torch.testing.assert_close(far.attributions, near.attributions, rtol=0, atol=1e-5)
    assert far.status == near.status
    assert far.log_alpha.dtype == far.attributions.dtype == torch.float32
    assert torch.equal(far.minimal().selected, near.minimal().selected)


def test_a_description_has_the_digits_that_tell_scores_apart():
    explanation = StochasticGates(lambda x: OFFSET + _amount(x)).explain(X)
    assert "bring the score from 100000000 (baseline) to 1000000" in explanation.describe()
    near = StochasticGates(lambda x: _amount(x)).explain(X)
    assert " of 15; without" in near.describe()


def test_small_integers_and_flags_are_scores_in_single_precision():
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.bool):

        def forward(x, dtype=dtype):
            return (x[:, 0] > 0.5).to(dtype)

        found = StochasticGates(forward, estimator=ScoreFunction()).explain(X)
        assert found.scores.full.dtype == torch.float32
        assert found.selected.tolist() == [[True] + [False] * 7] * 2


class OneBuffer:
    """A model that writes all of its answers into the same memory, as engines with bound outputs do."""

    def __init__(self, classes, as_array):
        self.as_array = as_array
        self.weight = torch.stack([WEIGHT, WEIGHT.flip(0)], 1) if classes else WEIGHT
        self.out = torch.empty(10**5, *self.weight.shape[1:])

    def fresh(self, x):
        return x @ self.weight

    def __call__(self, x):
        rows = self.out[: len(x)]
        rows.copy_(self.fresh(x.detach()))
        return rows.numpy() if self.as_array else rows


@pytest.mark.parametrize(
    "arguments", [{}, {"internal_batch_size": 1}, {"perturbations_per_eval": 1}], ids=str
)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["by score", "by match"])
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("as_array", [False, True])
def test_a_model_may_write_its_answers_into_one_buffer(as_array, classes, objective, arguments):
    model, stg = OneBuffer(classes, as_array), {"objective": objective, "estimator": ScoreFunction()}
    found = StochasticGates(model, **stg).explain(X, **arguments)
    expected = StochasticGates(model.fresh, **stg).explain(X, **arguments)
    assert found.scores.full.tolist() == [15.0] * 2
    for name in ("attributions", "selected", "influence"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    for name in ("kept", "removed", "retained"):
        assert torch.equal(getattr(found.curve, name), getattr(expected.curve, name))
    model.out.fill_(np.nan)  # what the engine does later does not reach the explanation
    assert found.scores.full.tolist() == [15.0] * 2


def test_an_example_alone_has_a_buffer_of_one_number():
    out = np.zeros(())

    def model(x):
        out[...] = float(x[0] @ WEIGHT)
        return out

    found = StochasticGates(model, estimator=ScoreFunction()).explain(X[:1])
    expected = StochasticGates(lambda x: float(x[0] @ WEIGHT), estimator=ScoreFunction()).explain(X[:1])
    assert found.scores.full.tolist() == [15.0]
    assert torch.equal(found.attributions, expected.attributions)
