"""The series of `bench public`: data by their definitions, and readings with known values."""

import pytest
import torch
from captum.attr import IntegratedGradients

from benchmarks.public import series, series_methods, series_table


@pytest.mark.parametrize("kind", series.KINDS.values(), ids=lambda kind: kind.name)
def test_the_cell_that_decides_tells_the_label(kind):
    found = series.sample(kind, 300, 0)
    assert found.x.shape == (300, kind.times, 3)
    assert (found.truth.sum(2) == 1).all()
    value = found.x[found.truth].reshape(300, kind.times)
    right = ((value > 0) == (found.labels > 0)).float().mean()
    probable = torch.sigmoid(kind.steepness * value)
    assert right == pytest.approx(float(torch.maximum(probable, 1 - probable).mean()), abs=0.01)
    channel = found.truth.int().argmax(2)
    state = channel - kind.deciding[0]  # channels 1 and 2, or 0 to 2, in the order of the states
    for index, means in enumerate(kind.means):
        torch.testing.assert_close(found.x[state == index].mean(0), torch.tensor(means), atol=0.05, rtol=0)
    stayed = (state[:, 1:] == state[:, :-1]).float().mean()
    assert 0.9 < stayed < 0.96


def test_channels_share_what_the_source_says():
    found = series.sample(series.HMM, 3000, 0)
    chosen = found.truth[:, :, 1]
    centred = found.x[chosen] - torch.tensor(series.HMM.means[0])
    covariance = centred.T @ centred / len(centred)
    torch.testing.assert_close(covariance[0, 1], torch.tensor(0.01), atol=6e-3, rtol=0)
    torch.testing.assert_close(covariance.diag(), torch.full((3,), 0.801), atol=0.01, rtol=0)


def _net():
    torch.manual_seed(0)
    return series.Classifier(series.Kind("small", 6, ((0.0,) * 3,), (0,), 1.0, 1.0, hidden=5)).eval()


def test_slopes_at_a_time_are_those_of_the_series_until_then():
    net, x = _net().requires_grad_(False), torch.randn(2, 6, 3)
    target = torch.randint(2, (2, 6))
    found = series_methods.own_slopes(net, x, target)
    for t in range(6):
        until = x[:, : t + 1].clone().requires_grad_()
        scores = net(until)[:, -1].gather(1, target[:, t : t + 1])
        (expected,) = torch.autograd.grad(scores.sum(), until)
        torch.testing.assert_close(found[:, t], expected[:, -1])


def test_integrated_gradients_of_each_time_are_captums():
    net, x = _net().requires_grad_(False), torch.randn(2, 6, 3)
    task = series_methods.Task(lambda x, *_: net(x), lambda x: net(x)[:, :, 0].sum(1), x, x > 0, (), net=net)
    (found,) = series_methods.integrated_gradients(task, 0).values()
    target = net(x).argmax(2)
    for t in range(6):
        method = IntegratedGradients(lambda until: net(until)[:, -1])
        expected = method.attribute(x[:, : t + 1], target=target[:, t], method="riemann_middle")
        torch.testing.assert_close(found[:, t], expected[:, -1].abs())


def test_areas_have_known_values():
    truth = torch.tensor([[[True, False], [False, True]]])
    perfect = series.areas(truth.float(), truth)
    assert perfect["AUPRC"] == 1
    ladder = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    found = series.areas(ladder, truth)  # precision .5, 2/3, 1, 1; recall 1, 1, 1, .5 at 0, .25, .75, 1
    assert found["AUP"] == pytest.approx(0.25 * (0.5 + 2 / 3) / 2 + 0.5 * (2 / 3 + 1) / 2 + 0.25, abs=1e-4)
    assert found["AUR"] == pytest.approx(0.75 + 0.25 * 0.75, abs=1e-4)


def test_the_learned_mask_and_the_gates_find_the_block_of_a_white_box():
    given = series_table.white_box("rare_times", 0, 2)
    (mask,) = series_methods.extremal_mask(given, 0, epochs=200, learned=False).values()
    assert series.areas(mask, given.truth)["AUPRC"] > 0.9
    for found in series_methods.with_zero(given, 0).values():
        assert series.areas(found, given.truth)["AUPRC"] > 0.95
    assert given.rows > 200 * 2
