"""Smoothing: equal to the dense linear system, keeps constants, leaves loners alone."""

import pytest
import torch

from stg_attr.gates import FeatureGroups
from stg_attr.solve.smoothing import Smoothing


def _smoothing(mask, strength):
    """Of gates that each cover two pixels, one below the other."""
    doubled = mask.repeat_interleave(2, 2)
    return Smoothing(FeatureGroups.from_mask(doubled, (torch.zeros(doubled.shape),)).neighbours, strength)


def _grid(height, width):
    return torch.arange(height * width).reshape(1, 1, height, width)


def _dense(neighbours, strength):
    """I + strength (I - A), with rows of A that average over neighbours."""
    n = len(neighbours)
    system = torch.eye(n, dtype=torch.float64)
    for gate, row in enumerate(neighbours.tolist()):
        around = [other for other in row if other >= 0]
        for other in around:
            system[gate, other] -= strength / len(around)
        system[gate, gate] += strength * bool(around)
    return system


@pytest.mark.parametrize("size", [(5, 7), (1, 6), (17, 16)], ids=str)  # the last is too large for a matrix
@pytest.mark.parametrize("strength", [0.3, 1.5, 3.0])
def test_it_solves_the_linear_system(strength, size):
    smooth = _smoothing(_grid(*size), strength)
    n_gates = size[0] * size[1]
    values = torch.randn(4, n_gates, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.solve(_dense(smooth.neighbours[0], strength), values.T).T
    # what twelve sweeps leave of the error: (strength / (1 + strength)) ** 12 of the largest value
    atol = float(values.abs().max()) * (strength / (1 + strength)) ** 12
    torch.testing.assert_close(smooth(values), expected, rtol=0, atol=atol)


def test_what_is_equal_everywhere_stays():
    smooth = _smoothing(_grid(4, 4), 1.5)
    torch.testing.assert_close(smooth(torch.full((2, 16), 3.0)), torch.full((2, 16), 3.0))


def test_a_gate_without_neighbours_keeps_its_value():
    mask = torch.tensor([[[[0, 1, -1, 2]]]])
    values = torch.tensor([[1.0, 5.0, -7.0]])
    smooth = _smoothing(mask, 1.5)(values)
    assert smooth[0, 2] == -7
    assert 1 < smooth[0, 0] < smooth[0, 1] < 5


def test_a_strength_of_zero_changes_nothing():
    values = torch.randn(2, 16)
    assert _smoothing(_grid(4, 4), 0.0)(values) is values


def test_every_example_is_smoothed_by_its_own_mask():
    masks = torch.tensor([[[[0, 1, 2]]], [[[0, 2, 1]]]])
    values = torch.tensor([[6.0, 0.0, 0.0]]).repeat(2, 1)
    both = _smoothing(masks, 1.5)
    for row in range(2):
        alone = _smoothing(masks[row : row + 1], 1.5)
        left = both.rows(torch.tensor([row]))
        for smooth in (alone, left):  # a single mask takes matrix products, which round otherwise
            torch.testing.assert_close(smooth(values[row : row + 1]), both(values)[row : row + 1])


def test_neighbours_that_examples_share_serve_any_of_them():
    smooth = _smoothing(_grid(3, 3), 1.5)
    assert smooth.rows(torch.tensor([5, 2])) is smooth
