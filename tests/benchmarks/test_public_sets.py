"""The sets of `bench public`: precision and searches with known answers, and the pictures for Quantus."""

import math

import pytest
import torch
from torch import nn

from benchmarks.public import anchors_table, quantus_table, sets_table


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


def test_stability_of_sets_that_decide_alone_is_one():
    x, kept = torch.ones(3, 1, 8, 8), torch.zeros(3, 64, dtype=torch.bool)
    kept[:, 5] = True

    def needs(pixels, gaps=()):
        def net(rows):
            flat = rows.flatten(1)
            score = flat[:, list(pixels)].amin(1) - flat[:, list(gaps)].sum(1) if gaps else flat[:, 5]
            return torch.stack([score - 0.5, torch.zeros(len(rows))], 1)

        return net

    generator = torch.Generator().manual_seed(0)
    assert sets_table.stability(needs([5]), x, kept, generator) == 1
    # the class is lost where pixel 7 is shown, too: in about n / 63 of the sets with n more pixels
    weights = [math.comb(63, n) for n in range(sets_table.ADDED + 1)]
    expected = 1 - sum(w * n / 63 for n, w in enumerate(weights)) / sum(weights)
    found = sets_table.stability(needs([5], [7]), x, kept, generator)
    assert found == pytest.approx(expected, abs=0.03)


def test_imputed_pixels_are_means_of_their_neighbours():
    weights = sets_table.neighbours()
    torch.testing.assert_close(weights.sum(1), torch.ones(64, dtype=torch.float64))
    assert weights[0].count_nonzero() == 3
    inner = weights[9].reshape(8, 8)
    assert inner[0, 1] == pytest.approx(1 / 6)
    assert inner[0, 0] == pytest.approx(1 / 12)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    removed = torch.zeros(2, 64, dtype=torch.bool)
    removed[0, [9, 10, 30]] = True
    found = sets_table.imputed(x, removed, torch.Generator().manual_seed(0)).flatten(1).double()
    assert torch.equal(found[1].float(), x[1].flatten())
    for pixel in (9, 10, 30):
        assert float(found[0, pixel]) == pytest.approx(float(weights[pixel] @ found[0]), abs=0.05)


def test_falls_are_those_of_the_removed_pixels():
    x, kept = torch.ones(1, 1, 8, 8), torch.zeros(1, 64, dtype=torch.bool)
    kept[:, :10] = True

    def net(rows):
        share = rows.flatten(1)[:, :10].mean(1)
        return torch.stack([share, 1 - share], 1)

    found = sets_table.falls(net, x, torch.zeros(1).long(), kept, torch.Generator().manual_seed(0))
    assert found == pytest.approx((0.5, 0))
