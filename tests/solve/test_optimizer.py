"""Dual averaging: equal to its loop in plain Python, without scale, independent by row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_attr.solve.optimizer import DualAveraging
from stg_attr.solve.smoothing import Smoothing

from .reference import dual_averaging

ALONE = Smoothing(torch.empty(1, 1, 0, dtype=torch.long), 0.0)


def _zeros(gradients):
    """What is known before the first of gradients [steps, batch, gates]."""
    return torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0, :, 0])


def _run(gradients, exists=None, start=0.0, smooth=ALONE):
    """Parameters after gradients [steps, batch, gates]."""
    exists = torch.ones(1, gradients.shape[2], dtype=torch.bool) if exists is None else exists
    state = DualAveraging.begin(*_zeros(gradients), exists, start, smooth)
    for gradient in gradients:
        state.update(gradient)
    return state.parameter


def _gradients(seed, steps=6, batch=3, gates=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, gates, generator=generator, dtype=torch.float64)


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 5), st.sampled_from([0.0, 0.5]))
@settings(max_examples=25, deadline=None, derandomize=True)
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


def test_a_row_taken_out_goes_on_as_it_would_have():
    gradients = _gradients(3)
    state = DualAveraging.begin(*_zeros(gradients), torch.ones(3, 4, dtype=torch.bool), 0.0, ALONE)
    for step, gradient in enumerate(gradients):
        state = state.rows(torch.tensor([2])) if step == 3 else state
        state.update(gradient[2:] if step >= 3 else gradient)
    assert torch.equal(state.parameter[0], _run(gradients)[2])
