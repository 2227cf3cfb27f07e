"""The family of selections: order, shift to a budget, search for the smallest set that suffices or pays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_attr.gates import Bernoulli, BinaryConcrete, Gaussian
from stg_attr.solve import Ranking, SelectionFamily
from stg_attr.solve import shift as shifts
from stg_attr.solve.family import _between
from stg_attr.solve.shift import BudgetShift

from .reference import best_value, eliminated, exchanged, extended, pruned, smallest_sufficient, top
from .reference import shift_to_budget as naive_shift

GATES = [BinaryConcrete(), BinaryConcrete(0.99), Gaussian(), Bernoulli()]
SEEDS = st.integers(0, 10**6)
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def _parameters(seed, batch=3, gates=6, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(batch, gates, generator=generator, dtype=torch.float64)


def shift_to_budget(gates, parameter, exists, budget):
    return BudgetShift.of(gates, exists, parameter.dtype)(parameter, budget.unsqueeze(1))


def _ranking(parameters, visible=None):
    return Ranking.of(
        parameters, torch.ones_like(parameters, dtype=torch.bool) if visible is None else visible
    )


def _family(parameters, curve):
    """A family whose sets of size k retain curve[i][k] of example i; also the list of sets asked for."""
    asked = []

    def retained(selections, examples):
        assert examples.dtype == torch.long
        assert examples.device.type == "cpu"
        asked.append(selections)
        return curve[examples].gather(1, selections.sum(2).T).T

    return SelectionFamily(_ranking(parameters), retained), asked


def _rising(seed, batch, n):
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(batch, n + 1, generator=generator, dtype=torch.float64) ** 6
    steps[:, 0] = 0
    return steps.cumsum(1) / steps.sum(1, keepdim=True)


@pytest.mark.parametrize("gates", GATES, ids=repr)
@given(SEEDS, st.floats(0.02, 0.98), st.floats(0.01, 3))
@FEW
def test_a_shift_meets_the_budget_and_is_near_the_one_of_the_naive_bisection(gates, seed, budget, spread):
    """The mean to 0.001; the shift to the width of the part in which it is interpolated."""
    parameters = _parameters(seed, batch=2, spread=spread)
    exists = torch.ones(1, 6, dtype=torch.bool)
    shift = shift_to_budget(gates, parameters, exists, torch.tensor([budget], dtype=torch.float64))
    assert shift.shape == (1, 2, 1)
    mean = gates.active_probability(parameters + shift[0]).mean(1)
    torch.testing.assert_close(mean, torch.full_like(mean, budget), rtol=0, atol=0.001)
    for row in range(2):
        naive = naive_shift(
            lambda a: float(gates.active_probability(torch.tensor(a, dtype=torch.float64))),
            parameters[row].tolist(),
            budget,
        )
        width = float(parameters[row].max() - parameters[row].min()) / 100
        assert float(shift[0, row]) == pytest.approx(naive, abs=width + 1e-9)


@pytest.mark.parametrize("gates", GATES, ids=repr)
def test_equal_parameters_are_shifted_to_the_budget_itself(gates):
    budget = torch.tensor([0.25, 0.5], dtype=torch.float64)
    parameters = torch.full((3, 6), 2.0, dtype=torch.float64)
    shift = shift_to_budget(gates, parameters, torch.ones(1, 6, dtype=torch.bool), budget)
    reached = gates.active_probability(parameters + shift)
    torch.testing.assert_close(reached, budget.reshape(2, 1, 1).expand(2, 3, 6))


def test_every_sample_has_its_own_budget():
    parameters, budgets = _parameters(0), torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)
    exists = torch.ones(1, 6, dtype=torch.bool)
    together = shift_to_budget(BinaryConcrete(), parameters, exists, budgets)
    alone = [shift_to_budget(BinaryConcrete(), parameters, exists, budget[None]) for budget in budgets]
    torch.testing.assert_close(together, torch.cat(alone))


def test_how_many_shifts_are_tried_at_once_changes_nothing(monkeypatch):
    parameters, budget = _parameters(0), torch.tensor([0.2], dtype=torch.float64)
    exists = torch.ones(1, 6, dtype=torch.bool)
    whole = shift_to_budget(BinaryConcrete(), parameters, exists, budget)
    monkeypatch.setattr(shifts, "_MOST_ELEMENTS", 100)
    torch.testing.assert_close(shift_to_budget(BinaryConcrete(), parameters, exists, budget), whole)


def test_columns_without_a_gate_do_not_count_for_a_budget():
    parameters, budget = _parameters(1), torch.tensor([0.3])
    alone = shift_to_budget(BinaryConcrete(), parameters, torch.ones(1, 6, dtype=torch.bool), budget)
    padded = torch.nn.functional.pad(parameters, (0, 4), value=99.0)
    exists = torch.arange(10).expand(3, 10) < 6
    torch.testing.assert_close(shift_to_budget(BinaryConcrete(), padded, exists, budget), alone)


@given(SEEDS, st.integers(0, 7))
@FEW
def test_top_k_is_the_sorted_choice(seed, k):
    parameters = _parameters(seed).round()  # with ties
    visible = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.7
    chosen = _ranking(parameters, visible).top(torch.full((3, 1), k))
    expected = [top(*row, k) for row in zip(parameters.tolist(), visible.tolist(), strict=True)]
    assert chosen[0].tolist() == expected


def test_counts_differ_by_example_and_selections_are_nested():
    ranking = _ranking(_parameters(2))
    chosen = ranking.top(torch.tensor([[0, 2, 6], [1, 3, 5], [4, 4, 4]]))
    assert chosen.sum(2).T.tolist() == [[0, 2, 6], [1, 3, 5], [4, 4, 4]]
    assert bool((chosen[0] <= chosen[1]).all() and (chosen[1] <= chosen[2]).all())


@given(SEEDS, st.integers(1, 5))
@FEW
def test_reported_parameters_put_the_boundary_of_a_selection_at_one_half(seed, k):
    ranking = _ranking(_parameters(seed))
    gates = BinaryConcrete()
    selected = ranking.top(torch.full((3, 1), k))[0]
    reported = ranking.at(selected, gates.half)
    assert torch.equal(gates.active_probability(reported) > 0.5, selected)
    assert torch.equal(reported.argsort(1), ranking.parameter.argsort(1))
    last = reported.masked_fill(~selected, torch.inf).amin(1)
    first_closed = reported.masked_fill(selected, -torch.inf).amax(1)
    half = gates.active_probability((last + first_closed) / 2)
    torch.testing.assert_close(half, torch.full_like(half, 0.5))


@given(SEEDS)
@FEW
def test_the_boundary_of_any_selection_is_halfway_to_the_next_lower_parameter(seed):
    """Ties, gates that do not exist and sets that are no prefixes; one unit beyond the end, if need be."""
    parameters = _parameters(seed, batch=8).round()
    generator = torch.Generator().manual_seed(seed)
    exists = torch.rand(8, 6, generator=generator) < 0.8
    exists[:, 0] = True
    selected = (torch.rand(8, 6, generator=generator) < torch.arange(8).unsqueeze(1) / 7) & exists
    parameters = parameters.masked_fill(~exists, -torch.inf)
    found = _ranking(parameters, exists).boundary(selected).squeeze(1).tolist()
    for row, boundary in enumerate(found):
        values, chosen = parameters[row].tolist(), selected[row].tolist()
        inside = [a for a, is_in in zip(values, chosen, strict=True) if is_in]
        closed = [a for a, is_in in zip(values, chosen, strict=True) if not is_in and a > -math.inf]
        below = [a for a in closed if a < min(inside, default=math.inf)]
        if inside and below:
            assert boundary == (min(inside) + max(below)) / 2
        else:
            assert boundary == (min(inside) - 1 if inside else max(below) + 1)


def test_all_or_none_selected_have_a_boundary_too():
    ranking = _ranking(_parameters(3))
    half = 0.5
    everything = torch.ones(3, 6, dtype=torch.bool)
    assert bool((ranking.at(everything, half) > half).all())
    assert bool((ranking.at(~everything, half) < half).all())


@given(SEEDS, st.integers(1, 60), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
@FEW
def test_the_smallest_sufficient_set_is_the_one_found_by_trying_every_size(seed, n, retain):
    curve = _rising(seed, 3, n)
    found = _family(_parameters(seed, gates=n), curve)[0].smallest_sufficient(retain)
    expected = [smallest_sufficient(lambda k, row=row: row[k], n, retain) for row in curve.tolist()]
    assert found.tolist() == expected


class Game:
    """What every set of n features retains, another for each example; all features together retain 1.

    The larger the power, the fewer sets retain much.
    """

    def __init__(self, seed, batch, n, power, monotone):
        generator = torch.Generator().manual_seed(seed)
        self.worth = torch.rand(batch, 2**n, generator=generator, dtype=torch.float64) ** power
        self.worth[:, -1] = 1
        if monotone:  # a set is worth at least what its subsets are
            for i in range(n):
                halves = self.worth.view(batch, -1, 2, 2**i)
                halves[:, :, 1] = halves.amax(2)
        self.place = 2 ** torch.arange(n)

    def retained(self, selections, examples):
        return self.worth[examples, (selections * self.place).sum(2)]

    def of(self, example):
        return lambda features: float(self.worth[example, sum(int(self.place[i]) for i in features)])


def _best_first(family, example, count):
    """The first gates of a family's ranking."""
    return family.ranking.rank[example].argsort()[:count].tolist()


@given(SEEDS, st.integers(2, 10), st.sampled_from([4, 30, 200]), st.sampled_from([0.3, 0.6, 0.9]))
@settings(FEW, max_examples=60)
def test_the_shortest_prefix_is_pruned_as_the_naive_twin_prunes_it(seed, n, power, retain):
    """Games in which more is never worth less; what is dropped comes next, and the others stay in order."""
    parameters, game = _parameters(seed, gates=n), Game(seed, 3, n, power, monotone=True)
    family = SelectionFamily(_ranking(parameters), game.retained)
    counts = family.smallest_sufficient(retain).tolist()
    for example, count in enumerate(counts):
        order, value = parameters[example].argsort(descending=True).tolist(), game.of(example)
        prefix = order[: smallest_sufficient(lambda k, v=value, o=order: v(o[:k]), n, retain)]
        expected = pruned(value, prefix, retain)
        others = [i for i in order if i not in expected]
        assert _best_first(family, example, n) == expected + others
        assert count == len(expected)


@given(SEEDS)
@FEW
def test_of_any_game_a_pruned_prefix_that_suffices_is_found(seed):
    parameters, game = _parameters(seed), Game(seed, 3, 6, power=4, monotone=False)
    family = SelectionFamily(_ranking(parameters), game.retained)
    counts = family.smallest_sufficient(0.3).tolist()
    for example, count in enumerate(counts):
        selected, value = _best_first(family, example, count), game.of(example)
        assert value(selected) >= 0.3
        assert pruned(value, selected, 0.3) == selected  # nothing more can be spared
        order = parameters[example].argsort(descending=True).tolist()
        prefixes = [order[:k] for k in range(1, 7) if value(order[:k]) >= 0.3]
        assert selected in [pruned(value, prefix, 0.3) for prefix in prefixes]


@pytest.mark.parametrize(("needed", "expected"), [(12, 1), (13, 13)])
def test_sets_of_more_than_twelve_gates_are_not_pruned(needed, expected):
    """Only the last gate of a prefix counts."""
    parameters = -torch.arange(20.0).expand(2, 20)
    family = SelectionFamily(_ranking(parameters), lambda s, rows: s[:, :, needed - 1].double())
    assert family.smallest_sufficient(0.9).tolist() == [expected] * 2
    assert bool(family.ranking.top(torch.full((2, 1), expected))[0, :, needed - 1].all())


@given(SEEDS, st.integers(1, 400), st.floats(0, 0.2))
@FEW
def test_the_best_value_of_falling_gains_is_the_one_found_by_trying_every_count(seed, n, price):
    """Gains of an additive score, in order of the ranking; counts whose values differ by rounding tie."""
    generator = torch.Generator().manual_seed(seed)
    power = torch.tensor([[1.0], [8.0], [40.0]], dtype=torch.float64)  # many or few gates are worth a lot
    gains = torch.rand(3, n, generator=generator, dtype=torch.float64) ** power
    gains = gains.sort(1, descending=True).values
    ranking = _ranking(_parameters(seed, gates=n))
    worth = gains.gather(1, ranking.rank)
    found = SelectionFamily(ranking, lambda s, rows: (s * worth[rows]).sum(2)).best_value(price).tolist()
    achieved = torch.nn.functional.pad(gains.cumsum(1), (1, 0)).tolist()
    for k, row in zip(found, achieved, strict=True):
        best = best_value(row.__getitem__, n, price)
        assert row[k] - price * k == pytest.approx(row[best] - price * best, rel=0, abs=1e-11)


@given(SEEDS, st.integers(1, 400))
@FEW
def test_the_best_value_of_one_peak_is_the_peak(seed, n):
    """Unimodal and nothing more: steps up to a peak somewhere, and down from it, are as uneven as can be."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(3, n + 1, generator=generator, dtype=torch.float64) ** 6 + 1e-6
    peaks = torch.randint(0, n + 1, (3, 1), generator=generator)
    curve = (steps * torch.where(torch.arange(n + 1) <= peaks, 1, -1)).cumsum(1)
    found = _family(_parameters(seed, gates=n), curve)[0].best_value(0.0)
    assert found.tolist() == peaks.squeeze(1).tolist()


@given(SEEDS, st.integers(1, 400))
@FEW
def test_the_search_for_the_best_value_ends_where_there_are_many_peaks(seed, n):
    """At a count that is worth no less than its neighbours."""
    curve = torch.rand(3, n + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = _family(_parameters(seed, gates=n), curve)[0].best_value(0.0).tolist()
    for k, row in zip(found, curve.tolist(), strict=True):
        assert row[k] == max(row[max(k - 1, 0) : k + 2])


@given(SEEDS, st.integers(0, 6))
@FEW
def test_a_promoted_selection_comes_first_and_the_order_within_stays(seed, size):
    parameters = _parameters(seed)
    visible = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.8
    ranking = _ranking(parameters, visible)
    chosen = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed + 1)).argsort(1) < size
    chosen = chosen & visible
    promoted = ranking.promoted(chosen)
    assert torch.equal(promoted.top(chosen.sum(1, keepdim=True))[0], chosen)
    for row in range(3):
        for part in (chosen[row], visible[row] & ~chosen[row]):
            before, after = ranking.rank[row, part], promoted.rank[row, part]
            assert torch.equal(before.argsort(), after.argsort())
        seen = visible[row]
        by_parameter = promoted.parameter[row, seen].argsort(descending=True)
        assert torch.equal(by_parameter, promoted.rank[row, seen].argsort())
        assert sorted(promoted.parameter[row].tolist()) == sorted(parameters[row].tolist())


@pytest.mark.parametrize("searched", [False, True])
@given(SEEDS, st.integers(2, 9), st.booleans())
@FEW
def test_members_are_put_in_the_order_in_which_the_naive_twin_misses_them(searched, seed, n, both):
    """Of a set from outside, and of the smallest sufficient one, for which one round is known already."""
    parameters = _parameters(seed, gates=n)
    game, other = (Game(seed + i, 3, n, power=4, monotone=False) for i in (0, 1))
    family = SelectionFamily(_ranking(parameters), game.retained, other=other.retained if both else None)
    selected = torch.rand(3, n, generator=torch.Generator().manual_seed(seed)) < 0.8
    if searched:
        selected = family.ranking.top(family.smallest_sufficient(0.3).unsqueeze(1))[0]
    ranking = family.ranking
    arranged = ranking.promoted(selected, family.arrange(selected))
    for example in range(3):

        def value(features, example=example):
            return game.of(example)(features) + both * other.of(example)(features)

        members = [i for i in ranking.rank[example].argsort().tolist() if selected[example, i]]
        found = arranged.rank[example].argsort()[: len(members)].tolist()
        assert found == eliminated(value, members)


def _trying(seed, n, trials, both, power, monotone):
    """Parameters, promises, two games, of which the second is asked too if both are, and their family."""
    parameters, promise = _parameters(seed, gates=n), _parameters(seed + 1, gates=n)
    game, other = (Game(seed + i, 3, n, power, monotone) for i in (0, 1))
    family = SelectionFamily(
        _ranking(parameters),
        game.retained,
        other=other.retained if both else None,
        promise=promise,
        trials=trials,
    )
    return parameters, promise, game, other, family


@given(SEEDS, st.integers(3, 10), st.integers(0, 30), st.sampled_from([0.3, 0.6]), st.booleans())
@settings(FEW, max_examples=80)
def test_members_are_exchanged_as_the_naive_twin_exchanges_them(seed, n, trials, retain, both):
    """And what can be spared after that is dropped again."""
    parameters, promise, game, other, family = _trying(seed, n, trials, both, 30, True)
    counts = family.smallest_sufficient(retain).tolist()
    for example, count in enumerate(counts):

        def value(features, example=example):
            return game.of(example)(features) + both * other.of(example)(features)

        order, kept = parameters[example].argsort(descending=True).tolist(), game.of(example)
        prefix = order[: smallest_sufficient(lambda k, v=kept, o=order: v(o[:k]), n, retain)]
        expected = pruned(kept, prefix, retain)
        if len(expected) < n and trials >= len(expected):
            promising = promise[example].argsort(descending=True).tolist()
            better = exchanged(kept, value, expected, promising, trials, retain)
            expected = expected if better == expected else pruned(kept, _sorted(better, order), retain)
        assert sorted(_best_first(family, example, count)) == sorted(expected)
        assert kept(expected) >= retain


def _sorted(features, order):
    return sorted(features, key=order.index)


@given(SEEDS, st.integers(1, 10), st.integers(0, 12), st.booleans())
@FEW
def test_what_comes_next_is_what_the_naive_twin_adds(seed, n, trials, both):
    parameters, promise, game, other, family = _trying(seed, n, trials, both, 4, False)
    selected = torch.rand(3, n, generator=torch.Generator().manual_seed(seed)) < 0.4
    promoted = family.ranking.promoted(selected, worth=family.extend(selected))
    for example in range(3):

        def value(features, example=example):
            return game.of(example)(features) + both * other.of(example)(features)

        order = parameters[example].argsort(descending=True).tolist()
        chosen = [i for i in order if selected[example, i]]
        promising = promise[example].argsort(descending=True).tolist()
        first = extended(value, chosen, promising, order, trials) if chosen else []
        others = [i for i in order if i not in chosen + first]
        assert promoted.rank[example].argsort().tolist() == chosen + first + others


def test_a_set_is_bettered_and_extended_only_where_that_can_be_afforded():
    """Gate 4 alone does what 0 does, and more; 2 and 3 add something to either, and 1 and 5 nothing."""
    worth, found = torch.tensor([0.9, 0.0, 0.02, 0.03, 1.0, 0.0]), []
    for affordable in range(30):
        asked = []

        def retained(selections, examples, asked=asked):
            asked += [selections.shape[0] * selections.shape[1]]
            return (selections * worth).sum(2)

        def affords(examples, n, affordable=affordable, asked=asked):
            return sum(asked) + n <= affordable

        parameters, promise = -torch.arange(6.0).unsqueeze(0), worth.unsqueeze(0)
        family = SelectionFamily(_ranking(parameters), retained, affords, promise=promise, trials=5)
        count = family.smallest_sufficient(0.9)
        selected = family.ranking.top(count.unsqueeze(1))[0]
        order = family.ranking.promoted(selected, worth=family.extend(selected)).rank[0].argsort().tolist()
        assert sum(asked) <= affordable
        found += [order[: int(count)]] if order[: int(count)] not in found else []
    assert found[-2:] == [[0], [4]]
    assert order == [4, 0, 3, 1, 2, 5]


def test_gates_that_are_not_visible_are_never_tried():
    """The last would do more than all others."""
    visible = torch.tensor([[True, True, True, False]])
    worth = torch.tensor([0.5, 0.45, 0.2, 9.0])
    family = SelectionFamily(
        _ranking(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), visible),
        lambda s, rows: (s * worth).sum(2),
        promise=worth.unsqueeze(0),
        trials=8,
    )
    count = family.smallest_sufficient(0.9)
    selected = family.ranking.top(count.unsqueeze(1))[0]
    assert selected.tolist() == [[True, True, False, False]]
    assert family.ranking.promoted(selected, worth=family.extend(selected)).rank.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("n", [6, 40])
def test_gates_that_are_not_selected_are_put_in_order_of_their_worth(n):
    """Largest first, and those that are worth the same in order of their columns."""
    ranking, selected = _ranking(_parameters(0, gates=n)), torch.arange(n).expand(3, n) % 3 == 1
    worth = _parameters(1, gates=n).round()
    promoted = ranking.promoted(selected, worth=worth)
    for row in range(3):
        chosen = [i for i in ranking.rank[row].argsort().tolist() if selected[row, i]]
        others = sorted(
            (i for i in range(n) if i not in chosen), key=lambda i, row=row: (-float(worth[row, i]), i)
        )
        assert promoted.rank[row].argsort().tolist() == chosen + others


def test_a_selection_on_which_the_model_says_nothing_is_never_found():
    """Prefixes of 3 and more, of which those of 4 to 6 give NaN."""

    def retained(selections, examples):
        size = selections.sum(2)
        return torch.where((size > 3) & (size < 7), torch.nan, (size > 2) + size / 100)

    family = SelectionFamily(_ranking(_parameters(0, gates=20)), retained)
    assert not set(family.best_value(0.02).tolist()) & {4, 5, 6}
    assert not set(family.smallest_sufficient(1.0).tolist()) & {4, 5, 6}


def test_a_search_says_which_examples_it_asks_about_and_how_often():
    asked, told = [], []

    def retained(selections, examples):
        asked.append((examples.tolist(), len(selections)))
        return selections.sum(2) / 20.0

    def affords(examples, n):
        told.append((examples.tolist(), n.tolist()))
        return examples != 1

    SelectionFamily(_ranking(_parameters(0, gates=20)), retained, affords).best_value(0.0)
    assert told[0] == ([0, 1, 2], [12, 12, 12])
    assert asked[0] == ([0, 2], 12)


@given(st.integers(0, 50), st.integers(2, 300))
@FEW
def test_counts_tried_are_spread_geometrically_between_the_two_ends(low, gap):
    high = low + gap
    (found,) = _between(torch.tensor([low]), torch.tensor([high])).tolist()
    ratio = (high + 1) / (low + 1)
    spread = [(low + 1) * ratio ** (i / 4) - 1 for i in (1, 2, 3)]
    expected = [min(max(value, low + i), high - 1) for i, value in enumerate(spread, start=1)]
    assert found == pytest.approx(expected, abs=0.501)  # rounded to whole counts
    assert low < found[0] <= found[1] <= found[2] < high


def test_a_set_of_twelve_is_put_in_order():
    worth = torch.arange(12.0)
    family = SelectionFamily(_ranking(-worth.unsqueeze(0)), lambda s, rows: (s * worth).sum(2))
    place = family.arrange(torch.ones(1, 12, dtype=torch.bool))
    assert place[0].argsort().tolist() == list(range(11, -1, -1))


def test_an_order_measures_no_more_than_it_has_to():
    """Nothing for single gates, nothing twice; what it will measure is asked for beforehand."""
    measured, told = [0, 0], []

    def counted(which, worth):
        def measure(selections, examples):
            measured[which] += selections.shape[0] * selections.shape[1]
            return (selections * worth).sum(2) / worth.sum()

        return measure

    def affords(examples, n):
        told.append(n.tolist())
        return torch.ones_like(n, dtype=torch.bool)

    worth = torch.tensor([4.0, 5.0, 3.0])
    family = SelectionFamily(_ranking(torch.tensor([[3.0, 2.0, 1.0]])), counted(0, worth), affords)
    everything = family.ranking.top(family.smallest_sufficient(0.9).unsqueeze(1))[0]
    assert everything.all()
    measured[:], told[:] = [0, 0], []
    family.arrange(everything)
    assert (measured, told[:2]) == ([2, 0], [[3], [2]])  # what each of the three is missed for is known
    measured[:], told[:] = [0, 0], []
    other = SelectionFamily(family.ranking, counted(0, worth), affords, other=counted(1, worth))
    other.smallest_sufficient(0.9)
    measured[:], told[:] = [0, 0], []
    other.arrange(everything)
    assert (measured, told[:2]) == ([2, 5], [[6], [4]])
    measured[:] = [0, 0]
    other.arrange(family.ranking.top(torch.tensor([[1]]))[0])
    assert measured == [0, 0]


def test_large_sets_stay_in_order_and_cost_nothing():
    family, asked = _family(_parameters(3, gates=20), torch.zeros(3, 21))
    selected = family.ranking.top(torch.tensor([[13], [13], [13]]))[0]
    arranged = family.ranking.promoted(selected, family.arrange(selected))
    assert torch.equal(arranged.rank, family.ranking.rank)
    assert not asked


@pytest.mark.parametrize("affordable", [0, 5, 9, 12])
def test_an_order_that_cannot_be_afforded_to_the_end_is_the_rankings_where_it_ends(affordable):
    """Five members, each missed less than the one before it, against their order in the ranking."""
    worth = torch.arange(5.0)
    spent = 0

    def retained(selections, examples):
        nonlocal spent
        spent += selections.shape[0] * selections.shape[1]
        return (selections * worth).sum(2)

    family = SelectionFamily(
        _ranking(-worth.unsqueeze(0)), retained, lambda examples, n: spent + n <= affordable
    )
    place = family.arrange(torch.ones(1, 5, dtype=torch.bool))
    left = {0: [], 5: [0], 9: [0, 1], 12: [0, 1, 2]}[affordable]  # the least missed first
    assert place.argsort(1)[0].tolist() == [i for i in range(5) if i not in left] + left[::-1]
    assert spent == affordable


@pytest.mark.parametrize("n", [8, 100, 5000])
def test_the_searches_take_few_measurements(n):
    """Some of every round of the search, and one round of pruning that finds nothing to drop."""
    family, asked = _family(_parameters(4, gates=n), _rising(4, 3, n))
    family.smallest_sufficient(0.9)
    assert sum(len(selections) for selections in asked) <= 4 * math.ceil(math.log(n, 3) + 2) + 12
    family, asked = _family(_parameters(4, gates=n), _rising(4, 3, n).sort(1).values)
    family.best_value(1 / n)
    assert sum(len(selections) for selections in asked) <= 12 * math.ceil(math.log(n, 5) + 1)


def test_gates_that_are_not_visible_are_not_searched():
    parameters = _parameters(5)
    visible = torch.arange(6).expand(3, 6) < 3
    family = SelectionFamily(_ranking(parameters, visible), lambda s, rows: (s & visible[rows]).sum(2) / 3.0)
    assert family.best_value(0.1).tolist() == [3, 3, 3]
    assert family.smallest_sufficient(0.9).tolist() == [3, 3, 3]


def test_gates_that_do_not_exist_are_not_counted():
    parameters = torch.tensor([[-1.0, 0.1, 2.0, 3.0], [-1.0, -2.0, 0.5, -torch.inf]])
    visible = torch.tensor([[True, True, False, True], [True, True, True, False]])
    family = SelectionFamily(Ranking.of(parameters, visible), lambda s, _: s.sum(2).double())
    assert family.n_gates.tolist() == [4, 3]
