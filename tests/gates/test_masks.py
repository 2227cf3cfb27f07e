"""Feature masks: which elements share a gate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_attr import ArgumentError
from stg_attr.gates import FeatureGroups, column_mask, grid_mask, pixel_mask, position_mask, superpixel_mask


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_two_pixels_share_a_cell_when_their_coordinates_do(height: int, width: int, rows: int, columns: int):
    mask = grid_mask(torch.zeros(2, 3, height, width), (rows, columns))[0, 0]
    for y in range(height):
        for x in range(width):
            same = mask == mask[y, x]
            cell = torch.zeros_like(same)
            top, left = y // rows * rows, x // columns * columns
            cell[top : top + rows, left : left + columns] = True
            assert torch.equal(same, cell)


@pytest.mark.parametrize(
    ("mask", "shape", "n_gates"),
    [
        (grid_mask, (2, 3, 8, 8), 4),
        (pixel_mask, (2, 3, 4, 5), 20),
        (position_mask, (2, 7, 16), 7),
        (position_mask, (2, 7), 7),
        (column_mask, (2, 7), 7),
        (column_mask, (2, 50, 3), 3),
    ],
)
def test_masks_fit_the_inputs_they_were_made_from(mask, shape, n_gates):
    x = torch.zeros(shape)
    groups = FeatureGroups.from_mask(mask(x, 4) if mask is grid_mask else mask(x), (x,))
    assert groups.n_gates == n_gates
    laid_out = groups.expand(torch.arange(n_gates).expand(1, 2, -1).float(), 0)
    assert torch.broadcast_shapes(laid_out.shape[1:], x.shape) == x.shape


def test_superpixels_follow_the_edges_of_each_image():
    pytest.importorskip("skimage")
    x = torch.zeros(2, 3, 16, 16)
    x[0, :, :, 8:] = 1
    x[1, :, 8:, :] = 1
    mask = superpixel_mask(x, n_segments=4)
    assert mask.shape == (2, 1, 16, 16)
    left, right = mask[0, 0, :, :8].unique(), mask[0, 0, :, 8:].unique()
    assert not set(left.tolist()) & set(right.tolist())
    top, bottom = mask[1, 0, :8].unique(), mask[1, 0, 8:].unique()
    assert not set(top.tolist()) & set(bottom.tolist())


def test_superpixels_of_grey_and_of_shifted_images_are_those_of_the_image():
    pytest.importorskip("skimage")
    grey = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = superpixel_mask(grey, 6)
    assert torch.equal(mask, superpixel_mask(grey.expand(1, 3, 12, 12), 6))
    assert torch.equal(mask, superpixel_mask(4 * grey - 2, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: grid_mask(torch.zeros(8, 8), 2),
            r"x: expected \[batch, ..., height, width\]; found \(8, 8\)",
        ),
        (lambda: grid_mask(torch.zeros(1, 8, 8), 0), "cell: expected an edge of at least 1 pixel; found 0"),
        (lambda: position_mask(torch.zeros(8)), r"expected \[batch, positions, ...\]; found \(8,\)"),
        (lambda: column_mask(torch.zeros(8)), r"expected \[batch, ..., columns\]; found \(8,\)"),
        (lambda: superpixel_mask(torch.zeros(1, 2, 8, 8)), r"1 or 3 channels.*found \(1, 2, 8, 8\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_without_scikit_image_superpixels_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(ArgumentError, match="pip install scikit-image"):
        superpixel_mask(torch.zeros(1, 3, 8, 8))
