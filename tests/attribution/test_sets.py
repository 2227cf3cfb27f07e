"""Certified sets, judged by plain forwards and by enumerating all 2^n selections."""

import copy
import itertools
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr import (
    ArgumentError,
    Delete,
    Explanation,
    Hybrid,
    OutputMatch,
    Preserve,
    Status,
    StochasticGates,
)
from stg_attr.attribution import SufficientSets
from tests.examples import examples
from tests.models import Counted, mlp

QUICK = {"n_steps": 4, "n_samples": 4}


def redundant(x):
    """Features 0 and 1 stand in for each other, and 2 is always needed; 3 does nothing."""
    return torch.maximum(x[:, 0], x[:, 1]) * x[:, 2] + 0 * x[:, 3]


def random_model(seed, n=5):
    """A smooth function of products of features, with a score well away from that of zeros."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    out = torch.rand(6, generator=generator, dtype=torch.float64)
    return lambda x: 2 * x.sum(1) / n + (torch.tanh(x @ weight) * out).sum(1)


def share_of(model, x, selected, objective, reference):
    """What one selection of one example achieves, by plain forwards."""
    shown = selected if objective.keeps else ~selected
    full, low = (model(row[None]).squeeze() for row in (x, reference))
    score = model(torch.where(shown, x, reference)[None]).squeeze()
    kept = (score - low) / (full - low)
    if isinstance(objective.fidelity, OutputMatch):
        kept = 1 - ((score - full) / (full - low)).abs() if objective.keeps else 1 - (1 - kept.abs())
    return kept if objective.keeps else 1 - kept


def is_minimal(model, x, selected, objective, retain, reference):
    """Whether a set achieves the share, and stops doing so without any one of its members."""
    enough = share_of(model, x, selected, objective, reference) >= retain - 1e-9
    members = selected.nonzero().flatten().tolist()
    others = torch.eye(len(x), dtype=torch.bool)
    spared = [m for m in members if share_of(model, x, selected & ~others[m], objective, reference) >= retain]
    return bool(enough) and not spared


@given(
    st.integers(0, 10**6),
    st.sampled_from([Hybrid(), Preserve(), Preserve(OutputMatch()), Delete(), Delete(OutputMatch())]),
    st.sampled_from([0.3, 0.9, 1.0]),
)
@examples(60)
def test_a_minimal_set_suffices_and_can_spare_nothing(seed, objective, retain):
    model = random_model(seed)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    explanation = StochasticGates(model, objective=objective).explain(x, baselines=0.1, seed=seed, **QUICK)
    found = explanation.minimal(retain)
    for i in range(3):
        if explanation.status[i] is not Status.NOTHING_TO_EXPLAIN:
            reference = torch.full((5,), 0.1, dtype=torch.float64)
            assert is_minimal(model, x[i], found.selected[i], objective, retain, reference)


def test_what_a_minimal_explanation_says_is_consistent():
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = random_model(3)
    counted = Counted(model)
    explanation = StochasticGates(counted).explain(x, internal_batch_size=3)
    before = sum(counted.rows)
    found = explanation.minimal(0.7)
    torch.testing.assert_close(found.scores.kept, model(x * found.selected))
    torch.testing.assert_close(found.scores.removed, model(x * ~found.selected))
    assert torch.equal(found.selected, found.active_probabilities > 0.5)
    assert torch.equal(found.attributions, found.active_probabilities)
    assert int((found.n_evaluations - explanation.n_evaluations).sum()) == sum(counted.rows) - before
    again = found.at(budget=1.0)  # the curve is that of the new order
    torch.testing.assert_close(again.scores.kept, model(x * again.selected))


def minimal_sets(model, x, retain):
    """All sets that suffice and of which no subset does, by enumeration."""
    n = len(x)
    sufficient = {
        members
        for k in range(n + 1)
        for members in itertools.combinations(range(n), k)
        if share_of(
            model, x, torch.tensor([i in members for i in range(n)]), Preserve(), torch.zeros(n).to(x)
        )
        >= retain
    }
    return {
        members
        for members in sufficient
        if not any(set(other) < set(members) for other in sufficient)
    }  # fmt: skip


def test_redundant_evidence_gives_every_set():
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    explanation = StochasticGates(redundant).explain(x)
    sets = explanation.sufficient_sets()
    assert [sorted(map(tuple, sets.ids(i))) for i in range(3)] == [[(0, 2), (1, 2)], [(0, 2)], []]
    assert sets.n_sets.tolist() == [2, 1, 0]
    assert sets.shared.tolist() == [[False, False, True, False], [True, False, True, False], [False] * 4]
    assert sets.kept[:2, 0].tolist() == [1.0, 1.0]
    assert sets.retained[0, :2].tolist() == [1.0, 1.0]
    assert bool(sets.kept[2:].isnan().all())
    assert "[0, 2]" in repr(sets)
    assert "2: none" in repr(sets)


@pytest.mark.parametrize("seed", range(3))
def test_a_useless_order_of_many_features_is_pruned_all_the_same(seed):
    """Twelve of sixty count; with gates in random order, most of a sufficient beginning can be spared."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.full((60,), 1e-3, dtype=torch.float64)
    weight[torch.randperm(60, generator=generator)[:12]] = 1.0

    def model(x):
        return x @ weight

    x = torch.ones(2, 60, dtype=torch.float64)
    explanation = StochasticGates(model).explain(x, **QUICK)
    shuffled = replace(explanation, log_alpha=torch.randn(2, 60, generator=generator, dtype=torch.float64))
    found = shuffled.minimal(0.95)
    zero = torch.zeros(60, dtype=torch.float64)
    assert all(is_minimal(model, x[i], found.selected[i], Hybrid(), 0.95, zero) for i in range(2))
    assert int(found.n_selected.max()) < 40
    assert int((found.n_evaluations - explanation.n_evaluations).max()) < 1000


def test_an_explanation_says_when_the_rest_suffices_as_well():
    explanation = StochasticGates(lambda x: x.amax(1)).explain(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert explanation.redundant.tolist() == [True, False]
    assert "other features can stand in for it" in explanation.describe(0)
    assert "see sufficient_sets." in explanation.describe(0)
    assert "stand in" not in explanation.describe(1)


@given(st.integers(0, 10**6))
@examples(30)
def test_monotone_models_give_sets_that_enumeration_finds(seed):
    """Where more features never hurt, minimal by single members is minimal."""
    weight = torch.rand(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4

    def model(x):
        return (x @ weight).amin(1)

    x = torch.ones(1, 6, dtype=torch.float64)
    sets = StochasticGates(model, objective=Preserve()).explain(x, seed=seed, **QUICK).sufficient_sets(0.6, 8)
    expected = minimal_sets(model, x[0], 0.6)
    found = [tuple(ids) for ids in sets.ids(0)]
    assert len(set(found)) == len(found) >= 1
    assert set(found) <= expected
    within = [members for members in expected if len(members) <= 2 * len(found[0])]
    assert len(found) == min(8, len(within))


def test_disjoint_sets_come_before_overlapping_ones():
    """Any two of six suffice."""
    x = torch.ones(1, 6)
    sets = StochasticGates(lambda x: x.sum(1).clamp(max=2.0)).explain(x).sufficient_sets(1.0, 3)
    members = [set(ids) for ids in sets.ids(0)]
    assert [len(m) for m in members] == [2, 2, 2]
    assert len(set.union(*members)) == 6


def test_sets_of_the_objective_that_removes_are_those_whose_removal_suffices():
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    sets = StochasticGates(redundant, objective=Delete()).explain(x).sufficient_sets()
    assert sorted(sets.ids(0)) == [[0, 1], [2]]
    assert sets.kept[:2, 0].tolist() == [0.0, 0.0]


def test_a_share_that_nothing_achieves_is_replaced_by_what_everything_achieves():
    """Removing all features shows references, which differ among themselves."""
    references = torch.tensor([[0.0, 0.0], [0.9, 0.0], [0.0, 0.9]])
    x, objective = torch.tensor([[2.0, 2.0]]), Delete(OutputMatch())
    explanation = StochasticGates(lambda x: x.sum(1), objective=objective).explain(x, baselines=references)
    found = explanation.minimal(1.0)
    assert found.selected.tolist() == [[True, True]]


def test_features_without_a_gradient_are_found_where_they_are_needed():
    """The model has no slopes in feature 0, and nothing suffices without it."""
    x = torch.tensor([[1.0, 1.0, 1.0]])
    explanation = StochasticGates(lambda x: (x[:, 0] > 0.5) + 0.01 * x[:, 1]).explain(x)
    assert explanation.selected.tolist() == [[True, False, False]]
    found = explanation.minimal()
    assert found.selected.tolist() == [[True, False, False]]
    assert torch.equal(found.selected, found.active_probabilities > 0.5)
    assert found.at(budget=0.4).selected.tolist() == [[True, False, False]]


def test_a_model_that_fails_on_some_sets_does_not_certify_them():
    def model(x):
        score = x.sum(1)
        return torch.where((x != 0).sum(1) == 2, torch.nan, score)

    x = torch.tensor([[3.0, 3.0, 3.0, 0.1]])
    found = StochasticGates(model).explain(x).minimal(0.6)
    assert bool(found.scores.kept.isfinite())
    assert float(found.retained) >= 0.6


def test_groups_and_several_inputs():
    x = (torch.ones(2, 2, 2), torch.ones(2, 3))
    masks = (torch.tensor([[[5, 5], [7, -1]], [[5, 7], [9, 9]]]), torch.tensor([[7, 8, -1]]))

    def model(a, b):
        return a.flatten(1).sum(1) + b[:, 0]

    found = StochasticGates(model).explain(x, feature_mask=masks, internal_batch_size=1).minimal()
    assert [a.shape for a in found.attributions] == [(2, 2, 2), (2, 3)]
    assert bool((found.retained >= 0.9).all())
    sets = found.sufficient_sets()
    assert sets.selected.shape == (4, *found.selected.shape)
    assert all(set(ids) <= {5, 7, 8, 9} for i in range(2) for ids in sets.ids(i))


def test_the_callers_state_is_untouched(untouched):
    model = mlp(4, 8, 2)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    explanation = StochasticGates(model).explain(x)
    with untouched(model, x), torch.inference_mode():
        explanation.minimal()
        explanation.sufficient_sets()


def test_a_thousand_features_that_all_count_are_pruned_to_what_is_needed():
    x = torch.ones(1, 1000)
    found = StochasticGates(lambda x: x.sum(1)).explain(x, n_steps=2).minimal(0.5)
    assert int(found.n_selected) == 500


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_are_data_only(copied):
    explanation = copied(StochasticGates(redundant).explain(torch.ones(1, 4)))
    assert explanation.question is None
    assert explanation.describe()
    for call in (explanation.minimal, explanation.sufficient_sets):
        with pytest.raises(ArgumentError, match=r"explanation: .*still has its model"):
            call()


def test_loaded_files_are_data_only(tmp_path):
    explanation = StochasticGates(redundant).explain(torch.ones(1, 4))
    explanation.save(tmp_path / "explanation.safetensors")
    with pytest.raises(ArgumentError, match="Explain the inputs again"):
        Explanation.load(tmp_path / "explanation.safetensors").minimal()


@pytest.mark.parametrize("retain", [0, -0.5, 1.5, 90, "much", True, None, float("nan")])
def test_shares_that_cannot_be_kept(retain):
    explanation = StochasticGates(redundant).explain(torch.ones(1, 4), **QUICK)
    for call in (explanation.minimal, explanation.sufficient_sets):
        with pytest.raises(ArgumentError, match="retain: expected a number"):
            call(retain)


@pytest.mark.parametrize("n_sets", [0, 1.5, True])
def test_numbers_of_sets(n_sets):
    explanation = StochasticGates(redundant).explain(torch.ones(1, 4), **QUICK)
    with pytest.raises(ArgumentError, match="n_sets: expected a whole number"):
        explanation.sufficient_sets(n_sets=n_sets)


def test_more_examples_than_are_shown():
    sets = StochasticGates(redundant).explain(torch.ones(10, 4), **QUICK).sufficient_sets(n_sets=1)
    assert isinstance(sets, SufficientSets)
    assert repr(sets).startswith("Sufficient sets of 10 examples\n")
    assert repr(sets).endswith("...")
    assert repr(sets.rows(slice(1))).startswith("Sufficient sets of 1 example\n")
