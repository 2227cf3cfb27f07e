"""Tests of the order of references: its first rows stand for all, for numbers, ids and amounts."""

from __future__ import annotations

import pytest
import torch

from stg_attr.gates import Blend, FeatureGroups, ReferenceSet
from stg_attr.gates.representative import representative_order


def _rows(n: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _blend(x: torch.Tensor, baselines: object, kept: int = 0) -> Blend:
    return Blend.of((x,), baselines, FeatureGroups.from_mask(None, (x,)), lambda n: kept)


def test_it_begins_with_a_row_in_the_middle():
    rows = torch.tensor([-9.0, 0.1, 8.0, 20.0, -20.0]).reshape(-1, 1, 1)
    assert representative_order([rows])[0] == 1


def test_two_clusters_alternate():
    rows = torch.cat([_rows(8, 3) - 50, _rows(8, 3, 1) + 50])
    order = representative_order([rows])
    assert sorted((order[:2] >= 8).tolist()) == [False, True]
    assert int((order[:8] >= 8).sum()) == 4


@pytest.mark.parametrize("n", [5, 17])
def test_means_over_the_first_rows_are_near_those_over_all(n):
    """Of a sum of smooth functions of the columns, in less than two thirds of the error of rows at random."""
    chosen, at_random = [], []
    for seed in range(20):
        rows = _rows(60, 6, seed)
        values = torch.sin(rows).sum((1, 2)) + (rows**2 / 2).sum((1, 2))
        order = representative_order([rows])
        chosen.append(values[order[:n]].mean() - values.mean())
        at_random.append(values[:n].mean() - values.mean())
    assert torch.stack(chosen).std() < 2 / 3 * torch.stack(at_random).std()


def test_ids_are_in_proportion():
    """Twelve rows of one id, four of another, whatever their numbers."""
    rows = torch.tensor([700] * 12 + [3] * 4).reshape(-1, 1, 1)
    assert int((rows[representative_order([rows])[:4]] == 3).sum()) == 1


def test_amounts_of_ids_are_compared_as_numbers():
    amounts = torch.tensor([-20.0, -9.0, 0.1, 8.0, 20.0]).reshape(-1, 1)
    ids = torch.tensor([3, 1, 0, 2, 4]).reshape(-1, 1, 1)
    assert representative_order([ids], [amounts])[0] == 2


def test_a_unit_of_a_column_does_not_matter():
    rows = _rows(30, 3)
    scaled = rows * torch.tensor([1e6, 1.0, 1e-6], dtype=rows.dtype)
    assert torch.equal(representative_order([rows]), representative_order([scaled]))


@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_it_is_a_permutation(n):
    """Also of equal rows, and of more rows than are compared."""
    for rows in (_rows(n, 2), torch.zeros(n, 1, 2)):
        assert representative_order([rows]).sort().values.tolist() == list(range(n))


def test_several_inputs_and_kinds():
    rows = [_rows(9, 2), torch.zeros(1, 1, 4), torch.tensor([True, False, True] * 3).reshape(9, 1, 1)]
    complex_rows = torch.complex(_rows(9, 2), _rows(9, 2, 1))
    assert sorted(representative_order([*rows, complex_rows]).tolist()) == list(range(9))


def test_which_references_are_held_out_does_not_depend_on_their_values():
    """Else a claim about all references would rest on chosen ones."""
    x = torch.zeros(1, 3)
    held = []
    for seed in range(3):
        rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed))
        blend = _blend(x, ReferenceSet(rows), kept=30)
        assert blend.n_held_out == 30
        assert blend.reference_order.sort().values.tolist() == list(range(40))
        held.append(blend.reference_order[-30:].tolist())
    assert held[0] == held[1] == held[2]


def test_only_rows_that_are_shown_decide_their_order():
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, 3)
    before = _blend(x, ReferenceSet(rows), kept=30).reference_order
    rows[before[-30:]] += 100.0
    assert torch.equal(before, _blend(x, ReferenceSet(rows), kept=30).reference_order)


def test_computed_references_keep_the_order_of_a_batch():
    """Noise has other rows for each example; one alone has the order that it has in a batch."""

    def noisy(x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(6, 1, 3, generator=torch.Generator().manual_seed(0))

    alone, together = _blend(torch.ones(1, 3), noisy), _blend(torch.ones(4, 3), noisy)
    assert torch.equal(alone.reference_order, together.reference_order)


def test_examples_alone_and_together_have_the_same_order():
    rows = ReferenceSet(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(
        _blend(torch.ones(1, 3), rows).reference_order, _blend(torch.randn(4, 3), rows).reference_order
    )
