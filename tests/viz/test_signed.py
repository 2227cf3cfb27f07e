"""Signed pictures: bars, steps and dots stand where the contributions are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from stg_attr import viz
from stg_attr.attribution import Status
from stg_attr.errors import ArgumentError
from stg_attr.viz.colours import LOWERS, RAISES


def _labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def _dots(ax):
    return [c.get_offsets().data for c in ax.collections if len(c.get_offsets()) > 1]


def test_bars_are_signed_contributions_sorted_by_size(signed):
    _, ax = viz.bars(signed, 3)
    given = signed.contributions[3].numpy()
    order = np.abs(given).argsort()[::-1]
    assert np.allclose([bar.get_width() for bar in ax.patches], given[order])
    assert _labels(ax) == [f"{'uvwxyz'[i]} = {signed.inputs[0][3, i]:.4g}" for i in order]
    assert [bar.get_edgecolor() for bar in ax.patches] == [
        to_rgba(RAISES if v >= 0 else LOWERS) for v in given[order]
    ]


def test_needed_features_are_solid_and_bold(signed):
    _, ax = viz.bars(signed, 3)
    order = signed.contributions[3].abs().argsort(descending=True)
    needed = signed.selected[3, order].tolist()
    assert [bar.get_facecolor()[3] == 1 for bar in ax.patches] == needed
    assert [label.get_fontweight() == "bold" for label in ax.get_yticklabels()] == needed
    assert "(solid: needed)" in ax.get_xlabel()


def test_what_is_not_drawn_is_summed_and_needed_features_are_drawn(signed):
    needed = torch.zeros(6, dtype=torch.bool)
    needed[int(signed.contributions[3].abs().argmin())] = True
    one = replace(signed, selected=needed.expand(12, -1))
    _, ax = viz.bars(one, 3, top=2)
    assert _labels(ax)[-1] == "4 other features"
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(0.8, abs=1e-5)
    smallest = "uvwxyz"[int(needed.nonzero())]
    assert any(label.startswith(smallest) for label in _labels(ax))


def test_scores_of_row_and_baseline_and_the_status_are_on_the_picture(signed):
    fig, ax = viz.bars(signed, 3)
    assert "baseline 0.1, this row 0.9" in ax.get_xlabel()
    assert "Converged" in fig.get_supxlabel()
    assert "Converged" in viz.bars(signed, 3).alt


@pytest.mark.parametrize("draw", [viz.bars, viz.waterfall])
def test_a_doubtful_explanation_looks_doubtful(draw, doubtful, signed):
    picture = draw(doubtful, 3)
    assert picture.fig.get_suptitle().startswith("Not converged: ")
    assert "Not converged" in picture.alt
    assert all(bar.get_hatch() for bar in picture.ax.patches)
    assert not any(bar.get_hatch() for bar in draw(signed, 3).ax.patches)


def test_a_score_below_the_baseline_is_not_doubtful(signed):
    below = replace(signed, status=(Status.BASELINE_HIGHER,) * 12)
    picture = viz.bars(below, 3)
    assert not any(bar.get_hatch() for bar in picture.ax.patches)
    assert "what is explained is what lowers it" in picture.fig.get_supxlabel()


def test_a_waterfall_leads_from_the_baseline_to_the_row(signed):
    _, ax = viz.waterfall(signed, 3)
    starts = [bar.get_x() for bar in ax.patches]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends[0] == pytest.approx(0.9, abs=1e-5)
    assert starts[-1] == pytest.approx(0.1, abs=1e-5)
    assert np.allclose(starts[:-1], ends[1:])
    texts = [text.get_text() for text in ax.texts]
    assert "this row 0.9" in texts
    assert "baseline 0.1" in texts


def test_a_waterfall_names_the_rows_that_it_starts_from(signed):
    """Scores are stated for other reference rows than those that contributions were measured with."""
    scores = replace(signed.scores, baseline=signed.scores.baseline - 0.3)
    texts = [text.get_text() for text in viz.waterfall(replace(signed, scores=scores), 3).ax.texts]
    assert "contributions start at 0.1" in texts


def test_a_waterfall_needs_contributions(table):
    with pytest.raises(ArgumentError, match="source: expected an explanation with contributions"):
        viz.waterfall(table)


def test_a_row_whose_contributions_are_not_known_shows_probabilities(signed):
    partly = signed.contributions.clone()
    partly[3] = torch.nan
    unknown = replace(signed, contributions=partly)
    assert viz.bars(unknown, 3).ax.get_xlabel() == "active probability"
    assert viz.beeswarm(unknown).ax.get_xlabel().startswith("active probability")


def test_a_swarm_has_a_dot_for_each_row_at_its_contribution(signed):
    _, ax = viz.beeswarm(signed, top=2)
    order = signed.contributions.abs().mean(0).argsort(descending=True)[:2].tolist()
    assert _labels(ax) == ["uvwxyz"[i] for i in order]
    for lane, column in enumerate(order):
        dots = _dots(ax)[lane]
        assert np.allclose(np.sort(dots[:, 0]), signed.contributions[:, column].sort().values)
        assert np.abs(dots[:, 1] - lane).max() < 0.5


def test_importance_is_the_mean_size_and_says_how_often_a_feature_is_needed(signed, doubtful):
    _, ax = viz.importance(signed)
    mean = signed.contributions.abs().mean(0)
    order = mean.argsort(descending=True)
    assert np.allclose([bar.get_width() for bar in ax.patches], mean[order])
    share = signed.selected.float().mean(0)[order[0]]
    assert f"needed in {round(100 * float(share))}%" in ax.texts[0].get_text()
    assert "doubtful" not in ax.get_xlabel()
    assert viz.importance(doubtful).ax.get_xlabel().endswith("12 rows, 12 of them doubtful")


def test_scatter_is_contribution_against_value(signed):
    _, ax = viz.scatter(signed, "v", colour="w")
    (dots,) = _dots(ax)
    assert np.allclose(dots[:, 0], signed.inputs[0][:, 1])
    assert np.allclose(dots[:, 1], signed.contributions[:, 1])
    colours = next(c for c in ax.collections if len(c.get_offsets()) > 1).get_array()
    assert np.allclose(colours, signed.inputs[0][:, 2])
    assert ax.get_xlabel().startswith("v, 12 rows")


def test_dots_of_a_few_codes_are_spread_around_each(signed):
    codes = signed.inputs[0].clone()
    codes[:, 1] = torch.arange(12) % 3
    (dots,) = _dots(viz.scatter(replace(signed, inputs=(codes,)), 1).ax)
    away = np.abs(dots[:, 0] - codes[:, 1].numpy())
    assert 0 < away.max() < 0.5
    assert len(np.unique(dots[:, 0])) == 12


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("q", "feature: expected one of u, v, w, x, y, z; found 'q'"),
        (6, "feature: expected a number from 0 to 5"),
    ],
)
def test_a_feature_must_exist(feature, message, signed):
    with pytest.raises(ArgumentError, match=message):
        viz.scatter(signed, feature)


def test_a_group_has_no_value_to_draw(signed, explain):
    grouped = explain(torch.zeros(2, 3), torch.zeros(2, 2), torch.tensor([[0, 0, 1]]))
    with pytest.raises(ArgumentError, match="feature: expected a feature of one element"):
        viz.scatter(replace(grouped, contributions=torch.ones(2, 2)), 0)


@pytest.mark.parametrize("draw", [viz.bars, viz.waterfall, viz.importance, viz.beeswarm])
def test_long_names_cut_nothing_off(draw, signed):
    named = replace(signed, feature_names=tuple(f"{letter * 30}_of_month" for letter in "uvwxyz"))
    fig, _ = draw(named)
    fig.draw_without_rendering()
    left, bottom, right, top = fig.get_tightbbox().extents
    width, height = fig.get_size_inches()
    assert left >= -0.02
    assert bottom >= -0.02
    assert right <= width + 0.02
    assert top <= height + 0.02


@pytest.mark.parametrize(("scale", "largest"), [(1.0, "+0.768"), (100.0, "+76.8"), (1e-9, "+7.68e-10")])
def test_numbers_have_the_digits_of_their_size(scale, largest, signed):
    small = replace(signed, contributions=signed.contributions * scale)
    _, ax = viz.bars(small, 3)
    assert ax.texts[0].get_text() == largest


@pytest.mark.parametrize("draw", [viz.matrix, viz.importance, viz.beeswarm, viz.bars, viz.waterfall])
def test_names_of_the_explanation_are_used_and_names_of_a_call_go_first(draw, signed):
    letters = {label[0] for label in _labels(draw(signed).ax)}
    assert letters == set("uvwxyz")
    assert {label[0] for label in _labels(draw(signed, names=list("abcdef")).ax)} == set("abcdef")


def test_a_comparison_of_rows_has_the_names_of_its_explanation(signed):
    _, axes = viz.comparison({"gates": signed, "other": signed.contributions})
    assert set(_labels(axes[0])) == set("uvwxyz")
