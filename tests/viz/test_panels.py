"""Pictures side by side: the scores in their titles are the measured ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stg_attr import viz
from stg_attr.attribution import Status
from stg_attr.errors import ArgumentError


def test_panel_titles_hold_the_measured_scores(image):
    fig, axes = viz.panel(image)
    titles = [ax.get_title() for ax in axes]
    assert titles[0] == "original\nscore 0.9"
    assert titles[1] == "baseline\nscore 0.1"
    assert titles[2] == f"kept: 3 of 12 features\nscore {image.scores.kept[0]:.3g}"
    assert titles[3] == f"removed\nscore {image.scores.removed[0]:.3g}"
    assert fig.get_suptitle().startswith("3 of 12 features bring the score from 0.1 (baseline)")


def test_panel_takes_a_title_and_plain_tensors(photo):
    fig, axes = viz.panel(photo, inputs=photo, title="mine")
    assert fig.get_suptitle() == "mine"
    assert [ax.get_title() for ax in axes] == [
        "original",
        "baseline",
        "kept",
        "removed",
        "active probability",
    ]


def test_panel_shows_the_baseline_given(photo):
    _, axes = viz.panel(torch.zeros_like(photo), inputs=photo, baselines=0.5)
    assert np.allclose(axes[1].get_images()[0].get_array(), 0.5)
    assert np.allclose(axes[2].get_images()[0].get_array(), 0.5)


DOUBT = {
    "panel": viz.panel, "heatmap": viz.heatmap, "overlay": viz.overlay, "contour": viz.contour,
    "kept": viz.kept, "removed": viz.removed, "superpixels": viz.superpixels, "strip": viz.strip,
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBT)
def test_what_a_doubtful_explanation_shows_is_hatched_and_described(name, image):
    sure, unsure = (
        DOUBT[name](replace(image, status=(status,))) for status in (Status.CONVERGED, Status.NOT_CONVERGED)
    )
    assert not any(patch.get_hatch() for ax in sure.fig.axes for patch in ax.patches)
    assert any(patch.get_hatch() for ax in unsure.fig.axes for patch in ax.patches)
    assert "Not converged: " in unsure.alt
    assert "Not converged" not in sure.alt


def test_grid_has_a_row_for_each_example(images):
    fig, axes = viz.grid(images, names=["first", "se$co$nd"])
    assert axes.shape == (2, 5)
    assert [row[0].texts[-1].get_text() for row in axes] == ["first", "se$co$nd"]
    fig.draw_without_rendering()


def test_grid_gives_long_names_no_more_than_the_height_of_their_row(images):
    fig, axes = viz.grid(images, names=["long names of classes, " * 5, "x" * 99])
    fig.canvas.draw()
    short, shorter = (ax.texts[-1].get_window_extent() for ax in axes[:, 0])
    assert short.y0 >= shorter.y1
    assert axes[0, 0].bbox.width > 50
    assert axes[0, 0].texts[-1].get_text().endswith("\u2026")


def test_grid_draws_the_examples_chosen(images):
    _, axes = viz.grid(images, [1])
    assert np.allclose(axes[0, 4].get_images()[0].get_array(), images.attributions[1].max(0).values)


def test_grid_names_must_match(images):
    with pytest.raises(ArgumentError, match=r"names: .*2 examples; found 1"):
        viz.grid(images, names=["first"])


def test_grid_needs_an_example(images):
    with pytest.raises(ArgumentError, match="examples: expected at least one; found none"):
        viz.grid(images, [])


def test_strip_reads_the_explanation_at_each_budget(image):
    budgets = [0.1, 0.5]
    _, axes = viz.strip(image, budgets=budgets)
    for ax, budget in zip(axes, budgets, strict=True):
        reading = image.at(budget=budget)
        assert f"{int(reading.n_selected)} open\nscore {float(reading.scores.kept):.3g}" in ax.get_title()


def test_strip_shows_no_shares_of_a_small_difference(image):
    shares = [ax.get_title() for ax in viz.strip(image, budgets=[0.1, 0.5]).ax]
    small = replace(image, status=(Status.SMALL_DIFFERENCE,) * len(image))
    scores = [ax.get_title() for ax in viz.strip(small, budgets=[0.1, 0.5]).ax]
    assert all("%" in title for title in shares)
    assert [title.rpartition(" (")[0] for title in shares] == scores


@pytest.mark.parametrize(
    ("budgets", "message"),
    [([], "budgets: expected at least one"), ([2.0], r"budget: expected a number in \[0, 1\]")],
)
def test_strip_budgets_are_shares(budgets, message, image):
    with pytest.raises(ArgumentError, match=message):
        viz.strip(image, budgets=budgets)


def test_strip_needs_measured_scores(photo):
    with pytest.raises(ArgumentError, match=r"an Explanation.*found Tensor"):
        viz.strip(photo)
