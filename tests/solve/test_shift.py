"""Shifts of all parameters of an example to a budget: it is met, and each sample has its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.gates import Bernoulli, BinaryConcrete, Gaussian
from stg_attr.solve import shift as shifts
from stg_attr.solve.shift import BudgetShift
from tests.examples import examples

from .reference import shift_to_budget as naive_shift

GATES = [BinaryConcrete(), BinaryConcrete(0.99), Gaussian(), Bernoulli()]
SEEDS = st.integers(0, 10**6)
FEW = examples(25)


def _parameters(seed, batch=3, gates=6, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(batch, gates, generator=generator, dtype=torch.float64)


def shift_to_budget(gates, parameter, exists, budget):
    return BudgetShift.of(gates, exists, parameter.dtype)(parameter, budget.unsqueeze(1))


@pytest.mark.parametrize("gates", GATES, ids=repr)
@given(SEEDS, st.floats(0.02, 0.98), st.floats(0.01, 3))
@FEW
def test_a_shift_meets_the_budget_and_is_near_the_one_of_the_naive_bisection(gates, seed, budget, spread):
    """The mean to 0.001; the shift to the width of the part in which it is interpolated."""
    parameters = _parameters(seed, batch=2, spread=spread)
    exists = torch.ones(1, 6, dtype=torch.bool)
    shift = shift_to_budget(gates, parameters, exists, torch.tensor([budget], dtype=torch.float64))
    assert shift.shape == (1, 2, 1)
    mean = gates.active_probability(parameters + shift[0]).mean(1)
    torch.testing.assert_close(mean, torch.full_like(mean, budget), rtol=0, atol=0.001)
    for row in range(2):
        naive = naive_shift(
            lambda a: float(gates.active_probability(torch.tensor(a, dtype=torch.float64))),
            parameters[row].tolist(),
            budget,
        )
        width = float(parameters[row].max() - parameters[row].min()) / 100
        assert float(shift[0, row]) == pytest.approx(naive, abs=width + 1e-9)


@pytest.mark.parametrize("gates", GATES, ids=repr)
def test_equal_parameters_are_shifted_to_the_budget_itself(gates):
    budget = torch.tensor([0.25, 0.5], dtype=torch.float64)
    parameters = torch.full((3, 6), 2.0, dtype=torch.float64)
    shift = shift_to_budget(gates, parameters, torch.ones(1, 6, dtype=torch.bool), budget)
    reached = gates.active_probability(parameters + shift)
    torch.testing.assert_close(reached, budget.reshape(2, 1, 1).expand(2, 3, 6))


def test_every_sample_has_its_own_budget():
    parameters, budgets = _parameters(0), torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)
    exists = torch.ones(1, 6, dtype=torch.bool)
    together = shift_to_budget(BinaryConcrete(), parameters, exists, budgets)
    alone = [shift_to_budget(BinaryConcrete(), parameters, exists, budget[None]) for budget in budgets]
    torch.testing.assert_close(together, torch.cat(alone))


def test_how_many_shifts_are_tried_at_once_changes_nothing(monkeypatch):
    parameters, budget = _parameters(0), torch.tensor([0.2], dtype=torch.float64)
    exists = torch.ones(1, 6, dtype=torch.bool)
    whole = shift_to_budget(BinaryConcrete(), parameters, exists, budget)
    monkeypatch.setattr(shifts, "_MOST_ELEMENTS", 100)
    torch.testing.assert_close(shift_to_budget(BinaryConcrete(), parameters, exists, budget), whole)


def test_columns_without_a_gate_do_not_count_for_a_budget():
    parameters, budget = _parameters(1), torch.tensor([0.3])
    alone = shift_to_budget(BinaryConcrete(), parameters, torch.ones(1, 6, dtype=torch.bool), budget)
    padded = torch.nn.functional.pad(parameters, (0, 4), value=99.0)
    exists = torch.arange(10).expand(3, 10) < 6
    torch.testing.assert_close(shift_to_budget(BinaryConcrete(), padded, exists, budget), alone)
