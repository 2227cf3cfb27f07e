"""Feature masks: which elements share a gate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_attr import ArgumentError
from stg_attr.gates import FeatureGroups, column_mask, grid_mask, pixel_mask, position_mask, superpixel_mask
from stg_attr.gates.masks import default_masks


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


@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((2, 3, 56, 224), 8),  # 56 * 224 = 112 ** 2, and 112 / 14 = 8
        ((2, 3, 57, 224), 9),
        ((1, 1, 2, 56, 224), 8),
        ((2, 1, 64, 64), 1),  # 4096 elements
        ((2, 1, 64, 65), 5),
        ((2, 5000), None),
        ((2, 70, 70), None),
        ((2, 3), None),
        ((2, 0), None),
    ],
)
def test_photographs_get_cells_and_all_other_elements_a_gate_each(shape, cell):
    x, table = torch.zeros(shape), torch.zeros(2, 3)
    first, second = default_masks([x, table])
    n = x[0].numel()
    expected = grid_mask(x, cell) if cell and cell > 1 else torch.arange(n).reshape(1, *shape[1:])
    assert torch.equal(first, expected)
    assert (second - (int(expected.max()) + 1 if n else 0)).tolist() == [[0, 1, 2]]


def test_which_images_get_cells_and_how_many_can_be_chosen():
    x = torch.zeros(1, 1, 12, 12)
    (cells,) = default_masks([x], most_elements=143, cells=3)
    assert torch.equal(cells, grid_mask(x, 4))
    (single,) = default_masks([x], most_elements=144, cells=3)
    assert single.unique().numel() == 144


@pytest.mark.parametrize("setting", [{"cells": 0}, {"cells": 2.5}, {"most_elements": -1}])
def test_impossible_settings_of_cells_are_refused(setting):
    with pytest.raises(ArgumentError, match=next(iter(setting))):
        default_masks([torch.zeros(1, 3)], **setting)


def test_masks_are_made_where_the_input_is():
    x = torch.zeros(2, 3, 4, device="meta")
    assert {mask(x).device.type for mask in (position_mask, column_mask)} == {"meta"}


def test_superpixels_are_those_of_scikit_image_on_each_image_between_0_and_1():
    segmentation = pytest.importorskip("skimage.segmentation")
    x = torch.rand(2, 3, 12, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * torch.tensor([3.0, 50.0]).reshape(2, 1, 1, 1) - torch.tensor([1.0, -20.0]).reshape(2, 1, 1, 1)
    found = superpixel_mask(x, 9, compactness=3.0)
    for image, mask in zip(x, found, strict=True):
        scaled = ((image - image.min()) / (image.max() - image.min())).permute(1, 2, 0).numpy()
        expected = segmentation.slic(scaled, n_segments=9, compactness=3.0, start_label=0)
        assert mask[0].tolist() == expected.tolist()


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
    with pytest.raises(ArgumentError) as caught:
        superpixel_mask(torch.zeros(1, 3, 8, 8))
    said = str(caught.value)
    assert said.startswith("superpixel_mask: expected scikit-image; found ")
    assert said.endswith("Install it with: pip install scikit-image. Or use grid_mask, which needs nothing.")
