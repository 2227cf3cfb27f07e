"""Pictures of one image: what is drawn is what the explanation says."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from stg_attr import viz
from stg_attr.errors import ArgumentError


def _shown(ax, which=0):
    return np.asarray(ax.get_images()[which].get_array(), dtype=float)


def test_heat_map_holds_the_probabilities_on_a_fixed_scale(image):
    fig, ax = viz.heatmap(image)
    assert np.allclose(_shown(ax), image.attributions[0].max(0).values)
    assert ax.get_images()[0].get_clim() == (0.0, 1.0)
    assert fig.axes[1].get_ylabel() == "active probability"
    assert fig.axes[1].get_ylim() == (0.0, 1.0)


def test_different_probabilities_have_different_colours():
    low, high = (viz.heatmap(torch.full((6, 6), p)).ax.get_images()[0] for p in (0.05, 0.95))
    assert not np.allclose(low.to_rgba(low.get_array()), high.to_rgba(high.get_array()), atol=0.2)


@pytest.mark.parametrize("grey", [False, True])
def test_layouts_show_the_same_pixels(grey):
    chw = torch.rand(1 if grey else 3, 9, 7, generator=torch.Generator().manual_seed(0))
    hwc = chw.movedim(0, -1)
    attributions = [(chw, chw), (chw[None], chw[None]), (hwc, hwc), (hwc[None], hwc[None])]
    if grey:
        attributions.append((chw[0], chw[0]))
    attributions += [(a.numpy(), x.numpy()) for a, x in attributions]
    pictures = [_shown(viz.contour(a, inputs=x).ax) for a, x in attributions]
    assert all(np.allclose(picture, pictures[0]) for picture in pictures)
    assert pictures[0].shape == ((9, 7) if grey else (9, 7, 3))


def test_four_channels_keep_their_transparency():
    rgba = torch.rand(4, 6, 5, generator=torch.Generator().manual_seed(0))
    assert np.allclose(_shown(viz.contour(rgba, inputs=rgba).ax), rgba.movedim(0, -1))


def test_normalised_images_are_shown_as_they_were(photo):
    mean, std = [0.4, 0.5, 0.6], torch.tensor([0.2, 0.3, 0.1])
    normalised = (photo - torch.tensor(mean)[:, None, None]) / std[:, None, None]
    _, ax = viz.contour(torch.zeros_like(photo), inputs=normalised, mean=mean, std=std)
    assert np.allclose(_shown(ax), photo[0].movedim(0, -1), atol=1e-6)


def test_bytes_run_from_0_to_255(photo):
    as_bytes = (photo * 255).round().to(torch.uint8)
    _, ax = viz.contour(torch.zeros(photo.shape), inputs=as_bytes)
    assert np.allclose(_shown(ax), photo[0].movedim(0, -1), atol=1 / 255)


def test_negative_images_are_stretched_over_the_whole_range():
    x = torch.linspace(-3, 5, 36).reshape(6, 6)
    shown = _shown(viz.contour(torch.zeros(6, 6), inputs=x).ax)
    assert (shown.min(), shown.max()) == (0.0, 1.0)


def test_kept_and_removed_are_what_was_scored(explain, photo, blocks):
    blur = torch.full_like(photo, 0.5)
    log_alpha = torch.tensor([[4.0, *[-4.0] * 11]])
    explanation = explain(photo, log_alpha, blocks, baselines=(blur,))
    inside = (blocks[0, 0] == 0).numpy()
    kept, removed = _shown(viz.kept(explanation).ax), _shown(viz.removed(explanation).ax)
    original = photo[0].movedim(0, -1).numpy()
    assert np.allclose(kept[inside], original[inside])
    assert np.allclose(kept[~inside], 0.5)
    assert np.allclose(removed[~inside], original[~inside])
    assert np.allclose(removed[inside], 0.5)


def test_what_is_never_gated_is_always_shown(explain, photo, blocks):
    mask = blocks.where(blocks != 0, -1)
    explanation = explain(photo, torch.full((1, 11), -4.0), mask)
    kept = _shown(viz.kept(explanation).ax)
    corner = (blocks[0, 0] == 0).numpy()
    assert np.allclose(kept[corner], photo[0].movedim(0, -1).numpy()[corner])
    assert np.allclose(kept[~corner], 0)


@pytest.mark.parametrize(
    ("draw", "log_alpha", "note"),
    [
        (viz.kept, -60.0, "nothing kept"),
        (viz.removed, -60.0, "nothing removed"),
        (viz.removed, 60.0, "everything removed"),
    ],
)
def test_empty_pictures_say_so(draw, log_alpha, note, explain, photo, blocks):
    explanation = explain(photo, torch.full((1, 12), log_alpha), blocks)
    assert [text.get_text() for text in draw(explanation).ax.texts] == [note]


def test_the_outline_is_the_edge_of_the_selection(explain, photo, blocks):
    explanation = explain(photo, torch.tensor([[*[-4.0] * 5, 4.0, *[-4.0] * 6]]), blocks)
    _, ax = viz.contour(explanation)
    outlines = [c for c in ax.collections if isinstance(c, LineCollection)]
    corners = np.concatenate(outlines[0].get_segments())
    assert len(outlines[0].get_segments()) == 4
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([3.5, 3.5], [7.5, 7.5])


def test_superpixels_have_all_their_borders(image):
    _, ax = viz.superpixels(image)
    borders = ax.collections[-1].get_segments()
    length = sum(np.abs(segment[1] - segment[0]).sum() for segment in borders)
    assert length == 3 * 12 + 2 * 16  # three lines down, two across


def test_what_is_selected_is_plain_and_the_rest_is_dimmed_by_its_probability(explain, photo, blocks):
    explanation = explain(photo, torch.tensor([[0.5, *[-4.0] * 4, 4.0, *[-1.0] * 6]]), blocks)
    _, ax = viz.overlay(explanation)
    picture, dimming = ax.get_images()
    assert np.allclose(np.asarray(picture.get_array()), photo[0].movedim(0, -1))  # in its own colours
    opacity = dimming.to_rgba(np.asarray(dimming.get_array()))[..., 3]
    probability = explanation.attributions[0].amax(0).numpy()
    selected = explanation.selected[0][blocks[0, 0]].numpy()
    assert np.all(opacity[selected] == 0)
    rest = ~selected
    order = np.argsort(probability[rest])
    assert np.all(np.diff(opacity[rest][order]) <= 1e-6)
    assert 0.5 < opacity.max() < 1


def test_inputs_of_an_explanation_are_its_own(image, photo):
    with pytest.raises(ArgumentError, match="none beside an Explanation"):
        viz.overlay(image, inputs=photo)


@pytest.mark.parametrize(
    ("attributions", "arguments", "message"),
    [
        (torch.zeros(5), {}, r"attributions: expected 2 or 3 dimensions, or 4 with a batch; found \(5,\)"),
        (
            torch.zeros(2, 6, 6),
            {"inputs": torch.zeros(2, 6, 6)},
            r"image: expected .* 1, 3 or 4 channels .*; found \(2, 6, 6\). Choose",
        ),
        (torch.zeros(6, 6), {"inputs": None}, "inputs: expected the image .*; found none"),
        (torch.zeros(6, 6), {"inputs": torch.zeros(6, 5)}, r"the shape of the attributions, \(6, 6\); found"),
        (torch.zeros(6, 6), {"inputs": torch.full((6, 6), torch.nan)}, "finite pixels; found 36"),
        (torch.zeros(6, 6), {"inputs": torch.zeros(6, 6), "mean": 0.5}, "mean and std: expected both"),
        (
            torch.zeros(3, 6, 6),
            {"inputs": torch.zeros(3, 6, 6), "mean": [0.5, 0.5], "std": 1.0},
            "mean: expected one number, or one for each of the 3 channels; found 2",
        ),
    ],
)
def test_bad_images_are_refused(attributions, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        viz.overlay(attributions, **arguments)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("last", [False, True])
def test_a_heat_map_shows_the_most_active_of_any_number_of_channels(channels, last):
    heat = torch.rand(2, channels, 16, 20, generator=torch.Generator().manual_seed(channels))
    _, ax = viz.heatmap(heat.movedim(1, 3) if last else heat, 1)
    assert np.allclose(_shown(ax), heat[1].amax(0))


def test_a_heat_map_of_an_explanation_with_two_channels(explain):
    x = torch.rand(1, 2, 5, 6)
    found = explain(x, torch.linspace(-4, 4, 60)[None])
    assert np.allclose(_shown(viz.heatmap(found).ax), found.attributions[0].amax(0))


def test_there_must_be_such_an_input(image):
    with pytest.raises(ArgumentError, match=r"which: .*from 0 to 0; found 1"):
        viz.heatmap(image, which=1)


def test_the_second_of_two_inputs(explain, photo):
    pair = (torch.zeros(1, 2), photo[:, :1])
    log_alpha = torch.cat([torch.full((1, 2), -4.0), torch.full((1, 192), 4.0)], 1)
    _, ax = viz.heatmap(explain(pair, log_alpha), which=1)
    assert _shown(ax).min() > 0.5
