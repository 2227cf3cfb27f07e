"""Going on from an explanation: a + b steps in two calls are a + b steps in one."""

from dataclasses import replace

import pytest
import torch

from stg_attr import (
    ArgumentError,
    Explanation,
    Gaussian,
    Hybrid,
    OutputMatch,
    Preserve,
    ScoreFunction,
    Status,
    StochasticGates,
)
from tests.models import Counted, mlp

X = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
OBJECTIVES = [Hybrid(), Preserve(OutputMatch())]


NET = mlp(8, 16, 3, seed=3)


def _same(found, expected):
    for name in ("attributions", "log_alpha", "selected", "influence", "effect", "loss_trace"):
        part, whole = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-6, equal_nan=True)
    assert torch.equal(found.learned.n_steps, expected.learned.n_steps)
    assert torch.equal(found.learned.settled, expected.learned.settled)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize(("a", "b"), [(1, 11), (4, 4), (5, 7), (6, 6), (7, 5), (8, 16), (20, 1)])
@pytest.mark.parametrize("internal_batch_size", [None, 2])
def test_it_is_the_solve_of_all_steps(objective, a, b, internal_batch_size):
    stg = StochasticGates(NET, objective=objective)
    arguments = {"inputs": X, "target": 0, "internal_batch_size": internal_batch_size}
    first = stg.explain(**arguments, n_steps=a)
    found = stg.explain(**arguments, n_steps=b, resume=first)
    _same(found, stg.explain(**arguments, n_steps=a + b))


def test_gates_of_their_own_for_every_example():
    mask = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3]] * 3 + [[5, 5, 5, 5, 6, 6, 6, 6]] * 2)
    stg = StochasticGates(NET)
    first = stg.explain(X, target=0, feature_mask=mask, n_steps=5)
    found = stg.explain(X, target=0, feature_mask=mask, n_steps=6, resume=first)
    _same(found, stg.explain(X, target=0, feature_mask=mask, n_steps=11))


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_what_was_interrupted_goes_on():
    stg = StochasticGates(Counted(NET, KeyboardInterrupt(), fail_at=5))
    part = stg.explain(X, target=0)
    assert part.status == (Status.INTERRUPTED,) * 5
    done = int(part.learned.n_steps.max())
    found = stg.explain(X, target=0, n_steps=12 - done, resume=part)
    _same(found, StochasticGates(NET).explain(X, target=0))
    assert Status.INTERRUPTED not in found.status


def test_a_file_is_enough(tmp_path):
    stg = StochasticGates(NET)
    stg.explain(X, target=0, n_steps=4).save(tmp_path / "part.safetensors")
    part = Explanation.load(tmp_path / "part.safetensors")
    _same(stg.explain(X, target=0, n_steps=5, resume=part), stg.explain(X, target=0, n_steps=9))


def test_evaluations_add_up_and_settled_examples_cost_no_more_steps():
    first = StochasticGates(NET).explain(X, target=0, n_steps=40)
    assert bool(first.learned.settled.all())
    counted = Counted(NET)
    found = StochasticGates(counted).explain(X, target=0, n_steps=40, resume=first)
    profile = found.settings.profile  # its slopes on the way to the input and near it are those of scores
    assert sum(n for n, slopes in zip(counted.rows, counted.differentiated, strict=True) if slopes) == len(
        X
    ) * (2 * round(profile.near * profile.evaluations))
    assert torch.equal(found.n_evaluations.sum(), first.n_evaluations.sum() + sum(counted.rows))
    assert torch.equal(found.attributions, first.attributions)


def test_the_score_function_goes_on_too():
    stg = StochasticGates(NET, estimator=ScoreFunction())
    first = stg.explain(X, target=0, n_steps=3)
    found = stg.explain(X, target=0, n_steps=3, resume=first)
    assert found.loss_trace.shape[0] == 6
    assert bool((found.learned.n_samples == 2 * first.learned.n_samples).all())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resume": "file.safetensors"}, "resume: expected an explanation.*found str"),
        ({"inputs": X[:2]}, "resume: expected an explanation of 2 examples"),
        ({"feature_mask": torch.arange(8) // 2}, "with 4 features"),
        ({"feature_mask": torch.arange(8) + 1}, "or other ids"),
        ({"n_restarts": 2}, "n_restarts: expected 1 with resume"),
    ],
)
def test_what_does_not_fit_is_an_error(changes, said):
    stg = StochasticGates(NET)
    arguments = {"inputs": X, "target": 0, "n_steps": 1}
    first = stg.explain(**arguments)
    with pytest.raises(ArgumentError, match=said):
        stg.explain(**{**arguments, "resume": first, **changes})


def test_an_explanation_without_its_state_or_by_other_gates_is_an_error():
    first = StochasticGates(NET).explain(X, target=0, n_steps=1)
    with pytest.raises(ArgumentError, match="one without its state"):
        StochasticGates(NET).explain(X, target=0, resume=replace(first, learned=None))
    with pytest.raises(ArgumentError, match="by Gaussian"):
        StochasticGates(NET, gates=Gaussian()).explain(X, target=0, resume=first)


OTHER_NET = mlp(8, 16, 3, seed=4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": -X}, "the same inputs"),
        ({"inputs": X + 0.01}, "the same inputs"),
        ({"inputs": X.flip(0)}, "the same inputs"),
        ({"baselines": 0.5}, "the same baselines"),
        ({"target": 1}, "the same target"),
        ({"target": None}, "the same target"),
        ({"target": torch.tensor([0, 0, 0, 0, 1])}, "the same target"),
        ({"feature_mask": torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])}, "the same feature_mask"),
    ],
    ids=str,
)
@pytest.mark.parametrize("internal_batch_size", [None, 2])
def test_an_explanation_of_another_question_is_an_error(changes, said, internal_batch_size):
    arguments = {"inputs": X, "target": 0, "n_steps": 2, "internal_batch_size": internal_batch_size}
    first = StochasticGates(NET).explain(**arguments)
    with pytest.raises(ArgumentError, match=f"resume: expected an explanation of {said}"):
        StochasticGates(NET).explain(**{**arguments, "resume": first, **changes})


@pytest.mark.parametrize("from_file", [False, True])
def test_one_of_another_model_or_by_another_objective_is_an_error(from_file, tmp_path):
    first = StochasticGates(NET).explain(X, target=0, n_steps=2)
    if from_file:
        first.save(tmp_path / "first.safetensors")
        first = Explanation.load(tmp_path / "first.safetensors")
    with pytest.raises(ArgumentError, match="the same model, with the same arguments"):
        StochasticGates(OTHER_NET).explain(X, target=0, resume=first)
    with pytest.raises(ArgumentError, match=r"the same objective, Preserve\(fidelity=OutputMatch\(\)\)"):
        StochasticGates(NET, objective=Preserve(OutputMatch())).explain(X, target=0, resume=first)
    assert first.objective == "Hybrid(fidelity=RetainedScore())"
    older = replace(first, objective=None)  # files of earlier versions do not say it
    StochasticGates(NET).explain(X, target=0, n_steps=1, resume=older)
