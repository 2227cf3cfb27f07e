"""The units of `bench public`: nets that do what their definitions say, and measures with known values."""

import pytest
import torch

from benchmarks.public import methods, units, xai_units

WITH_SUM = sorted(set(units.UNITS) - {"uncertain", "shattered gradients"})


def _unit(name, n_rows=6):
    return units.UNITS[name](n_rows, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", WITH_SUM)
def test_the_truth_adds_up_to_the_difference_from_the_baseline(name):
    unit = _unit(name)
    gained = (unit.net(unit.rows) - unit.net(unit.baselines)).squeeze(1)
    assert gained.abs().max() > 0.1
    torch.testing.assert_close(gained, unit.truth.sum(1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "lone"), [("boolean and", 1.0), ("boolean or", -1.0)])
def test_boolean_nets_are_their_truth_tables(name, lone):
    unit = _unit(name, n_rows=2**units.N)
    expected = torch.where((unit.rows == lone).all(1), lone, -lone)
    assert torch.equal(unit.net(unit.rows).squeeze(1), expected)


def test_common_features_of_the_uncertain_unit_change_no_probability():
    unit = _unit("uncertain")
    moved = unit.rows.clone()
    moved[:, unit.judged] += 3
    torch.testing.assert_close(unit.net(moved), unit.net(unit.rows))


def test_slopes_of_the_shattered_unit_jump():
    unit = _unit("shattered gradients", 40)
    active = unit.net(unit.rows).squeeze(1) > 0
    assert 0.1 < active.float().mean() < 0.9


def test_infidelity_of_the_truth_is_zero_only_for_the_truth():
    unit = _unit("weighted")
    assert xai_units.infidelities(unit, unit.truth, seed=0) < 1e-9
    assert xai_units.infidelities(unit, unit.truth.flip(1), seed=0) > 1e-5


def test_sensitivity_is_the_relative_change():
    unit = _unit("weighted")
    found = {"rows": unit.rows}
    measured = xai_units.sensitivities(lambda moved, _: {"rows": moved.rows}, unit, found, 0, n_rows=4)[
        "rows"
    ]
    smallest, largest = unit.rows[:4].norm(dim=1).aminmax()
    furthest = xai_units.RADIUS * units.N**0.5
    assert 0.5 * furthest / largest < measured <= furthest / smallest


def test_contributions_of_the_gates_are_the_truth_of_the_weighted_unit():
    unit = _unit("weighted", 3)
    found, evaluations = methods.attributed(methods.gates, unit, 0)
    torch.testing.assert_close(found["**gates**, `contributions`"], unit.truth, atol=1e-4, rtol=0)
    assert evaluations > 10
