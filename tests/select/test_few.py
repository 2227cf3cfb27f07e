"""Sets of few features, beside all subsets of tables drawn at random."""

import pytest
import torch

from stg_attr.select import Ranking, SearchSettings, SetSearch

N = 8


def table(seed, examples=4):
    """What each subset retains, [examples, 2 ** N]: the best of six groups of features that are all there."""
    made = torch.Generator().manual_seed(seed)
    members = ((torch.arange(2**N).unsqueeze(1) >> torch.arange(N)) & 1).double()
    groups = torch.rand(examples, 6, N, generator=made).argsort(2) < torch.randint(
        2, 6, (examples, 6, 1), generator=made
    )
    share = torch.einsum("egn,sn->egs", groups.double(), members) / groups.sum(2, keepdim=True)
    worth = 0.85 + 0.2 * torch.rand(examples, 6, 1, generator=made, dtype=torch.float64)
    kept = (worth * share**4).amax(1)
    return kept / kept[:, -1:], members.sum(1).long()


def searched(kept, seed, limit=None, **settings):
    """The sets that a search finds along a ranking that knows nothing, and how many it has measured."""
    examples = len(kept)
    parameter = torch.randn(examples, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spent = torch.zeros(examples, dtype=torch.long)

    def measure(selections, index):
        number = (selections.long() << torch.arange(N)).sum(2)
        spent.index_add_(0, index, torch.full_like(index, len(selections)))
        return kept[index].gather(1, number.T).T

    def affords(index, n):
        return torch.ones_like(n, dtype=torch.bool) if limit is None else spent[index] + n <= limit

    visible = torch.ones_like(parameter, dtype=torch.bool)
    search = SetSearch(Ranking.of(parameter, visible), measure, affords, settings=SearchSettings(**settings))
    count = search.smallest_sufficient(0.9)
    return search, search.ranking.top(count.unsqueeze(1))[0], spent


def judged(kept, size, selected):
    """Excess members over the best of all subsets, and how much less than the best of that size is kept."""
    number = (selected.long() << torch.arange(N)).sum(1, keepdim=True)
    own = kept.gather(1, number)[:, 0]
    assert bool((own >= 0.9).all())
    sizes = size.expand_as(kept).masked_fill(kept < 0.9, N + 1)
    best = kept.masked_fill(size.expand_as(kept) != sizes.amin(1, keepdim=True), -1).amax(1)
    return selected.sum(1) - sizes.amin(1), best - own


@pytest.mark.parametrize("seed", range(12))
def test_sets_of_few_features_are_the_best_of_all_subsets(seed):
    kept, size = table(seed)
    _, selected, _ = searched(kept, seed, few=N)
    excess, less = judged(kept, size, selected)
    assert excess.tolist() == [0] * len(kept)
    assert float(less.max()) <= SearchSettings().same


def test_without_it_a_ranking_that_knows_nothing_leads_to_larger_sets():
    excess = torch.cat([judged(*t, searched(t[0], seed)[1])[0] for seed in range(12) if (t := table(seed))])
    assert int(excess.sum()) > 0


@pytest.mark.parametrize("seed", range(4))
def test_where_combinations_are_many_random_orders_and_swaps_find_a_set_that_suffices(seed):
    kept, size = table(seed)
    _, plain, _ = searched(kept, seed)
    _, selected, _ = searched(kept, seed, few=N, subsets=5)
    excess, _ = judged(kept, size, selected)
    assert bool((excess <= judged(kept, size, plain)[0]).all())


@pytest.mark.parametrize("limit", [8, 20, 40, 80, 160])
def test_no_more_is_measured_than_is_allowed(limit):
    kept, _ = table(0)
    *_, spent = searched(kept, 0, limit=limit, few=N)
    assert int(spent.max()) <= limit


def test_what_is_said_of_members_is_true_of_the_new_set():
    kept, _ = table(1)
    search, selected, _ = searched(kept, 1, few=N)
    number = (selected.long() << torch.arange(N)).sum(1, keepdim=True)
    left = kept.gather(1, number - (selected.long() << torch.arange(N)))
    known = selected & ~search.left.isnan()
    torch.testing.assert_close(search.left[known], left[known])
    assert bool((search.needed == (selected & (left < 0.9)))[known].all())
    assert bool(known.any())
