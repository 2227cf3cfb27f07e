"""Blending: every kind of baseline, against a loop over elements, and exact where gates are 0 or 1."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.gates import Blend, FeatureGroups, ReferenceSet, as_references
from tests import reference

BATCH = 3


def random(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=dtype)


# a baseline as the user gives it, and the references it stands for, [references, 1 or batch, ...]
KINDS = {
    "nothing": lambda x: (None, torch.zeros(1, 1)),
    "a number": lambda x: (0.1, torch.tensor([[0.1]], dtype=x.dtype)),
    "a whole number": lambda x: (2, torch.full((1, 1), 2.0)),
    "a tensor without dimensions": lambda x: (torch.tensor(-3.0), torch.full((1, 1), -3.0)),
    "one row": lambda x: (random(1, *x.shape[1:]), random(1, *x.shape[1:])[None]),
    "one row per example": lambda x: (random(*x.shape, seed=1), random(*x.shape, seed=1)[None]),
    "many rows": lambda x: (random(5, *x.shape[1:]), random(5, *x.shape[1:])[:, None]),
    "a reference set": lambda x: (
        ReferenceSet(random(5, *x.shape[1:])),
        random(5, *x.shape[1:])[:, None],
    ),
    "a reference set as long as the batch": lambda x: (
        ReferenceSet(random(BATCH, *x.shape[1:])),
        random(BATCH, *x.shape[1:])[:, None],
    ),
    "a function": lambda x: (lambda x: x.roll(1, 1) / 2, (x.roll(1, 1) / 2)[None]),
    "a function with many answers": lambda x: (
        lambda x: torch.stack([x - 1, x / 2, -x]),
        torch.stack([x - 1, x / 2, -x]),
    ),
    "a function that works in place": lambda x: (lambda x: x.mul_(0.5), (x / 2)[None]),
}


@st.composite
def cases(draw):
    """Inputs with a mask, a baseline of any kind each, gate values and draws."""
    shapes = draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=2), min_size=1, max_size=2))
    inputs = tuple(random(BATCH, *shape, seed=i) for i, shape in enumerate(shapes))
    masks = tuple(
        torch.tensor(draw(st.lists(st.sampled_from([-1, 0, 2, 9]), min_size=n, max_size=n))).reshape(
            1, *x.shape[1:]
        )
        for x, n in ((x, x[0].numel()) for x in inputs)
    )
    masks[0].view(-1)[0] = 4
    kinds = [draw(st.sampled_from(list(KINDS))) for _ in shapes]
    counts = {len(KINDS[kind](x)[1]) for kind, x in zip(kinds, inputs, strict=True)}
    if len(counts - {1}) > 1:  # references are drawn together: one, or the same number, for each input
        kinds = kinds[:1] * len(kinds)
    return inputs, masks, kinds


@given(cases())
def test_blend_is_the_formula_at_every_element(case):
    inputs, masks, kinds = case
    given_, expected = zip(*(KINDS[kind](x) for kind, x in zip(kinds, inputs, strict=True)), strict=True)
    blend = Blend(inputs, as_references(given_, inputs), FeatureGroups.from_mask(masks, inputs))
    ids = reference.ids_by_element(masks, inputs)
    gates = random(4, BATCH, blend.groups.n_gates, seed=7).sigmoid()
    draws = torch.arange(4) % blend.n_references
    for which, (blended, x, b) in enumerate(zip(blend(gates, draws), inputs, expected, strict=True)):
        b = b.reshape(*b.shape, *[1] * (x.dim() + 1 - b.dim())).to(x.dtype)
        b = b.expand(len(b), b.shape[1], *x.shape[1:])
        twin = reference.blend(x, b, ids, gates, draws, which)
        torch.testing.assert_close(blended, twin, rtol=1e-14, atol=1e-15)  # equal but for rounding


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_baseline_is_brought_into_one_form(kind):
    x = random(BATCH, 4)
    given_, expected = KINDS[kind](x)
    before = x.clone()
    (found,) = as_references(given_, (x,))
    assert found.dim() == x.dim() + 1
    assert found.dtype == x.dtype
    assert torch.equal(found, expected.reshape(found.shape).to(x.dtype))
    assert torch.equal(x, before)
    assert torch.equal(as_references((given_,), (x,))[0], found)


def test_one_number_or_function_serves_several_inputs():
    inputs = (random(BATCH, 2), random(BATCH, 3, 2))
    for baseline in (None, 3.0, lambda x: x * 0 + 3):
        value = 0.0 if baseline is None else 3.0
        for found in as_references(baseline, inputs):
            assert found.unique().tolist() == [value]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_open_gates_show_the_input_and_closed_ones_the_baseline_exactly(dtype):
    x = torch.tensor([[1e4, -3e-5, 0.1], [7.0, 1e-7, -6e4]]).to(dtype)
    b = torch.tensor([[-6e4, 1e4, 0.3]]).to(dtype)
    blend = Blend((x,), as_references(b, (x,)), FeatureGroups.from_mask(None, (x,)))
    gates = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=blend.dtype)[:, None].expand(2, 2, 3)
    (shown,) = blend(gates, torch.zeros(2, dtype=torch.long))
    expected = torch.where(gates.bool(), x, b).flatten(0, 1)
    assert shown.dtype == dtype
    assert torch.equal(shown, expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_discrete_inputs_are_switched_not_mixed(dtype):
    x = torch.tensor([[1, 0, 1, 1]]).to(dtype)
    b = torch.tensor([[0, 1, 0, 0]]).to(dtype)
    blend = Blend((x,), as_references(b, (x,)), FeatureGroups.from_mask(None, (x,)))
    (shown,) = blend(torch.tensor([[[1.0, 0.0, 0.9, 0.1]]]), torch.zeros(1, dtype=torch.long))
    assert shown.dtype == dtype
    assert shown.tolist() == torch.tensor([[1, 1, 1, 0]]).to(dtype).tolist()


def test_each_sample_is_shown_the_reference_it_drew():
    inputs = (torch.zeros(2, 1), torch.zeros(2, 1))
    rows = torch.arange(3.0)[:, None]
    blend = Blend(
        inputs, as_references((rows, 10.0), inputs), FeatureGroups.from_mask(None, inputs)
    )  # the second input has one reference for all
    first, second = blend(torch.zeros(4, 2, 2), torch.tensor([2, 0, 1, 2]))
    assert first[:, 0].tolist() == [2, 2, 0, 0, 1, 1, 2, 2]
    assert second.unique().tolist() == [10]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_blend_are_the_blend_of_those_rows(kind):
    x = random(BATCH, 4)
    mask = torch.tensor([[0, 0, 1, 2], [5, 5, 5, -1], [1, 2, 3, 4]])
    blend = Blend((x,), as_references(KINDS[kind](x)[0], (x,)), FeatureGroups.from_mask(mask, (x,)))
    gates = random(2, BATCH, 4).sigmoid()
    draws = torch.arange(2) % blend.n_references
    whole = blend(gates, draws)[0].reshape(2, BATCH, 4)
    for some in (slice(0, 1), slice(1, 3), slice(0, 3)):
        (part,) = blend.rows(some)(gates[:, some], draws)
        assert torch.equal(part.reshape(2, -1, 4), whole[:, some])


def test_gradient_of_a_gate_is_input_minus_baseline_over_its_elements():
    x, b = random(2, 3), random(1, 3, seed=9)
    groups = FeatureGroups.from_mask(torch.tensor([[0, 0, 4]]), (x,))
    blend = Blend((x,), as_references(b, (x,)), groups)
    gates = random(1, 2, 2).sigmoid().requires_grad_()
    (gradient,) = torch.autograd.grad(blend(gates, torch.zeros(1, dtype=torch.long))[0].sum(), gates)
    change = x - b
    expected = torch.stack([change[:, 0] + change[:, 1], change[:, 2]], 1)[None]
    torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((torch.float32, torch.float32), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
        ((torch.float16, torch.bfloat16), torch.float32),
        ((torch.int64, torch.bool), torch.float32),
    ],
)
def test_gates_are_double_when_an_input_is_and_single_else(dtypes, expected):
    inputs = tuple(torch.zeros(1, 2).to(dtype) for dtype in dtypes)
    blend = Blend(inputs, as_references(None, inputs), FeatureGroups.from_mask(None, inputs))
    assert blend.dtype == expected
