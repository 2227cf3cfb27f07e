"""Budget curves against the slow way: one example, one count and one forward at a time."""

import pytest
import torch
from torch import nn

from stg_attr import ArgumentError
from stg_attr.metrics import ERASER_BUDGETS, budget_curves
from tests.models import mlp


def net(n=6, classes=3, seed=0):
    return nn.Sequential(nn.Flatten(), mlp(n, 8, classes, seed=seed)).double()


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    return net(), x, torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)


def slow_curves(model, x, attributions, baseline, counts):
    """Kept and removed scores of the predicted class, [batch, counts]."""
    kept, removed = [], []
    for row, attribution in zip(x, attributions, strict=True):
        target = model(row[None]).argmax()
        order = attribution.flatten().argsort(descending=True)
        for count in counts:
            mask = torch.zeros(order.numel(), dtype=torch.bool)
            mask[order[:count]] = True
            mask = mask.reshape(row.shape)
            kept.append(model(torch.where(mask, row, baseline)[None])[0, target])
            removed.append(model(torch.where(mask, baseline, row)[None])[0, target])
    shape = (len(x), len(counts))
    return torch.stack(kept).reshape(shape), torch.stack(removed).reshape(shape)


def test_every_point_is_a_plain_forward(problem):
    model, x, attributions = problem
    curves = budget_curves(model, x, attributions, baselines=0.3)
    kept, removed = slow_curves(model, x, attributions, torch.tensor(0.3, dtype=torch.float64), range(7))
    assert curves.n_features.tolist() == [list(range(7))] * 4
    torch.testing.assert_close(curves.kept, kept.detach())
    torch.testing.assert_close(curves.removed, removed.detach())
    torch.testing.assert_close(curves.insertion, curves.kept.mean(1))
    torch.testing.assert_close(curves.deletion, curves.removed.mean(1))


def test_areas_are_those_of_rise(problem):
    """Its formula for n + 1 evenly spaced points: (sum - first / 2 - last / 2) / n."""
    model, x, attributions = problem
    curves = budget_curves(model, x, attributions)
    for area, scores in ((curves.insertion_area, curves.kept), (curves.deletion_area, curves.removed)):
        torch.testing.assert_close(area, (scores.sum(1) - scores[:, 0] / 2 - scores[:, -1] / 2) / 6)


def test_sufficiency_and_comprehensiveness_at_the_shares_of_eraser(problem):
    model, x, attributions = problem
    curves = budget_curves(model, x, attributions, budgets=ERASER_BUDGETS)
    counts = [1, 1, 1, 2, 3]  # of six features, rounded up
    kept, removed = slow_curves(model, x, attributions, torch.tensor(0.0, dtype=torch.float64), counts)
    full = model(x).amax(1, keepdim=True)
    assert curves.n_features.tolist() == [counts] * 4
    torch.testing.assert_close(curves.sufficiency, (full - kept).detach())
    torch.testing.assert_close(curves.comprehensiveness, (full - removed).detach())


def test_shares_that_binary_numbers_miss_are_not_rounded_up():
    x = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    curves = budget_curves(lambda x: x.sum(1), x, x, budgets=[0.1, 0.3, 0.7, 1.0])
    assert curves.n_features.tolist() == [[1, 3, 7, 10]]


def test_smallest_sets_are_the_first_that_reach_the_share():
    x = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    curves = budget_curves(lambda x: x.sum(1), x, x)
    assert curves.smallest_sufficient(0.69).tolist() == [2]
    assert curves.smallest_sufficient(0.71).tolist() == [3]
    assert curves.smallest_necessary(0.31).tolist() == [2]
    assert curves.smallest_necessary(0.29).tolist() == [3]


def test_a_share_that_is_never_reached_takes_all_features():
    x = torch.tensor([[1.0, 1.0]])
    assert budget_curves(lambda x: x.sum(1), x, x).smallest_sufficient(2.0).tolist() == [2]


def test_groups_several_inputs_targets_and_arguments():
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    masks = (torch.tensor([[0, 0]]), torch.tensor([[1]]))

    def model(a, b, factor):
        score = factor * (a.sum(1) + b.sum(1))
        return torch.stack([score, -score], 1)

    curves = budget_curves(
        model,
        (first, second),
        (first, second / 10),
        target=1,
        additional_forward_args=2.0,
        feature_mask=masks,
    )
    assert curves.kept.tolist() == [[0.0, -6.0, -12.0]]
    assert curves.removed.tolist() == [[-12.0, -6.0, 0.0]]


def test_references_are_averaged():
    x, references = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0], [2.0, 4.0], [4.0, 2.0]])
    curves = budget_curves(lambda x: x.sum(1), x, torch.tensor([[1.0, 0.0]]), baselines=references)
    torch.testing.assert_close(curves.kept, torch.tensor([[4.0, 3.0, 3.0]]))


def test_nothing_of_the_callers_is_touched(problem, untouched):
    _, x, attributions = problem
    noisy = nn.Sequential(net(), nn.Dropout(0.5)).double()
    with pytest.warns(UserWarning, match="training mode"), untouched(noisy, x, attributions):
        budget_curves(noisy, x, attributions)
    with pytest.warns(UserWarning, match="training mode"):
        first, second = (budget_curves(noisy, x, attributions).kept for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributions": torch.zeros(4, 6)}, "attributions: expected the shapes"),
        ({"attributions": [1.0]}, "attributions: expected the shapes"),
        ({"attributions": torch.full((4, 2, 3), torch.nan)}, "attributions: expected real numbers"),
        ({"n_points": 1}, "n_points: expected a whole number of at least 2"),
        ({"budgets": []}, "budgets: expected shares"),
        ({"budgets": [0.5, 0.1]}, "budgets: expected shares"),
        ({"budgets": [10]}, "budgets: expected shares"),
        ({"budgets": [torch.nan]}, "budgets: expected shares"),
        ({"target": 3}, "target: expected indices"),
    ],
)
def test_arguments_that_cannot_be_used(problem, changes, message):
    model, x, attributions = problem
    arguments = {"attributions": attributions, **changes}
    with pytest.raises(ArgumentError, match=message):
        budget_curves(model, x, **arguments)
