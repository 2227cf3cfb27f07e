"""Calls of the model: as many rows as fit, fewer where memory runs out, the same result."""

import pytest
import torch
from torch import nn

from stg_attr import (
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    StochasticGates,
)
from stg_attr.attribution.pieces import Room

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
SAID = {
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "GPU": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "Python": MemoryError(),
}


class Limited(nn.Module):
    """Two layers; raises what is said where more than some rows are asked for, and notes all calls."""

    def __init__(self, most, said=SAID["CPU"], in_backward=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
        self.most, self.said, self.in_backward, self.calls = most, said, in_backward, []

    def forward(self, x):
        self.calls.append(len(x))
        if len(x) > self.most:
            if not (self.in_backward and x.requires_grad):
                raise self.said
            x.register_hook(self.fail)
        return self.body(x)

    def fail(self, grad):
        raise self.said


@pytest.mark.parametrize("most", [1, 3, 4, 10, 100])
@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=repr)
def test_a_call_that_memory_does_not_hold_is_halved_and_tried_again(most, estimator):
    limited, whole = Limited(most), Limited(10**9)
    found = StochasticGates(limited, estimator=estimator).explain(X, target=0, n_steps=3)
    expected = StochasticGates(whole, estimator=estimator).explain(X, target=0, n_steps=3)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.scores.kept, expected.scores.kept)
    assert found.status == expected.status
    failed = [n for n in limited.calls if n > most]
    assert len(failed) <= 8  # it is not tried again and again
    assert max(limited.calls[len(limited.calls) // 2 :]) <= most


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("in_backward", [False, True])
def test_every_way_to_run_out_of_memory_is_known(said, in_backward):
    found = StochasticGates(Limited(5, said, in_backward)).attribute(X, target=0, n_steps=2)
    expected = StochasticGates(Limited(10**9)).attribute(X, target=0, n_steps=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_one_row_that_memory_does_not_hold_is_an_error():
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        StochasticGates(Limited(0)).attribute(X, target=0)


def test_other_errors_are_not_tried_again():
    model = Limited(5, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        StochasticGates(model, objective=Preserve()).attribute(X, target=0, perturbations_per_eval=2)
    assert [n for n in model.calls if n > 5] == [8]


@pytest.mark.parametrize(
    ("elements", "batch", "samples", "device", "room"),
    [
        (30, 16, None, "cpu", Room(546, 16)),
        (3 * 32 * 32, 16, None, "cpu", Room(5, 16)),
        (3 * 32 * 32, 128, None, "cpu", Room(1, 64)),
        (3 * 224 * 224, 1, None, "cpu", Room(4, 1)),
        (3 * 224 * 224, 16, None, "cpu", Room(1, 4)),
        (3 * 224 * 224, 16, None, "cuda", Room(1, 16)),
        (3 * 224 * 224, 100, None, "cuda", Room(1, 25)),
        (10**8, 6, None, "cpu", Room(1, 3)),
        (10**8, 4, 2, "cpu", Room(2, 4)),
    ],
)
def test_a_call_suits_the_device_or_has_the_samples_that_the_user_wants(
    elements, batch, samples, device, room
):
    assert Room.of(elements, batch, samples, torch.device(device)) == room


def test_large_examples_are_shown_in_several_calls():
    rows = []

    def forward(x):
        rows.append(len(x))
        return x.mean((1, 2, 3))

    x = torch.ones(6, 1, 500, 500)
    mask = (torch.arange(500) // 250).reshape(1, 1, 1, 500)
    StochasticGates(forward).attribute(x, feature_mask=mask, n_steps=1, n_samples=2)
    assert max(rows) == 3


@pytest.mark.parametrize("internal_batch_size", [1, 3, None])
@pytest.mark.parametrize("perturbations_per_eval", [1, 2, 3])
def test_the_size_of_calls_changes_nothing(perturbations_per_eval, internal_batch_size):
    """The reading measures sets of one example beside each other, in pieces of several widths."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    x, rows = torch.randn(4, 6, dtype=torch.float64), ReferenceSet(torch.randn(5, 6, dtype=torch.float64))
    stg = StochasticGates(net, objective=Preserve(OutputMatch()))
    whole = stg.explain(x, rows, target=0)
    pieces = stg.explain(
        x,
        rows,
        target=0,
        perturbations_per_eval=perturbations_per_eval,
        internal_batch_size=internal_batch_size,
    )
    torch.testing.assert_close(pieces.attributions, whole.attributions, rtol=0, atol=1e-9)
    assert torch.equal(pieces.n_evaluations, whole.n_evaluations)


def _numbers_of(weight, asked):
    """A number for each sample and example that depends on which they are."""

    def numbers_of(gates, first, rows):
        asked.append(tuple(gates.shape[:2]))
        sample = torch.arange(first, first + len(gates)).unsqueeze(1) + 1
        return sample * (gates * weight[rows]).sum(2).tanh()

    return numbers_of


@pytest.mark.parametrize("room", [Room(9, 3), Room(2, 3), Room(1, 2)], ids=repr)
def test_numbers_and_slopes_are_those_of_a_single_call(room):
    generator = torch.Generator().manual_seed(1)
    gates = torch.rand(5, 3, 4, generator=generator)
    weight = torch.randn(3, 4, generator=generator).requires_grad_()
    asked, leaf = [], gates.clone().requires_grad_()
    numbers, slopes = room.numbers_with_slopes(_numbers_of(weight, asked), gates)
    expected = _numbers_of(weight, [])(leaf, 0, slice(None))
    (through,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(numbers, expected.detach())
    torch.testing.assert_close(slopes, through)
    assert max(n * m for n, m in asked) <= room.samples * room.examples
    alone = room.numbers(_numbers_of(weight, asked), gates)
    assert torch.equal(alone, numbers)
    assert not any(found.requires_grad for found in (alone, numbers, slopes))


@pytest.mark.parametrize("room", [Room(5, 3), Room(2, 3)], ids=repr)
def test_there_are_no_slopes_where_a_number_does_not_follow_the_gates(room):
    weight, gates = torch.ones(3, requires_grad=True), torch.rand(5, 3, 4)
    for numbers_of in (
        lambda z, first, rows: z.detach().sum(2),
        lambda z, first, rows: z.detach().sum(2) * weight[rows],
    ):
        numbers, slopes = room.numbers_with_slopes(numbers_of, gates)
        assert slopes is None
        assert torch.equal(numbers, gates.sum(2))
