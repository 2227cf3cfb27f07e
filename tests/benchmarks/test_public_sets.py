"""The sets of `bench public`: precision and searches with known answers, and the pictures for Quantus."""

import pytest
import torch
from torch import nn

from benchmarks.public import anchors_table, quantus_table


class Both(nn.Module):
    """Class 1 where features 1 and 3 are both positive."""

    def forward(self, x):
        on = ((x[:, 1] > 0) & (x[:, 3] > 0)).float()
        return torch.stack([1 - on, on], 1)


def _case():
    rows = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    return anchors_table.Case(Both(), torch.ones(1, 5), rows[:200], rows[200:], torch.arange(5))


def test_precision_is_the_share_of_rows_that_keep_the_class():
    case, some = _case(), torch.tensor([False, True, False, False, False])
    expected = float((case.truth[:, 3] > 0).double().mean())
    assert case.precision(case.rows[0], some) == pytest.approx(expected)
    some[3] = True
    assert case.precision(case.rows[0], some) == 1


@pytest.mark.parametrize("method", ["greedy, references", "Anchors"])
def test_searches_find_the_two_features(method):
    if method == "Anchors":
        pytest.importorskip("anchor", reason="the package of Anchors is not installed")
    (found,) = anchors_table.METHODS[method](_case(), 0)
    assert found.some.tolist() == [False, True, False, True, False]
    assert found.claimed
    assert found.evaluations > 100


def test_the_net_on_categories_follows_the_two_rules():
    case = anchors_table.categories(0, 50)
    assert case.rows.shape == (50, sum(anchors_table.LEVELS))
    columns = [case.rows[:, case.mask == k].argmax(1) for k in range(len(anchors_table.LEVELS))]
    rule = ((columns[0] == 1) & (columns[3] >= 3)) | ((columns[1] == 2) & (columns[5] != 0))
    assert ((case.net(case.rows).argmax(1) == 1) == rule).float().mean() > 0.9


def test_mosaics_hold_one_digit_of_their_class():
    x, classes, where = quantus_table.mosaics(20, 0)
    assert x.shape == where.shape == (20, 1, 16, 16)
    assert (x[where > 0] > 0).all()
    halves = where.reshape(20, 2, 8, 2, 8).amax((2, 4)).flatten(1)
    assert (halves.sum(1) == 1).all()
    assert classes.unique().numel() > 4


def test_a_mosaic_scores_as_the_mean_of_its_quarters():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1)).requires_grad_(False)
    x, _, _ = quantus_table.mosaics(3, 0)
    quarters = [x[:, :, i : i + 8, j : j + 8] for i in (0, 8) for j in (0, 8)]
    expected = torch.stack([net(quarter) for quarter in quarters]).mean(0)
    torch.testing.assert_close(quantus_table.Mosaic(net)(x), expected)
