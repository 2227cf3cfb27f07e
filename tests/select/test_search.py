"""The search for sets: the smallest that suffices, the best value, the order of members, what comes next."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.select import Ranking, SearchSettings, SetSearch
from stg_attr.select.selections import between
from tests.examples import examples

SEEDS = st.integers(0, 10**6)
FEW = examples(25)
SAME = SearchSettings().same


def smallest_sufficient(retained, n, retain):
    """The smallest k >= 1 whose top k retain enough, tried one by one; all n where none does."""
    return next((k for k in range(1, n) if retained(k) >= retain), n)


def best_value(achieved, n, price):
    """The k whose top k achieve most after `price` for each of them, trying all; the first of equals."""
    return max(range(n + 1), key=lambda k: achieved(k) - price * k)


def _parameters(seed, batch=3, gates=6, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(batch, gates, generator=generator, dtype=torch.float64)


def _ranking(parameters, visible=None):
    return Ranking.of(
        parameters, torch.ones_like(parameters, dtype=torch.bool) if visible is None else visible
    )


def _search(parameters, curve):
    """A search in which sets of size k retain curve[i][k] of example i; also the list of sets asked for."""
    asked = []

    def retained(selections, examples):
        assert examples.dtype == torch.long
        assert examples.device.type == "cpu"
        asked.append(selections)
        return curve[examples].gather(1, selections.sum(2).T).T

    return SetSearch(_ranking(parameters), retained), asked


def _rising(seed, batch, n):
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(batch, n + 1, generator=generator, dtype=torch.float64) ** 6
    steps[:, 0] = 0
    return steps.cumsum(1) / steps.sum(1, keepdim=True)


@given(SEEDS, st.integers(1, 60), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
@FEW
def test_the_smallest_sufficient_set_is_the_one_found_by_trying_every_size(seed, n, retain):
    curve = _rising(seed, 3, n)
    found = _search(_parameters(seed, gates=n), curve)[0].smallest_sufficient(retain)
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


def _best_first(search, example, count):
    """The first gates of a search's ranking."""
    return search.ranking.rank[example].argsort()[:count].tolist()


def _less(features, dropped):
    return [i for i in features if i != dropped]


@pytest.mark.parametrize("needed", [12, 13, 60])
def test_what_is_not_needed_is_dropped_from_small_and_large_sets(needed):
    """Only the last feature of a prefix counts."""
    parameters = -torch.arange(80.0).expand(2, 80)
    search = SetSearch(_ranking(parameters), lambda s, rows: s[:, :, needed - 1].double())
    assert search.smallest_sufficient(0.9).tolist() == [1] * 2
    assert bool(search.ranking.top(torch.ones(2, 1, dtype=torch.long))[0, :, needed - 1].all())


def test_a_large_set_of_which_all_is_needed_stays_and_costs_little():
    asked = []

    def retained(selections, rows):
        asked.append(len(selections))
        return (selections[:, :, :50].sum(2) == 50).double()

    search = SetSearch(_ranking(-torch.arange(80.0).expand(1, 80)), retained)
    assert search.smallest_sufficient(0.9).tolist() == [50]
    assert sum(asked) <= 30


def test_a_smaller_set_is_found_where_more_features_keep_less():
    """Six to eleven of 36 features suffice, as do 24 and more, and 12 to 23 do not."""

    def retained(selections, rows):
        size = selections.sum(2)
        return (((size >= 6) & (size < 12)) | (size >= 24)).double()

    search = SetSearch(_ranking(_parameters(0, gates=36)), retained)
    assert search.smallest_sufficient(0.9).tolist() == [6] * 3


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
    found = SetSearch(ranking, lambda s, rows: (s * worth[rows]).sum(2)).best_value(price).tolist()
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
    found = _search(_parameters(seed, gates=n), curve)[0].best_value(0.0)
    assert found.tolist() == peaks.squeeze(1).tolist()


@given(SEEDS, st.integers(1, 400))
@FEW
def test_the_search_for_the_best_value_ends_where_there_are_many_peaks(seed, n):
    """At a count that is worth no less than its neighbours."""
    curve = torch.rand(3, n + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = _search(_parameters(seed, gates=n), curve)[0].best_value(0.0).tolist()
    for k, row in zip(found, curve.tolist(), strict=True):
        assert row[k] == max(row[max(k - 1, 0) : k + 2])


def _trying(seed, n, trials, both, power, monotone):
    """Parameters, promises, two games, of which the second is asked too if both are, and their search."""
    parameters, promise = _parameters(seed, gates=n), _parameters(seed + 1, gates=n)
    game, other = (Game(seed + i, 3, n, power, monotone) for i in (0, 1))
    search = SetSearch(
        _ranking(parameters),
        game.retained,
        other=other.retained if both else None,
        promise=promise,
        swaps=trials,
    )
    return parameters, promise, game, other, search


@given(SEEDS, st.integers(2, 10), st.sampled_from([4, 30, 200]), st.sampled_from([0.3, 0.6, 0.9]))
@examples(60)
def test_a_found_set_suffices_needs_each_member_and_comes_from_the_shortest_prefix(seed, n, power, retain):
    """Games in which more is never worth less; the other features keep their order behind the set."""
    parameters, game = _parameters(seed, gates=n), Game(seed, 3, n, power, monotone=True)
    search = SetSearch(_ranking(parameters), game.retained)
    counts = search.smallest_sufficient(retain).tolist()
    for example, count in enumerate(counts):
        order, value = parameters[example].argsort(descending=True).tolist(), game.of(example)
        found, ranked = _best_first(search, example, count), _best_first(search, example, n)
        prefix = order[: smallest_sufficient(lambda k, v=value, o=order: v(o[:k]), n, retain)]
        assert set(found) <= set(prefix)
        assert value(found) >= retain
        assert all(value(_less(found, i)) < retain for i in found)
        assert ranked == [i for i in order if i in found] + [i for i in order if i not in found]


@given(SEEDS)
@FEW
def test_of_any_game_a_set_is_found_that_suffices_and_needs_each_member(seed):
    parameters, game = _parameters(seed), Game(seed, 3, 6, power=4, monotone=False)
    search = SetSearch(_ranking(parameters), game.retained)
    counts = search.smallest_sufficient(0.3).tolist()
    for example, count in enumerate(counts):
        found, value = _best_first(search, example, count), game.of(example)
        assert value(found) >= 0.3
        assert all(value(_less(found, i)) < 0.3 for i in found)


@pytest.mark.parametrize("searched", [False, True])
@given(SEEDS, st.integers(2, 9), st.booleans())
@FEW
def test_the_last_member_is_the_one_whose_removal_changes_least(searched, seed, n, both):
    """And so on among the rest; of more than six, the others change no more than one of the six."""
    game, other = (Game(seed + i, 3, n, power=4, monotone=False) for i in (0, 1))
    search = SetSearch(
        _ranking(_parameters(seed, gates=n)), game.retained, other=other.retained if both else None
    )
    selected = torch.rand(3, n, generator=torch.Generator().manual_seed(seed)) < 0.8
    if searched:
        selected = search.ranking.top(search.smallest_sufficient(0.3).unsqueeze(1))[0]
    arranged = search.ranking.promoted(selected, search.arrange(selected))
    for example in range(3):
        members = arranged.rank[example].argsort()[: int(selected[example].sum())].tolist()

        def left(features, without, example=example):
            rest = _less(features, without)
            return game.of(example)(rest) + both * other.of(example)(rest)

        for later in members[6:]:
            assert left(members, later) >= max(left(members, i) for i in members[:6]) - SAME
        for k in range(2, min(6, len(members)) + 1):
            some = members[:k]
            assert left(some, some[-1]) >= max(left(some, i) for i in some) - SAME


@given(SEEDS, st.integers(3, 10), st.integers(0, 30), st.sampled_from([0.3, 0.6]), st.booleans())
@examples(80)
def test_swaps_never_make_a_set_worse(seed, n, swaps, retain, both):
    """It still suffices and needs each member, and is smaller, or does as much in all that is asked."""
    _, _, game, other, search = _trying(seed, n, swaps, both, 30, True)
    *_, plain = _trying(seed, n, 0, both, 30, True)
    counts, before = search.smallest_sufficient(retain).tolist(), plain.smallest_sufficient(retain).tolist()
    for example, count in enumerate(counts):

        def value(features, example=example):
            return game.of(example)(features) + both * other.of(example)(features)

        found, kept = _best_first(search, example, count), game.of(example)
        unswapped = _best_first(plain, example, before[example])
        assert kept(found) >= retain
        assert all(kept(_less(found, i)) < retain for i in found)
        assert count < before[example] or value(found) >= value(unswapped)
        if count == before[example] == 1 and swaps >= n:  # each single feature was tried
            assert value(found) >= max(value([i]) for i in range(n) if kept([i]) >= retain) - SAME


@given(SEEDS, st.integers(1, 10), st.integers(0, 12), st.booleans())
@FEW
def test_what_comes_next_adds_more_than_the_least_gain_and_the_largest_first(seed, n, swaps, both):
    """Gains count in steps of the least gain; at most six are moved, the others keep their order."""
    parameters, promise, game, other, search = _trying(seed, n, swaps, both, 4, False)
    selected = torch.rand(3, n, generator=torch.Generator().manual_seed(seed)) < 0.4
    promoted = search.ranking.promoted(selected, worth=search.extend(selected))
    for example in range(3):

        def value(features, example=example):
            return game.of(example)(features) + both * other.of(example)(features)

        order = parameters[example].argsort(descending=True).tolist()
        chosen = [i for i in order if selected[example, i]]
        rest = promoted.rank[example].argsort().tolist()[len(chosen) :]
        promising = [i for i in promise[example].argsort(descending=True).tolist() if i not in chosen]
        steps = {i: round((value([*chosen, i]) - value(chosen)) / 0.02) for i in promising[:swaps]}
        gains = {i: value([*chosen, i]) - value(chosen) for i in steps if chosen}
        noted = [i for i in rest if gains.get(i, 0) > 0.02]
        first = rest[: min(6, len(noted))]
        assert set(first) <= set(noted)
        assert [steps[i] for i in first] == sorted((steps[i] for i in noted), reverse=True)[:6]
        assert rest[len(first) :] == [i for i in order if i not in chosen + first]


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
        search = SetSearch(_ranking(parameters), retained, affords, promise=promise, swaps=5)
        count = search.smallest_sufficient(0.9)
        selected = search.ranking.top(count.unsqueeze(1))[0]
        order = search.ranking.promoted(selected, worth=search.extend(selected)).rank[0].argsort().tolist()
        assert sum(asked) <= affordable
        found += [order[: int(count)]] if order[: int(count)] not in found else []
    assert found[-2:] == [[0], [4]]
    assert order == [4, 0, 3, 1, 2, 5]


def test_gates_that_are_not_visible_are_never_tried():
    """The last would do more than all others."""
    visible = torch.tensor([[True, True, True, False]])
    worth = torch.tensor([0.5, 0.45, 0.2, 9.0])
    search = SetSearch(
        _ranking(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), visible),
        lambda s, rows: (s * worth).sum(2),
        promise=worth.unsqueeze(0),
        swaps=8,
    )
    count = search.smallest_sufficient(0.9)
    selected = search.ranking.top(count.unsqueeze(1))[0]
    assert selected.tolist() == [[True, True, False, False]]
    assert search.ranking.promoted(selected, worth=search.extend(selected)).rank.tolist() == [[0, 1, 2, 3]]


def test_a_selection_on_which_the_model_says_nothing_is_never_found():
    """Prefixes of 3 and more, of which those of 4 to 6 give NaN."""

    def retained(selections, examples):
        size = selections.sum(2)
        return torch.where((size > 3) & (size < 7), torch.nan, (size > 2) + size / 100)

    search = SetSearch(_ranking(_parameters(0, gates=20)), retained)
    assert not set(search.best_value(0.02).tolist()) & {4, 5, 6}
    assert not set(search.smallest_sufficient(1.0).tolist()) & {4, 5, 6}


def test_a_search_says_which_examples_it_asks_about_and_how_often():
    asked, told = [], []

    def retained(selections, examples):
        asked.append((examples.tolist(), len(selections)))
        return selections.sum(2) / 20.0

    def affords(examples, n):
        told.append((examples.tolist(), n.tolist()))
        return examples != 1

    SetSearch(_ranking(_parameters(0, gates=20)), retained, affords).best_value(0.0)
    assert told[0] == ([0, 1, 2], [12, 12, 12])
    assert asked[0] == ([0, 2], 12)


@given(st.integers(0, 50), st.integers(2, 300))
@FEW
def test_counts_tried_are_spread_geometrically_between_the_two_ends(low, gap):
    high = low + gap
    (found,) = between(torch.tensor([low]), torch.tensor([high]), 3).tolist()
    ratio = (high + 1) / (low + 1)
    spread = [(low + 1) * ratio ** (i / 4) - 1 for i in (1, 2, 3)]
    expected = [min(max(value, low + i), high - 1) for i, value in enumerate(spread, start=1)]
    assert found == pytest.approx(expected, abs=0.501)  # rounded to whole counts
    assert low < found[0] <= found[1] <= found[2] < high


def test_a_set_of_twelve_is_put_in_order():
    worth = torch.arange(12.0)
    search = SetSearch(_ranking(-worth.unsqueeze(0)), lambda s, rows: (s * worth).sum(2))
    place = search.arrange(torch.ones(1, 12, dtype=torch.bool))
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
    search = SetSearch(_ranking(torch.tensor([[3.0, 2.0, 1.0]])), counted(0, worth), affords)
    everything = search.ranking.top(search.smallest_sufficient(0.9).unsqueeze(1))[0]
    assert everything.all()
    measured[:], told[:] = [0, 0], []
    search.arrange(everything)
    assert (measured, told[:2]) == ([2, 0], [[3], [2]])  # what each of the three is missed for is known
    measured[:], told[:] = [0, 0], []
    other = SetSearch(search.ranking, counted(0, worth), affords, other=counted(1, worth))
    other.smallest_sufficient(0.9)
    measured[:], told[:] = [0, 0], []
    other.arrange(everything)
    assert (measured, told[:2]) == ([2, 5], [[6], [4]])
    measured[:] = [0, 0]
    other.arrange(search.ranking.top(torch.tensor([[1]]))[0])
    assert measured == [0, 0]


def test_large_sets_stay_in_order_and_cost_nothing():
    search, asked = _search(_parameters(3, gates=20), torch.zeros(3, 21))
    selected = search.ranking.top(torch.tensor([[13], [13], [13]]))[0]
    arranged = search.ranking.promoted(selected, search.arrange(selected))
    assert torch.equal(arranged.rank, search.ranking.rank)
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

    search = SetSearch(_ranking(-worth.unsqueeze(0)), retained, lambda examples, n: spent + n <= affordable)
    place = search.arrange(torch.ones(1, 5, dtype=torch.bool))
    left = {0: [], 5: [0], 9: [0, 1], 12: [0, 1, 2]}[affordable]  # the least missed first
    assert place.argsort(1)[0].tolist() == [i for i in range(5) if i not in left] + left[::-1]
    assert spent == affordable


@pytest.mark.parametrize("n", [8, 100, 5000])
def test_the_searches_take_few_measurements(n):
    """Some of every round of the search, and one round of pruning that finds nothing to drop."""
    search, asked = _search(_parameters(4, gates=n), _rising(4, 3, n))
    search.smallest_sufficient(0.9)
    assert sum(len(selections) for selections in asked) <= 4 * math.ceil(math.log(n, 3) + 2) + 12
    search, asked = _search(_parameters(4, gates=n), _rising(4, 3, n).sort(1).values)
    search.best_value(1 / n)
    assert sum(len(selections) for selections in asked) <= 12 * math.ceil(math.log(n, 5) + 1)


def test_gates_that_are_not_visible_are_not_searched():
    parameters = _parameters(5)
    visible = torch.arange(6).expand(3, 6) < 3
    search = SetSearch(_ranking(parameters, visible), lambda s, rows: (s & visible[rows]).sum(2) / 3.0)
    assert search.best_value(0.1).tolist() == [3, 3, 3]
    assert search.smallest_sufficient(0.9).tolist() == [3, 3, 3]


def test_gates_that_do_not_exist_are_not_counted():
    parameters = torch.tensor([[-1.0, 0.1, 2.0, 3.0], [-1.0, -2.0, 0.5, -torch.inf]])
    visible = torch.tensor([[True, True, False, True], [True, True, True, False]])
    search = SetSearch(Ranking.of(parameters, visible), lambda s, _: s.sum(2).double())
    assert search.n_gates.tolist() == [4, 3]


@given(SEEDS, st.integers(20, 60), st.integers(1, 30), st.sampled_from([0.5, 0.9]))
@FEW
def test_a_second_order_is_taken_where_fewer_of_its_features_suffice(seed, n, needed, retain):
    """What a set retains is the share it has of the features that are needed, in a random place each."""
    needed = min(needed, n)
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(3, n, generator=generator, dtype=torch.float64).argsort(1) < needed
    parameters, second = _parameters(seed, gates=n), truth.double()

    def retained(selections, examples):
        return (selections & truth[examples]).sum(2) / needed

    alone = SetSearch(_ranking(parameters), retained).smallest_sufficient(retain)
    search = SetSearch(_ranking(parameters), retained, second=lambda _: second)
    found = search.smallest_sufficient(retain)
    assert bool((found <= alone).all())
    enough = math.ceil(retain * needed - 1e-9)
    assert bool((alone >= enough).all())
    if enough > SearchSettings().largest_pruned:  # along the second order nothing is in between
        assert found.tolist() == [enough] * 3
    assert bool((search.ranking.top(found.unsqueeze(1))[0] & truth).sum(1).ge(enough).all())
