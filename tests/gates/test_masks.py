"""Feature masks: which elements share a gate."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr import ArgumentError, StochasticGates
from stg_attr.gates import FeatureGroups, column_mask, grid_mask, pixel_mask, position_mask, superpixel_mask
from stg_attr.gates.masks import default_masks
from tests.examples import examples


@examples(30)
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
        ((2, 3, 56, 224), (8, 8)),  # 56 * 224 = 112 ** 2, and 112 / 14 = 8
        ((2, 3, 57, 224), (9, 9)),
        ((2, 1, 64, 64), None),  # 4096 elements
        ((2, 1, 64, 65), (5, 5)),
        ((2, 13, 64, 64), (5, 5)),
        ((2, 512, 4, 4), (1, 1)),  # maps, whose channels are not far fewer than their rows
        ((1, 1, 2, 56, 224), (1, 19, 19)),  # 112 / 6 = 18.7; 6 ** 3 cells are about as many as 14 ** 2
        ((1, 4, 60, 90, 90), (10, 15, 15)),
        ((1, 3, 16, 112, 112), (3, 19, 19)),
        ((2, 12, 1960), (10,)),  # 14 ** 2 windows
        ((2, 1, 1001), (6,)),
        ((2, 1, 1000), None),
        ((2, 12, 1000), None),
        ((2, 500, 12), None),
        ((2, 5000), None),
        ((2, 60, 60), None),
        ((2, 3), None),
        ((2, 0), None),
    ],
)
def test_photographs_volumes_and_signals_get_cells_and_all_other_elements_a_gate_each(shape, cell):
    x, table = torch.zeros(shape), torch.zeros(2, 3)
    first, second = default_masks([x, table])
    n = x[0].numel()
    expected = grid_mask(x, cell) if cell else torch.arange(n).reshape(1, *shape[1:])
    assert torch.equal(first, expected)
    assert (second - (int(expected.max()) + 1 if n else 0)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("shape", "dimensions", "cell"),
    [
        ((2, 112, 224, 3), "[batch, height, width, channels]", (12, 12, 3)),
        ((2, 14, 14, 64), "[batch, height, width, channels]", (1, 1, 64)),
        ((2, 64, 64, 13), "[batch, height, width, channels]", (5, 5, 13)),
        ((1, 20, 30, 40, 1), "[batch, depth, height, width, channels]", (4, 6, 6, 1)),
        ((1, 16, 3, 40, 40), "[batch, frames, channels, height, width]", (3, 3, 7, 7)),
        ((1, 4, 3, 40, 40), "[batch, channels, depth, height, width]", (1, 7, 7)),
        ((2, 1960, 12), "[batch, time, channels]", (10, 12)),
    ],
)
def test_where_the_channels_are_is_said_with_the_call_that_says_it(shape, dimensions, cell):
    x = torch.zeros(shape)
    with pytest.warns(UserWarning, match="taken as") as caught:
        (found,) = default_masks([x])
    said = str(caught[0].message)
    assert said.startswith(f"input 0 of shape {shape} is taken as {dimensions}. ")
    assert f"grid_mask(x, {cell})" in said
    assert torch.equal(found, grid_mask(x, cell))


def test_a_matrix_that_may_be_an_image_or_a_series_says_how_to_group_its_elements():
    said = (
        r"input 0 of shape \(1, 112, 224\) has 25088 features.*grid_mask\(x, 12\) for images.*position_mask"
    )
    with pytest.warns(UserWarning, match=said):
        (found,) = default_masks([torch.zeros(1, 112, 224)])
    assert torch.equal(found, torch.arange(112 * 224).reshape(1, 112, 224))


@examples(40)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4))
def test_a_grid_of_any_dimension_has_one_id_for_each_cell(sides):
    sizes, edges = zip(*sides, strict=True)
    mask = grid_mask(torch.zeros(2, 3, *sizes), edges)
    assert mask.shape == (1, 1, *sizes)
    cells = {}
    for place in product(*map(range, sizes)):
        cell = tuple(i // edge for i, edge in zip(place, edges, strict=True))
        cells.setdefault(cell, set()).add(int(mask[0, 0][place]))
    assert [ids for _, ids in sorted(cells.items())] == [{i} for i in range(len(cells))]


@pytest.mark.parametrize(
    ("shape", "cell", "edges"),
    [((1, 3, 6, 6, 6), 2, (2, 2, 2)), ((1, 3, 6, 6), 2, (2, 2)), ((1, 6, 6), 2, (2, 2))],
)
def test_one_edge_cuts_all_dimensions_after_the_channels(shape, cell, edges):
    assert torch.equal(grid_mask(torch.zeros(shape), cell), grid_mask(torch.zeros(shape), edges))


def planted(x):
    """The mean of one region of [batch, channels, depth, height, width], in the half that is seen first."""
    return x[:, :, :4, :8, :8].mean((1, 2, 3, 4))


def test_the_cubes_of_a_volume_tell_its_depths_apart():
    x = torch.ones(1, 2, 24, 24, 24)
    selected = StochasticGates(planted).explain(x).attributions >= 0.5
    where = torch.zeros_like(x, dtype=torch.bool)
    where[:, :, :4, :8, :8] = True
    assert torch.equal(selected, where)  # cells have edges of 4


def permuted(x, dims):
    return x.permute(0, *dims)


@pytest.mark.parametrize(
    ("shape", "there", "back"),
    [
        ((2, 3, 48, 64), (2, 3, 1), (3, 1, 2)),
        ((2, 3, 20, 16, 16), (2, 3, 4, 1), (4, 1, 2, 3)),
        ((2, 3, 20, 16, 16), (2, 1, 3, 4), (2, 1, 3, 4)),
        ((2, 3, 1200), (2, 1), (2, 1)),
    ],
)
def test_where_the_channels_are_changes_no_attribution(shape, there, back):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(1, *shape[1:])

    def first(x):
        return torch.stack([(weight * x).flatten(1).sum(1).tanh(), x.flatten(1).amax(1)], 1)

    expected = StochasticGates(first).attribute(x, target=0, n_steps=3)
    with pytest.warns(UserWarning, match="taken as"):
        found = StochasticGates(lambda x: first(permuted(x, back))).attribute(
            permuted(x, there), target=0, n_steps=3
        )
    torch.testing.assert_close(permuted(found, back), expected, rtol=0, atol=1e-5)


def test_a_warning_about_the_layout_points_at_the_users_line():
    with pytest.warns(UserWarning, match="taken as") as caught:
        StochasticGates(lambda x: x.mean((1, 2, 3))).attribute(torch.rand(1, 40, 40, 3), n_steps=1)
    assert caught[0].filename == __file__


def test_which_images_get_cells_and_how_many_can_be_chosen():
    x = torch.zeros(1, 1, 12, 12)
    (cells,) = default_masks([x], most_elements=143, cells=3)
    assert torch.equal(cells, grid_mask(x, 4))
    (single,) = default_masks([x], most_elements=144, cells=3)
    assert single.unique().numel() == 144


@pytest.mark.parametrize(
    "setting", [{"cells": 0}, {"cells": 2.5}, {"most_elements": -1}, {"most_steps": 0.5}]
)
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
        (lambda: superpixel_mask(torch.zeros(1, 8, 8, 3)), r"found \(1, 8, 8, 3\)\. .*x\.movedim\(-1, 1\)"),
        (lambda: superpixel_mask(torch.zeros(3, 8, 8)), r"found \(3, 8, 8\)\. .*x\.unsqueeze\(0\)"),
        (lambda: grid_mask(torch.zeros(2, 8, 8), (2, 2, 2)), r"3 dimensions to cut\]; found \(2, 8, 8\)"),
        (lambda: grid_mask(torch.zeros(1, 3, 8), ()), r"cell: expected .*found \(\)"),
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
