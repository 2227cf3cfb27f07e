"""Calls of the model: as many rows as fit, fewer where memory runs out, the same result."""

import pytest
import torch
from torch import nn

from stg_attr import (
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    StochasticGates,
)
from stg_attr.errors import ArgumentError
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.model import Chunks, GatedModel, Scorer
from tests.models import mlp

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
        self.body = mlp(6, 8, 2)
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
    ("elements", "batch", "samples", "device", "chunks"),
    [
        (30, 16, None, "cpu", Chunks(546, 16)),
        (3 * 32 * 32, 16, None, "cpu", Chunks(5, 16)),
        (3 * 32 * 32, 128, None, "cpu", Chunks(1, 64)),
        (3 * 224 * 224, 1, None, "cpu", Chunks(4, 1)),
        (3 * 224 * 224, 16, None, "cpu", Chunks(1, 4)),
        (3 * 224 * 224, 16, None, "cuda", Chunks(1, 16)),
        (3 * 224 * 224, 100, None, "cuda", Chunks(1, 25)),
        (10**8, 6, None, "cpu", Chunks(1, 3)),
        (10**8, 4, 2, "cpu", Chunks(2, 4)),
    ],
)
def test_a_call_suits_the_device_or_has_the_samples_that_the_user_wants(
    elements, batch, samples, device, chunks
):
    assert Chunks.of(elements, batch, samples, torch.device(device)) == chunks


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
    net = mlp(6, 8, 2).double()
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
    # two examples of the first piece are also scored without the others
    alone = {None: [1, 0, 0, 1], 1: [0, 0, 0, 0], 3: [1, 0, 1, 0]}
    counts = pieces.n_evaluations - torch.tensor(alone[internal_batch_size])
    assert torch.equal(counts, whole.n_evaluations - torch.tensor(alone[None]))


@pytest.mark.parametrize("chunks", [Chunks(9, 3), Chunks(2, 3), Chunks(1, 2), Chunks(5, 1)], ids=repr)
def test_chunks_cover_all_samples_of_all_examples_once(chunks):
    most, whole, seen = chunks.samples * chunks.examples, None, torch.zeros(5, 3)
    for chunk in chunks.over(5, 3):
        with chunk:
            seen[chunk.samples, chunk.examples] += 1
            part = torch.arange(15).reshape(5, 3)[chunk.samples, chunk.examples]
            assert part.numel() <= most
            whole = chunk.put(whole, part)
    assert torch.equal(seen, torch.ones(5, 3))
    assert torch.equal(whole, torch.arange(15).reshape(5, 3))


def test_a_chunk_that_memory_does_not_hold_comes_again_in_halves():
    sizes, whole = [], None
    for chunk in Chunks(4, 3).over(4, 3):
        with chunk:
            part = torch.ones(4, 3)[chunk.samples, chunk.examples]
            sizes.append(part.numel())
            if part.numel() > 3:
                raise SAID["CPU"]
            whole = chunk.put(whole, part)
    assert sizes == [12, 6, 3, 3, 3, 3]
    assert torch.equal(whole, torch.ones(4, 3))


def test_a_chunk_keeps_no_other_error_back():
    chunk = next(Chunks(4, 3).over(4, 3))
    with pytest.raises(ValueError, match="mine"), chunk:
        raise ValueError("mine")


@pytest.mark.parametrize("perturbations_per_eval", [None, 1, 2])
@pytest.mark.parametrize("objective", [Preserve(), Hybrid()], ids=repr)
def test_losses_and_slopes_are_those_of_a_single_call(objective, perturbations_per_eval):
    generator = torch.Generator().manual_seed(1)
    x, z = (torch.rand(n, 3, 4, generator=generator) + 0.1 for n in (1, 5))
    weight = torch.randn(4, generator=generator)
    net, x = (lambda rows: (rows @ weight).tanh()), x[0]
    blend = Blend((x,), (torch.zeros(1, 1, 4),), FeatureGroups.from_mask(None, (x,)))
    model = GatedModel(blend, Scorer(net, (), 3), objective, None, perturbations_per_eval)
    leaf = z.clone().requires_grad_()
    full = net(x)
    kept, removed = net(leaf * x) / full, net((1 - leaf) * x) / full
    expected = 1 - kept + (removed if objective.n_views == 2 else 0)
    (through,) = torch.autograd.grad(expected.sum(), leaf)
    loss = model.loss(model.everyone, torch.zeros(5, dtype=torch.long))
    found, slopes = loss.with_slope(z)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(slopes, through)
    torch.testing.assert_close(loss(z), found)
    assert not any(tensor.requires_grad for tensor in (found, slopes, loss(z)))


def test_there_are_no_slopes_where_the_model_does_not_follow_the_gates():
    x, weight = torch.rand(3, 4) + 0.1, torch.ones((), requires_grad=True)
    blend = Blend((x,), (torch.zeros(1, 1, 4),), FeatureGroups.from_mask(None, (x,)))
    for net in (lambda rows: rows.detach().sum(1), lambda rows: rows.detach().sum(1) * weight):
        model = GatedModel(blend, Scorer(net, (), 3), Preserve(), None, 2)
        losses, slopes = model.loss(model.everyone, torch.zeros(5, dtype=torch.long)).with_slope(
            torch.rand(5, 3, 4)
        )
        assert not bool(slopes.any())
        assert slopes.shape == (5, 3, 4)
        assert losses.shape == (5, 3)
        with pytest.raises(ArgumentError, match=r"forward_func: .*gradient.*detached.*ScoreFunction\(\)"):
            model.missed(model.everyone, slopes[0] > 0, 1e-3)


def test_one_call_with_slopes_is_enough():
    """A model that leaves early for some rows: those calls have slopes of 0, whatever rows share a call."""

    def leaves_early(rows):
        return rows.sum(1) if bool(rows.amax() > 0.5) else rows.detach().sum(1)

    x = torch.tensor([[0.2, 0.2], [0.9, 0.9]])
    blend = Blend((x,), (torch.zeros(1, 1, 2),), FeatureGroups.from_mask(None, (x,)))
    model = GatedModel(blend, Scorer(leaves_early, (), 2), Preserve(), None, 1)
    model.chunks.examples = 1
    _, slopes = model.loss(model.everyone, torch.zeros(1, dtype=torch.long)).with_slope(torch.ones(1, 2, 2))
    torch.testing.assert_close(slopes, torch.tensor([[[0.0, 0.0], [-0.5, -0.5]]]))
    assert model.missed(model.everyone, slopes[0] != 0, 1e-3).tolist() == [[True, True], [False, False]]
