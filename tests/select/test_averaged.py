"""Active probabilities averaged over how much is kept: by hand, as a naive loop, and their continuity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stg_attr import OutputMatch, Preserve, StochasticGates
from stg_attr.select import averaged

N_OPEN = torch.tensor([[0, 1, 2, 3]])


def naive(worth: list[float], n_open: list[int], retained: list[float], missing: list[float]) -> list[float]:
    """The same for one example whose worths are above 0, one share after the other."""
    order = sorted((math.log(w) for w in worth), reverse=True)

    def between(n: int) -> float:
        if n == 0:
            return order[0] + 1
        return order[-1] - 1 if n >= len(order) else (order[n - 1] + order[n]) / 2

    total = [0.0] * len(worth)
    for share in (1 - m for m in missing):
        best, size = retained[0], float(n_open[-1])
        for i in range(1, len(n_open)):
            if retained[i] >= share:
                way = (share - best) / (retained[i] - best)
                size = n_open[i - 1] + way * (n_open[i] - n_open[i - 1])
                break
            best = max(best, retained[i])
        whole = math.floor(size)
        level = between(whole) * (1 - size + whole) + between(whole + 1) * (size - whole)
        total = [sum_ + 1 / (1 + math.exp(level - math.log(w))) for sum_, w in zip(total, worth, strict=True)]
    return [sum_ / len(missing) for sum_ in total]


def test_one_level_between_two_features() -> None:
    # the first feature alone keeps 90 %, so the level is the geometric mean of 9 and 1
    found = averaged(torch.tensor([[9.0, 1.0]]), torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 0.9, 1.0]]),
                     torch.tensor([0.1]))  # fmt: skip
    assert found == pytest.approx(torch.tensor([[0.75, 0.25]]), abs=1e-6)  # 9 / (9 + 3) and 1 / (1 + 3)


@pytest.mark.parametrize("retained", [[0.0, 0.5, 0.8, 1.0], [0.0, 0.7, 0.6, 0.95], [0.1, 0.2, 0.99, 0.99]])
def test_as_the_naive_loop(retained: list[float]) -> None:
    worth, missing = [0.2, 3.0, 1.0], [0.5, 0.1, 0.02, 0.001]
    found = averaged(
        torch.tensor([worth], dtype=torch.float64), N_OPEN, torch.tensor([retained]), torch.tensor(missing)
    )
    assert found[0].tolist() == pytest.approx(naive(worth, [0, 1, 2, 3], retained, missing), abs=1e-5)


def test_a_feature_of_no_worth_is_never_active_and_moves_nothing() -> None:
    curve, missing = torch.tensor([[0.0, 0.6, 0.9, 1.0]]), torch.tensor([0.3, 0.01])
    found = averaged(torch.tensor([[2.0, 1.0, 0.5, 0.0]]), N_OPEN, curve, missing)
    assert found[0, 3] == 0
    assert torch.equal(found[:, :3], averaged(torch.tensor([[2.0, 1.0, 0.5]]), N_OPEN, curve, missing))


def test_nothing_matters() -> None:
    found = averaged(torch.zeros(1, 3), N_OPEN, torch.zeros(1, 4), torch.tensor([0.1]))
    assert found.tolist() == [[0, 0, 0]]


def test_what_was_not_measured_is_nan() -> None:
    worth = torch.tensor([[1.0, 2.0, 3.0], [1.0, torch.nan, 3.0], [1.0, 2.0, 3.0]])
    curve = torch.tensor([[0.0, 0.5, 0.9, 1.0]]).repeat(3, 1)
    curve[2, 1] = torch.nan
    found = averaged(worth, N_OPEN.expand(3, -1), curve, torch.tensor([0.1]))
    assert found.isnan().all(1).tolist() == [False, True, True]


def test_small_changes_make_small_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    worth = torch.rand(200, 8, generator=generator, dtype=torch.float64) + 0.05
    curve = torch.rand(200, 9, generator=generator, dtype=torch.float64).cumsum(1)
    curve, n_open = curve / curve[:, -1:], torch.arange(9).expand(200, -1)
    missing = torch.logspace(-0.3, -4, 25)
    change = 1e-5 * torch.randn(worth.shape, generator=generator, dtype=torch.float64)
    before, after = (averaged(w, n_open, curve, missing) for w in (worth, worth * (1 + change)))
    # a level moves no more than the logarithms of the worths do, and a sigmoid by a quarter of that
    assert ((before - after).abs().amax(1) <= 0.5 * (1 + change).log().abs().amax(1) + 1e-12).all()


def additive(x: Tensor) -> Tensor:
    return x @ torch.tensor([4.0, -2.0, 1.0, 0.0])


def test_of_an_additive_model() -> None:
    found = StochasticGates(additive, objective=Preserve(OutputMatch())).explain(torch.ones(2, 4))
    assert found.averaged is not None
    assert found.averaged.argsort(1, descending=True).tolist() == [[0, 1, 2, 3]] * 2
    assert (found.averaged[:, 3] == 0).all()
    assert ((found.averaged[:, :3] > 0.2) & (found.averaged[:, :3] <= 1)).all()


def test_what_lowers_the_score_is_not_active_where_the_score_is_asked_for() -> None:
    below = torch.tensor([[-1.0, -1.0, -1.0, 1.0]])  # 4, -2 and 1 with the other sign: the score is -3
    for x, raises in ((torch.ones(1, 4), [True, False, True, False]), (below, [True, False, True, False])):
        found = StochasticGates(additive).explain(x)
        assert found.averaged is not None
        assert (found.averaged[0] > 0).tolist() == raises


def test_another_reading_keeps_it_as_it_is() -> None:
    found = StochasticGates(additive).explain(torch.ones(1, 4))
    assert found.averaged is not None
    other = found.at(retain=0.5).averaged
    assert other is not None
    assert torch.equal(found.averaged, other)


def test_not_measured_with_few_evaluations() -> None:
    assert StochasticGates(additive).explain(torch.ones(1, 4), max_evals=40).averaged is None
