"""Rankings: the top k, the boundary of a selection, and selections that are moved to the front."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.gates import BinaryConcrete
from stg_attr.select import Ranking
from tests.examples import examples

SEEDS = st.integers(0, 10**6)
FEW = examples(25)


def _parameters(seed, batch=3, gates=6, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(batch, gates, generator=generator, dtype=torch.float64)


def _ranking(parameters, visible=None):
    return Ranking.of(
        parameters, torch.ones_like(parameters, dtype=torch.bool) if visible is None else visible
    )


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


@given(SEEDS, st.integers(0, 6), st.sampled_from([0.0, 1.0, 30.0]))
@FEW
def test_of_equal_parameters_the_selected_ones_are_above_one_half_and_the_order_can_be_read_again(
    seed, k, spread
):
    """All equal, or some: what is reported is read back as the same ranking, at every size."""
    ranking = _ranking(_parameters(seed, spread=spread).round().float())
    ranking = ranking.promoted(torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.4)
    gates = BinaryConcrete(temperature=1.3)
    selected = ranking.top(torch.full((3, 1), k))[0]
    reported = ranking.at(selected, gates.half)
    assert torch.equal(gates.active_probability(reported) > 0.5, selected)
    assert torch.equal(_ranking(reported).rank, ranking.rank)
    for n in range(7):
        again = _ranking(reported).top(torch.full((3, 1), n))[0]
        assert torch.equal(again, ranking.top(torch.full((3, 1), n))[0])
        assert torch.equal(_ranking(_ranking(reported).at(again, gates.half)).rank, ranking.rank)


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


def top(parameters, visible, k):
    """The k visible gates with the largest parameters; the first ones where some are equal."""
    order = sorted((i for i in range(len(parameters)) if visible[i]), key=lambda i: (-parameters[i], i))
    return [i in order[:k] for i in range(len(parameters))]
