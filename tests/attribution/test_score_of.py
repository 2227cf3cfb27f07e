"""The score of any set of features, compared with the model called by hand."""

import copy

import pytest
import torch

from stg_attr import (
    ArgumentError,
    Delete,
    Hybrid,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    StochasticGates,
)
from tests.models import Counted, mlp

QUICK = {"n_steps": 2, "n_samples": 2}
X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
REFERENCES = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[0, 0, 1, 2, 3, 3]])


def _sets(n_sets, gates=6, batch=3):
    return torch.rand(n_sets, batch, gates, generator=torch.Generator().manual_seed(2)) < 0.5


def _by_hand(net, x, kept, references, target):
    """Mean score over references of one example with some elements kept."""
    shown = torch.stack([torch.where(kept, x, reference) for reference in references])
    return net(shown)[:, target].mean()


@pytest.mark.parametrize("objective", [Preserve(), Delete(), Hybrid(), Preserve(OutputMatch())], ids=repr)
def test_it_is_the_mean_score_over_the_references(objective):
    net, sets = mlp(6, 8, 2), _sets(5)
    explanation = StochasticGates(net, objective=objective).explain(X, REFERENCES, target=1, **QUICK)
    scores = explanation.score_of(sets)
    for i in range(5):
        for j in range(3):
            by_hand = _by_hand(net, X[j], sets[i, j], REFERENCES, 1)
            torch.testing.assert_close(scores[i, j], by_hand, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(explanation.score_of(sets[2]), scores[2])


def test_groups_are_kept_as_a_whole():
    net, sets = mlp(6, 8, 2), _sets(5, gates=4)
    explanation = StochasticGates(net).explain(X, target=0, feature_mask=MASK, **QUICK)
    zeros = torch.zeros(1, 6)
    for chosen, found in zip(sets, explanation.score_of(sets), strict=True):
        by_hand = [_by_hand(net, X[j], chosen[j][MASK[0]], zeros, 0) for j in range(3)]
        torch.testing.assert_close(found, torch.stack(by_hand), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", [Preserve(), Delete(), Hybrid()], ids=repr)
def test_those_of_the_reported_sets_are_in_the_explanation(objective):
    explanation = StochasticGates(mlp(6, 8, 2), objective=objective).explain(X, REFERENCES, target=1)
    sets = torch.stack([explanation.selected, ~explanation.selected, torch.ones_like(explanation.selected)])
    kept, removed, full = explanation.score_of(sets)
    for found, known in ((kept, "kept"), (removed, "removed"), (full, "full")):
        torch.testing.assert_close(found, getattr(explanation.scores, known))
    at_three = explanation.at(budget=0.5)
    torch.testing.assert_close(at_three.score_of(at_three.selected), at_three.scores.kept)


def test_examples_can_be_chosen_in_any_order_and_cost_nothing_else():
    net, sets = Counted(mlp(6, 8, 2)), _sets(2)
    explanation = StochasticGates(net).explain(X, target=torch.tensor([0, 1, 1]), **QUICK)
    everyone, before = explanation.score_of(sets), sum(net.rows)
    some = explanation.score_of(sets[:, [2, 0]], examples=[2, 0])
    assert sum(net.rows) - before == 2 * (2 + 2)  # two examples: two sets, the input and the baseline
    torch.testing.assert_close(some, everyone[:, [2, 0]])


def test_arguments_of_the_model_follow_the_examples():
    scale = torch.tensor([1.0, 10.0, 100.0])
    explanation = StochasticGates(lambda x, s: s * x.sum(1)).explain(
        X.abs(), additional_forward_args=scale, **QUICK
    )
    chosen = torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(explanation.score_of(chosen, examples=[2]), 100 * X[2:].abs().sum(1))


def test_gates_on_a_layer_are_switched_there():
    embedding = torch.nn.Embedding.from_pretrained(torch.eye(4))
    weight = torch.tensor([0.0, 1.0, 2.0, 5.0])
    stg = LayerStochasticGates(lambda ids: embedding(ids).sum(1) @ weight, embedding)
    explanation = stg.explain(torch.tensor([[2, 3, 0]]), **QUICK)
    sets = torch.tensor([[[True, False, False]], [[True, True, False]], [[False, False, True]]])
    assert explanation.score_of(sets).flatten().tolist() == [2.0, 7.0, 0.0]


def test_the_model_and_its_state_are_left_alone(untouched):
    net = mlp(6, 8, 2).train()
    explanation = StochasticGates(net).explain(X, target=0, **QUICK)
    with untouched(net, X):
        explanation.score_of(explanation.selected)


@pytest.mark.parametrize(
    ("sets", "settings", "message"),
    [
        (
            torch.ones(3, 6),
            {},
            r"selections: expected bool of .* = \[3, 6\].*; found torch.float32 of \[3, 6\]",
        ),
        (torch.ones(3, 5, dtype=torch.bool), {}, r"found torch.bool of \[3, 5\]"),
        (torch.ones(1, 1, 3, 6, dtype=torch.bool), {}, r"found torch.bool of \[1, 1, 3, 6\]"),
        ([[True]], {}, "found list"),
        (torch.ones(1, 6, dtype=torch.bool), {"examples": [3]}, r"each from 0 to 2; found \[3\]"),
        (torch.ones(0, 6, dtype=torch.bool), {"examples": []}, r"examples: expected places"),
    ],
)
def test_other_sets_are_refused(sets, settings, message):
    explanation = StochasticGates(mlp(6, 8, 2)).explain(X, target=0, **QUICK)
    with pytest.raises(ArgumentError, match=message):
        explanation.score_of(sets, **settings)


def test_data_without_a_model_cannot_be_asked():
    explanation = StochasticGates(mlp(6, 8, 2)).explain(X, target=0, **QUICK)
    for data in (copy.copy(explanation), explanation.rows(torch.tensor([2, 0, 1]))):
        with pytest.raises(ArgumentError, match=r"data only: .* copied, or is of rows of another"):
            data.score_of(explanation.selected)
    assert explanation.minimal().score_of(explanation.selected).shape == (3,)


def test_with_fresh_references_scores_are_those_that_are_reported():
    """Sets were searched with other references than those of the reported scores."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(256, 6, generator=generator)
    net = mlp(6, 8, 2)
    found = StochasticGates(net).explain(X, rows, target=1)
    assert found.certificate is not None
    assert int(found.certificate.n_references.max()) > 0
    none = torch.zeros_like(found.selected)
    torch.testing.assert_close(found.score_of(found.selected), found.scores.kept)
    torch.testing.assert_close(found.score_of(none), found.scores.baseline)
