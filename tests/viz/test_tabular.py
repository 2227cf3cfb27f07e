"""Bars: the best features, in order, under their names and values."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba

from stg_attr import viz
from stg_attr.errors import ArgumentError
from stg_attr.viz.colours import KEPT
from stg_attr.viz.features import shortened


def _labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_bars_are_the_most_active_features(table):
    _, ax = viz.bars(table, 3, top=4)
    order = table.log_alpha[3].argsort(descending=True)[:4]
    assert _labels(ax) == [f"feature {i} = {table.inputs[0][3, i]:.4g}" for i in order.tolist()]
    assert np.allclose([bar.get_width() for bar in ax.patches], table.active_probabilities[3, order])
    assert ax.get_xlim()[0] == 0
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # best at the top


def test_only_selected_bars_are_filled(table):
    _, ax = viz.bars(table, 3)
    filled = [bar.get_facecolor() == to_rgba(KEPT) for bar in ax.patches]
    assert sum(filled) == int(table.n_selected[3])
    assert filled == sorted(filled, reverse=True)


def test_log_alpha_decides_where_probabilities_are_all_one(explain):
    explanation = explain(torch.zeros(1, 3), torch.tensor([[50.0, 90.0, 70.0]]))
    assert _labels(viz.bars(explanation).ax) == ["feature 1 = 0", "feature 2 = 0", "feature 0 = 0"]


def test_a_data_frame_gives_names_and_a_row_gives_values(table):
    frame = pd.DataFrame(table.inputs[0].numpy() * 100, columns=list("uvwxyz"))
    _, ax = viz.bars(table, 3, names=frame, values=frame.iloc[3], top=1)
    best = int(table.log_alpha[3].argmax())
    assert _labels(ax) == [f"{'uvwxyz'[best]} = {frame.iloc[3, best]:.4g}"]


def test_values_may_be_words():
    _, ax = viz.bars(torch.tensor([0.9, 0.1]), names=["colour", "size"], values=["green", "XL"])
    assert _labels(ax) == ["colour = green", "size = XL"]


LONG = "share_of_the_transactions_of_the_customer_"


@pytest.mark.parametrize(
    "names",
    [
        [f"{LONG}in_month_{i:02d}" for i in range(8)],
        [f"{LONG}in_month_{i:02d}_compared_with_the_year_before" for i in range(8)],
        [f"{LONG}{i:02d}_{'x' * 30}_{j}_compared_with_the_year_before" for i in range(2) for j in range(4)],
        [f"{LONG * 3}", f"{LONG * 3}{LONG}"],
    ],
    ids=["the end differs", "the middle differs", "two places differ", "the length differs"],
)
def test_names_that_differ_have_labels_that_differ(names):
    _, ax = viz.bars(torch.linspace(0.9, 0.1, len(names)), names=names)
    labels = _labels(ax)
    assert len(set(labels)) == len(names)
    for label, name in zip(labels, names, strict=True):
        assert re.fullmatch(".*".join(re.escape(part) for part in label.split("…")), name)
        assert len(label) <= 40 or label == name


@given(st.lists(st.text("ab", min_size=30, max_size=60), unique=True, max_size=12))
def test_labels_are_short_and_as_different_as_the_names(names):
    labels = shortened(names)
    assert len(set(labels)) == len(names)
    assert all(len(label) <= 40 or label == name for label, name in zip(labels, names, strict=True))


def test_groups_list_their_members(explain):
    mask = torch.tensor([[0, 1, 1, 1, 1, 2]])
    explanation = explain(torch.arange(6.0)[None], torch.tensor([[-3.0, 3.0, 0.5]]), mask)
    assert _labels(viz.bars(explanation, names=list("abcdef")).ax) == ["b, c, d + 1 more", "f = 5", "a = 0"]
    assert _labels(viz.bars(explanation, names=["x", "y", "z"]).ax) == ["y", "z = 5", "x = 0"]


def test_features_of_several_inputs_stand_together(explain):
    explanation = explain((torch.zeros(1, 2), torch.ones(1, 1)), torch.tensor([[1.0, 2.0, 3.0]]))
    assert _labels(viz.bars(explanation).ax) == ["feature 2 = 1", "feature 1 = 0", "feature 0 = 0"]


def test_a_mask_with_gaps_keeps_its_ids(explain):
    explanation = explain(torch.zeros(1, 3), torch.tensor([[1.0, 2.0]]), torch.tensor([[40, -1, 7]]))
    assert _labels(viz.bars(explanation).ax) == ["feature 40 = 0", "feature 7 = 0"]


def test_examples_with_fewer_features_have_fewer_bars(explain):
    mask = torch.tensor([[0, 1, 2], [0, 0, 0]])
    explanation = explain(
        torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [1.0, -torch.inf, -torch.inf]]), mask
    )
    assert len(_labels(viz.bars(explanation, 1).ax)) == 1


def test_long_and_strange_names_are_drawn():
    fig, ax = viz.bars(torch.tensor([0.9, 0.1, 0.2]), names=["x" * 200, "$5 to $6", r"$\frac"])
    fig.draw_without_rendering()
    assert max(len(label) for label in _labels(ax)) < 50
    assert fig.get_tightbbox().width <= fig.get_size_inches()[0] + 0.1


def test_a_group_has_two_ways_to_be_named(explain):
    explanation = explain(torch.zeros(1, 3), torch.zeros(1, 2), torch.tensor([[0, 0, 1]]))
    with pytest.raises(ArgumentError, match=r"names: expected 2, .* or 3, .*found 4"):
        viz.bars(explanation, names=list("abcd"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a"]}, "names: expected 6, one per feature; found 1"),
        ({"values": [1.0, 2.0]}, "values: expected 6, one per feature; found 2"),
        ({"top": 0}, "top: expected a whole number of at least 1; found 0"),
    ],
)
def test_counts_must_match(arguments, message, table):
    with pytest.raises(ArgumentError, match=message):
        viz.bars(table, **arguments)


def test_tables_have_at_most_two_dimensions():
    with pytest.raises(ArgumentError, match=r"attributions: expected \[batch, features\] or \[features\]"):
        viz.bars(torch.zeros(2, 3, 4))


def test_inputs_have_the_shape_of_the_attributions():
    with pytest.raises(ArgumentError, match=r"inputs: .*shape.*\(1, 3\)"):
        viz.bars(torch.zeros(3), inputs=torch.zeros(2))
