"""Dual averaging: equal to its loop in plain Python, without scale, independent by row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.solve.optimizer import DualAveraging
from stg_attr.solve.smoothing import Smoothing
from tests.examples import examples

from .reference import dual_averaging

ALONE = Smoothing(torch.empty(1, 1, 0, dtype=torch.long), 0.0)


def _run(gradients, exists=None, start=0.0, smooth=ALONE):
    """Parameters after gradients [steps, batch, gates]."""
    n_gates = torch.full((1, 1), gradients.shape[2]) if exists is None else exists.sum(1, keepdim=True)
    rule, total, scale = (
        DualAveraging(torch.tensor([[start]])),
        torch.zeros_like(gradients[0]),
        torch.zeros_like(gradients[0, :, 0]),
    )
    for t, gradient in enumerate(gradients, start=1):
        total, scale = rule.added(total, scale, gradient, t, n_gates)
    return rule.parameter(total, scale, smooth)


def _gradients(seed, steps=6, batch=3, gates=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, gates, generator=generator, dtype=torch.float64)


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 5), st.sampled_from([0.0, 0.5]))
@examples(25)
def test_it_is_the_loop_in_plain_python(seed, steps, gates, start):
    gradients = _gradients(seed, steps, 2, gates)
    parameters = _run(gradients, start=start)
    for row in range(2):
        expected = dual_averaging(gradients[:, row].tolist(), start)
        assert parameters[row].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1e6])
def test_the_size_of_the_loss_does_not_matter(factor):
    gradients = _gradients(0)
    torch.testing.assert_close(_run(factor * gradients), _run(gradients), rtol=1e-12, atol=0)


def test_sizes_of_gates_are_kept():
    gradients = torch.tensor([[[1.0, 2.0, -4.0]]]).expand(5, 1, 3)
    parameter = _run(gradients)[0]
    torch.testing.assert_close(parameter / parameter[0], torch.tensor([1.0, 2.0, -4.0]))


def test_rows_do_not_depend_on_each_other():
    gradients = _gradients(1)
    other = gradients.clone()
    other[:, 1:] = 1e9
    assert torch.equal(_run(other)[0], _run(gradients)[0])


def test_columns_without_a_gate_change_nothing():
    gradients = _gradients(2)
    padded = torch.nn.functional.pad(gradients, (0, 3))
    exists = torch.arange(7).expand(3, 7) < 4
    assert torch.equal(_run(padded, exists)[:, :4], _run(gradients))


def test_without_a_gradient_the_gates_stay_where_they_start():
    assert torch.equal(_run(torch.zeros(4, 2, 3), start=0.5), torch.full((2, 3), 0.5))


def test_the_parameter_moves_against_the_gradient():
    assert _run(torch.tensor([[[1.0, -1.0]]])).tolist() == [[-1.0, 1.0]]
