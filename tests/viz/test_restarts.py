"""Frequencies: what the restarts counted, with honest whiskers."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from stg_attr import ArgumentError, viz
from stg_attr.viz.colours import KEPT


def test_bars_are_the_frequencies_and_whiskers_the_interval(restarted):
    _, ax = viz.frequency(restarted, 3, top=4)
    often = restarted.restarts.frequency[3]
    order = sorted(range(6), key=lambda i: (-often[i], -restarted.log_alpha[3, i]))[:4]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"feature {i}" for i in order]
    assert np.allclose([bar.get_width() for bar in ax.patches], often[order])
    low, high = restarted.restarts.interval()
    (whiskers,) = (c for c in ax.collections if len(c.get_segments()) == 4)
    ends = np.array([segment[:, 0] for segment in whiskers.get_segments()])
    assert np.allclose(ends, torch.stack([low[3], high[3]], 1)[order])


def test_reported_features_are_filled(restarted):
    _, ax = viz.frequency(restarted, 3)
    filled = {
        label.get_text()
        for label, bar in zip(ax.get_yticklabels(), ax.patches, strict=True)
        if bar.get_facecolor() == to_rgba(KEPT)
    }
    assert filled == {f"feature {i}" for i in restarted.selected[3].nonzero().flatten().tolist()}


def test_the_title_says_how_far_restarts_agree(restarted):
    picture = viz.frequency(restarted, 3)
    share = f"{float(restarted.restarts.agreement[3]):.0%}"
    assert f"16 restarts; two of them share {share}" in picture.alt


def test_a_single_solve_has_no_frequencies(table):
    with pytest.raises(ArgumentError, match="explanation: expected one with restarts"):
        viz.frequency(table)
