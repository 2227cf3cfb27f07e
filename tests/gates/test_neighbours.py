"""Neighbours of image gates: equal to a naive walk over all pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.gates import FeatureGroups, grid_mask
from stg_attr.gates.neighbours import image_neighbours
from tests.examples import examples


def _naive(mask):
    """Sets of columns that share a border, by looking at every pixel and its four neighbours."""
    height, width = mask.shape
    found = {}
    for i in range(height):
        for j in range(width):
            for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if 0 <= a < height and 0 <= b < width and -1 < mask[i, j] != mask[a, b] > -1:
                    found.setdefault(int(mask[i, j]), set()).add(int(mask[a, b]))
    return found


def _neighbours(mask, x):
    return FeatureGroups.from_mask(mask, (x,)).neighbours


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6))
@examples(40)
def test_they_are_the_regions_on_the_other_side_of_a_border(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(-1, 6, (height, width), generator=generator)
    mask[0, 0] = 0
    ids, sizes = mask[mask >= 0].unique(return_counts=True)
    compact = torch.where(mask >= 0, torch.searchsorted(ids, mask), -1)
    found = _neighbours(mask.reshape(1, 1, height, width), torch.zeros(2, 3, height, width))
    expected = _naive(compact)
    assert found.shape[:2] == (1, len(ids))
    assert bool((found >= -1).all())
    for column in range(len(ids)):
        regions = {other for other in expected.get(column, set()) if sizes[other] > 1}
        listed = {n for n in found[0, column].tolist() if n >= 0}
        assert listed == (regions if sizes[column] > 1 else set())


def test_fewer_neighbours_are_kept_when_told_so():
    mask = grid_mask(torch.zeros(1, 1, 6, 6), 2)
    every, two = image_neighbours([mask], 9), image_neighbours([mask], 9, most=2)
    assert every.shape == (1, 9, 4)
    assert torch.equal(two, every[..., :2])


def test_the_longest_borders_come_first_and_at_most_eight_are_kept():
    mask = torch.zeros(11, 40, dtype=torch.long)
    for i in range(10):
        mask[i, : 3 * i + 3] = i + 1  # a staircase beside one large region
    found = _neighbours(mask.reshape(1, 1, 11, 40), torch.zeros(1, 1, 11, 40))
    assert found.shape == (1, 11, 8)
    lengths = {}
    for dim in (0, 1):
        n = mask.shape[dim] - 1
        borders = torch.stack([mask.narrow(dim, 0, n).flatten(), mask.narrow(dim, 1, n).flatten()], 1)
        for a, b in borders.tolist():
            if a != b and 0 in (a, b):
                lengths[a + b] = lengths.get(a + b, 0) + 1
    kept = [lengths[n] for n in found[0, 0].tolist()]
    assert kept == sorted(lengths.values(), reverse=True)[:8]


def test_every_example_has_the_neighbours_of_its_own_mask():
    masks = torch.tensor([[[[0, 0, 1, 1, 2, 2]]], [[[0, 0, 2, 2, 1, 1]]]])
    found = _neighbours(masks, torch.zeros(2, 1, 1, 6))
    assert [[sorted(n for n in gate if n >= 0) for gate in row] for row in found.tolist()] == [
        [[1], [0, 2], [1]],
        [[2], [2], [0, 1]],
    ]


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 5)])
def test_tables_and_series_have_none(shape):
    found = _neighbours(None, torch.zeros(shape))
    assert found.shape == (1, torch.zeros(shape)[0].numel(), 0)
    assert found.dtype == torch.long


@pytest.mark.parametrize("mask", [None, torch.arange(9).reshape(1, 1, 3, 3), torch.arange(9).reshape(3, 3)])
def test_single_pixels_have_none_with_one_gate_for_all_channels_or_for_each(mask):
    assert _neighbours(mask, torch.zeros(1, 2, 3, 3)).eq(-1).all()


def test_blocks_of_a_volume_have_six():
    cells = torch.arange(27).reshape(3, 3, 3)
    for dim in range(3):
        cells = cells.repeat_interleave(2, dim)
    volume = _neighbours(cells.reshape(1, 1, 6, 6, 6), torch.zeros(1, 1, 6, 6, 6))
    assert sorted(volume[0, 13].tolist()) == [4, 10, 12, 14, 16, 22]


def test_cells_of_a_grid_have_those_around_them():
    x = torch.zeros(1, 3, 6, 6)
    assert sorted(_neighbours(grid_mask(x, 2), x)[0, 4].tolist()) == [1, 3, 5, 7]
