"""Profiles against known answers: linear and multiplied features, and Shapley values by enumeration."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from stg_attr import StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.gates import Blend, FeatureGroups, ReferenceSet
from stg_attr.model import Allowance, GatedModel, Profile, ProfileSettings, Scorer
from stg_attr.model.reference_effects import ReferenceEffects
from stg_attr.model.regression import adjusted
from stg_attr.objective import Preserve


def _model(forward, x: Tensor, references: Tensor, feature_mask=None) -> GatedModel:
    blend = Blend((x,), (references.unsqueeze(1),), FeatureGroups.from_mask(feature_mask, (x,)))
    return GatedModel(blend, Scorer(forward, (), len(x)), Preserve(), None, None)


def _profile(model: GatedModel, slopes: bool = True, seed: int = 0, **settings) -> Profile:
    reacts = model.groups.exists.expand(model.batch, -1)
    nothing = torch.zeros(reacts.shape)
    return Profile.measure(model, reacts, nothing, slopes, seed, ProfileSettings(**settings), Allowance())


def _shapley(forward, x: Tensor, references: Tensor) -> Tensor:
    """Shapley values of one row by all subsets, mean over references, [features]."""
    n = len(x)
    sets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))
    value = torch.stack([forward(sets * x + (1 - sets) * r) for r in references]).mean(0).detach()
    place, size, phi = torch.arange(len(sets)), sets.sum(1).long(), torch.zeros(n)
    weight = torch.tensor([1 / (n * math.comb(n - 1, k)) for k in range(n)])
    for i in range(n):
        bit = 1 << (n - 1 - i)
        without = place[(place & bit) == 0]
        phi[i] = (weight[size[without]] * (value[without | bit] - value[without])).sum()
    return phi


def _net(seed: int, n: int = 8) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)
        )


@pytest.mark.parametrize("slopes", [True, False])
def test_contributions_of_a_linear_model_are_its_terms(slopes):
    weight, x = (
        torch.tensor([1.0, -2.0, 0.0, 4.0]),
        torch.tensor([[1.0, 1.0, 1.0, -1.0], [2.0, 0.0, 5.0, 1.0]]),
    )
    references = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    found = _profile(_model(lambda rows: rows @ weight, x, references), slopes)
    torch.testing.assert_close(found.contributions, weight * (x - references), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("slopes", [True, False])
@pytest.mark.parametrize(
    "mask", [None, torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, 2, 2, 3, 3]] * 3)]
)
def test_corrected_some_examples_at_a_time_they_are_the_same(slopes, mask, monkeypatch):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    found = {}
    for most in (2**22, 1):
        monkeypatch.setattr("stg_attr.model.profile._MOST_NUMBERS", most)
        found[most] = _profile(_model(_net(0), x, torch.zeros(1, 8), mask), slopes).contributions
    torch.testing.assert_close(found[1], found[2**22], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("slopes", "n"), [(True, 1), (True, 4), (False, 1), (False, 2), (False, 5), (False, 8)]
)
def test_of_few_features_they_are_the_shapley_values(slopes, n):
    """All sets cost no more than the evaluations that there are: at most 64, or 256 without slopes."""
    x, references = torch.randn(3, n, generator=torch.Generator().manual_seed(n)), torch.zeros(1, n)
    net = _net(n, n)
    found = _profile(_model(net, x, references), slopes)
    expected = torch.stack([_shapley(net, row, references) for row in x])
    torch.testing.assert_close(found.contributions, expected, atol=1e-5, rtol=1e-4)


def test_of_few_features_and_references_they_are_the_mean_shapley_values():
    generator = torch.Generator().manual_seed(0)
    x, references = torch.randn(3, 4, generator=generator), torch.randn(10, 4, generator=generator)
    net = _net(1, 4)
    model = _model(net, x, references)
    found = _profile(model, slopes=False).contributions
    expected = torch.stack([_shapley(net, row, references) for row in x])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert model.evaluations.tolist() == [1 + 5 + 10 + 2 * 7 * 10] * 3  # of 256


def test_each_example_has_the_values_of_its_own_features():
    """Eight features, four, and one to which the model does not react; all in one batch, and each alone."""
    mask = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 3, 4, 5, 6, 6]])
    x, net = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), _net(0)
    together = _profile(_model(net, x, torch.zeros(1, 8), mask), slopes=False).contributions
    for row in range(3):
        groups = mask[row]
        n = int(groups.max()) + 1
        grouped = _shapley(lambda z, i=row, g=groups: net(z[:, g] * x[i]), torch.ones(n), torch.zeros(1, n))
        torch.testing.assert_close(together[row, :n], grouped, atol=1e-5, rtol=1e-4)
        assert not bool(together[row, n:].any())


def test_with_several_references_those_of_a_linear_model_are_its_mean_terms():
    weight, x = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[1.0, 1.0, 1.0]])
    references = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = _profile(_model(lambda rows: rows @ weight, x, references))
    torch.testing.assert_close(found.contributions, weight * (x - references.mean(0)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("slopes", [True, False])
def test_features_that_are_multiplied_share_the_product(slopes):
    found = _profile(
        _model(lambda rows: rows[:, 0] * rows[:, 1], torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2)), slopes
    )
    torch.testing.assert_close(found.contributions, torch.tensor([[3.0, 3.0]]), atol=1e-3, rtol=1e-3)


def test_influence_sees_features_that_cancel_each_other_out():
    found = _profile(_model(lambda rows: rows[:, 0] - rows[:, 1], torch.ones(1, 3), torch.zeros(1, 3)))
    torch.testing.assert_close(found.influence, torch.tensor([[1.0, 1.0, 0.0]]))
    assert float(found.contributions.sum()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("n_references", [1, 40])
@pytest.mark.parametrize("slopes", [True, False])
def test_contributions_come_near_shapley_values_and_add_up(slopes, n_references):
    generator = torch.Generator().manual_seed(5)
    references = torch.randn(n_references, 8, generator=generator) * (n_references > 1)
    x, correlations = torch.randn(6, 8, generator=generator), []
    for seed in range(3):
        net = _net(seed)
        model = _model(net, x, references)
        found = _profile(model, slopes, evaluations=300, forwards=600)
        exact = torch.stack([_shapley(net, row, references) for row in x])
        correlations += [
            float(torch.corrcoef(torch.stack(pair))[0, 1])
            for pair in zip(found.contributions, exact, strict=True)
        ]
        if n_references == 1:
            torch.testing.assert_close(
                found.contributions.sum(1), model.anchors.full - model.anchors.baseline
            )
        assert int(model.evaluations.max()) - 1 - min(5, n_references) <= (300 if slopes else 600)
    assert sum(correlations) / len(correlations) >= 0.95


def test_groups_and_missing_gates_are_the_features():
    mask = torch.tensor([[0, 0, 1, -1], [2, 3, 4, 4]])
    found = _profile(_model(lambda rows: rows.sum(1), torch.ones(2, 4), torch.zeros(1, 4), mask))
    torch.testing.assert_close(
        found.contributions, torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 2.0]]), atol=1e-4, rtol=0
    )


def test_one_seed_gives_one_profile_alone_and_in_a_batch():
    net, x = _net(1), torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    whole, alone = (_profile(_model(net, part, torch.zeros(1, 8))) for part in (x, x[2:3]))
    torch.testing.assert_close(whole.contributions[2:3], alone.contributions, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole.influence[2:3], alone.influence, atol=1e-4, rtol=1e-4)


def test_a_model_that_fails_is_noted():
    calls = 0

    def forward(rows):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("out of order")
        return rows.sum(1)

    model, allowance = _model(forward, torch.ones(1, 3), torch.zeros(1, 3)), Allowance()
    everything = torch.ones(1, 3, dtype=torch.bool)
    found = Profile.measure(model, everything, 0.0 * everything, True, 0, ProfileSettings(), allowance)
    assert bool(found.contributions.isnan().all())
    assert "out of order" in str(allowance.failure)


def test_without_information_contributions_stay_where_they_begin():
    start, scale = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    pairs = torch.tensor([[[True, False, False]], [[False, True, True]]] * 2)
    said = torch.tensor([[-1.0], [1.0]] * 2)  # just what the start says of these pairs
    torch.testing.assert_close(adjusted(start, scale, pairs, said), start)
    moved = adjusted(start, scale, pairs, said + torch.tensor([[2.0], [-2.0]] * 2))
    torch.testing.assert_close(moved, torch.tensor([[2.0, 1.0, 0.0]]), atol=1e-3, rtol=0)


def test_a_few_pairs_do_not_change_contributions_where_all_differences_are_larger_alike():
    """A score that saturates: all pairs differ by more than the start says."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(1, 12, generator=generator) + 0.1
    pairs = torch.rand(8, 1, 12, generator=generator) < 0.5
    said = ((pairs * 2.0 - 1) * start).sum(2)
    for difference in (3 * said, said + 0.8 * said.sign() * start.sum()):
        torch.testing.assert_close(adjusted(start, start, pairs, difference), start, atol=0.05, rtol=0)


def test_features_without_slopes_contribute_what_slopes_miss():
    def steps(rows):
        return 4.0 * (rows[:, 0] > 2) + rows[:, 1] + 2.0 * rows[:, 2].round()

    x, blind = torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    model = _model(steps, x, torch.zeros(1, 3))
    reacts = torch.ones_like(blind, dtype=torch.bool)
    found = Profile.measure(model, reacts, blind, True, 0, ProfileSettings(), Allowance())
    torch.testing.assert_close(found.contributions, torch.tensor([[4.0, 1.0, 2.0]]), atol=0.05, rtol=0)


@pytest.mark.parametrize("slopes", [True, False])
@pytest.mark.parametrize("n_references", [2, 7, 10])
def test_few_references_count_equally(slopes, n_references):
    """The contributions add up to the difference from the mean of all of them, whatever the evaluations."""
    net, generator = _net(3), torch.Generator().manual_seed(3)
    x = torch.randn(2, 8, generator=generator)
    references = torch.randn(n_references, 8, generator=generator)
    found = _profile(_model(net, x, references), slopes)
    expected = (net(x) - net(references).mean()).detach()
    torch.testing.assert_close(found.contributions.sum(1), expected, atol=1e-4, rtol=1e-4)


def test_more_evaluations_come_nearer_to_shapley_values_with_one_baseline():
    """Pairs correct the slopes: without them, the error would stay where it is."""
    net, generator = _net(4), torch.Generator().manual_seed(4)
    x, reference = torch.randn(6, 8, generator=generator), torch.zeros(1, 8)
    truth = torch.stack([_shapley(net, row, reference) for row in x])
    few, many = (
        (_profile(_model(net, x, reference), evaluations=n).contributions - truth).norm() for n in (64, 512)
    )
    assert many < 0.4 * few


def test_without_slopes_the_row_of_each_pair_is_known():
    """Rows that differ by a lot move the scores of a pair in proportion, which is no noise."""
    weight, generator = torch.tensor([3.0, -2.0, 1.0, 0.5, 0.0]), torch.Generator().manual_seed(5)
    x, references = torch.randn(3, 5, generator=generator), 3 * torch.randn(40, 5, generator=generator)
    found = _profile(_model(lambda rows: rows @ weight, x, references), slopes=False)
    expected = weight * (x - references.mean(0))
    torch.testing.assert_close(found.contributions, expected, atol=0.05, rtol=0.02)


def test_few_evaluations_leave_one_reference():
    """The contributions then add up to the difference from its score."""
    net, x = _net(6), torch.ones(1, 8)
    references = torch.randn(5, 8, generator=torch.Generator().manual_seed(6))
    model = _model(net, x, references)
    found = _profile(model, slopes=False, forwards=3)
    first = references[model.blend.reference_order[:1]]
    torch.testing.assert_close(found.contributions.sum(1), (net(x) - net(first)).detach())


def _ids(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Effects of ids, [columns, ids], rows to explain and references of these ids."""
    generator = torch.Generator().manual_seed(seed)
    effects = 3 * torch.randn(5, 7, generator=generator)
    drawn = torch.randint(0, 7, (43, 5), generator=generator)
    return effects, drawn[:3], drawn[3:]


def test_without_slopes_ids_of_a_sum_contribute_their_terms():
    """Each id of a reference has an effect of its own, which moves the scores of its pairs."""
    effects, x, references = _ids(0)

    def score(rows):
        return effects[torch.arange(5), rows].sum(1)

    found = _profile(_model(score, x, references), slopes=False)
    columns = torch.arange(5)
    expected = effects[columns, x] - effects[columns, references].mean(0)
    torch.testing.assert_close(found.contributions, expected, atol=0.1, rtol=0.02)


def test_contributions_do_not_depend_on_the_numbering_of_ids():
    effects, x, references = _ids(1)
    new = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(i)) for i in range(5)])

    def renamed(rows):
        return new[torch.arange(5), rows]

    def score(rows):
        return effects[torch.arange(5), rows].sin().prod(1) + effects[torch.arange(5), rows].sum(1)

    def same(rows):
        return score(new.argsort(1)[torch.arange(5), rows])

    found = _profile(_model(score, x, references), slopes=False).contributions
    other = _profile(_model(same, renamed(x), renamed(references)), slopes=False).contributions
    torch.testing.assert_close(other, found, atol=1e-4, rtol=1e-4)


def test_a_group_of_ids_is_one_value():
    """Columns 0 and 1 share a gate; their effect is that of both together."""
    _, x, references = _ids(2)
    both = 3 * torch.randn(7, 7, generator=torch.Generator().manual_seed(2))
    references = references[:12]

    def score(rows):
        return both[rows[:, 0], rows[:, 1]] + rows[:, 2].double() - 2 * rows[:, 3] + rows[:, 4] % 2

    mask = torch.tensor([[0, 0, 1, 2, 3]])
    found = _profile(_model(score, x, references, mask), slopes=False).contributions
    single = torch.stack([both[x[:, 0], x[:, 1]], x[:, 2], -2 * x[:, 3], x[:, 4] % 2], 1)
    r = references
    mean = torch.stack([both[r[:, 0], r[:, 1]], r[:, 2], -2 * r[:, 3], r[:, 4] % 2], 1).mean(0)
    torch.testing.assert_close(found, (single - mean).double(), atol=0.15, rtol=0.02)


def test_effects_of_references_have_a_column_for_all_that_they_show():
    """One in proportion and one for each threshold, for each id, and for what is missing."""
    references = torch.tensor([[0, 5, 3], [1, 5, 4], [2, 9, 3], [3, 5, 4]])
    amounts = torch.tensor(
        [[1.0, torch.nan, 7.0], [2.0, torch.nan, 7.0], [2.0, torch.nan, torch.nan], [7.0] * 3]
    )
    amounts[:, 1] = torch.nan
    x = torch.zeros(1, 3, dtype=torch.long)
    blend = Blend.of((x,), ReferenceSet(references, amounts), FeatureGroups.from_mask(None, (x,)))
    found = ReferenceEffects.of(blend, torch.arange(4), 15)
    columns = [found.columns[:, found.gate == gate].T for gate in range(3)]
    shown = [{tuple((column > 0).tolist()) for column in some} for some in columns]
    T, F = True, False  # which references lie above the mean
    assert shown[0] == {(F, F, F, T), (F, T, T, T)}
    assert shown[1] == {(T, T, F, T), (F, F, T, F)}
    assert shown[2] == {(T, T, F, T)}  # amounts 7, 7, missing, 7
    torch.testing.assert_close(found.columns.mean(0), torch.zeros(len(found.gate)).double())
    size = torch.zeros(3).double().index_add(0, found.gate, found.columns.square().mean(0))
    torch.testing.assert_close(size, torch.ones(3).double())
    assert ReferenceEffects.of(blend, torch.tensor([2]), 15) is None


def test_amounts_have_the_shape_of_the_rows():
    x = torch.zeros(1, 3, dtype=torch.long)
    groups = FeatureGroups.from_mask(None, (x,))
    for amounts in (torch.zeros(4, 2), [1.0, 2.0]):
        with pytest.raises(ArgumentError, match="amounts: expected a tensor like the rows"):
            Blend.of((x,), ReferenceSet(torch.zeros(4, 3, dtype=torch.long), amounts), groups)


def test_there_may_be_more_sets_than_a_tensor_can_count():
    x = torch.ones(1, 80)
    found = StochasticGates(lambda rows: rows.sum(1)).explain(x)
    torch.testing.assert_close(found.contributions.sum(), torch.tensor(80.0))
