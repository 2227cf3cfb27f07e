"""Feature groups: every kind of mask against a loop over elements, and what renumbering must not change."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups
from tests import reference

IDS = (-1, 0, 1, 5, 40)  # gaps on purpose
DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)


def random(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@st.composite
def masked_inputs(draw):
    """Inputs of several shapes with one mask each: of 1, `batch` or no rows, with dimensions of length 1."""
    batch = draw(st.integers(1, 3))
    shapes = draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3))
    inputs, masks = [], []
    for shape in shapes:
        kept = draw(st.integers(0, len(shape)))  # how many of the last dimensions the mask has
        dims = [n if draw(st.booleans()) else 1 for n in shape[len(shape) - kept :]]
        if kept == len(shape) and draw(st.booleans()):
            dims = [draw(st.sampled_from([1, batch])), *dims]
        n = int(torch.tensor(dims).prod()) if dims else 1
        ids = draw(st.lists(st.sampled_from(IDS), min_size=n, max_size=n))
        masks.append(torch.tensor(ids, dtype=draw(st.sampled_from(DTYPES))).reshape(dims))
        inputs.append(torch.zeros(batch, *shape))
    if all(int(mask.max()) < 0 for mask in masks):
        masks[0] = masks[0].clamp(min=0)
    return tuple(inputs), tuple(masks)


@given(masked_inputs())
def test_expand_gives_every_element_the_gate_of_its_id(case):
    inputs, masks = case
    groups, ids = FeatureGroups.from_mask(masks, inputs), reference.ids_by_element(masks, inputs)
    gates = random(2, len(inputs[0]), groups.n_gates)
    for which, x in enumerate(inputs):
        found = groups.expand(gates, which, ungated=0.5).expand(2, *x.shape)
        assert torch.equal(found, reference.expand(ids, gates, which, ungated=0.5))


@given(masked_inputs())
def test_reduce_is_the_mean_over_the_elements_of_each_gate(case):
    inputs, masks = case
    groups, ids = FeatureGroups.from_mask(masks, inputs), reference.ids_by_element(masks, inputs)
    values = [random(*x.shape) for x in inputs]
    found = groups.reduce(values)
    assert found.shape == (len(inputs[0]), groups.n_gates)
    for example in range(len(inputs[0])):
        owned = {}
        for value, which in zip(values, ids, strict=True):
            elements = zip(
                value[example].flatten().tolist(),
                torch.as_tensor(which[example]).flatten().tolist(),
                strict=True,
            )
            for element, owner in elements:
                owned.setdefault(owner, []).append(element)
        expected = [sum(owned[i]) / len(owned[i]) for i in sorted(owned) if i >= 0]
        assert found[example].tolist() == pytest.approx(expected + [0.0] * (groups.n_gates - len(expected)))


@given(masked_inputs())
def test_columns_are_the_ids_of_each_example_in_order(case):
    inputs, masks = case
    groups, ids = FeatureGroups.from_mask(masks, inputs), reference.ids_by_element(masks, inputs)
    for example in range(len(inputs[0])):
        row = example % len(groups.feature_ids)
        expected = reference.gated_ids(ids, example)
        assert groups.feature_ids[row][groups.exists[row]].tolist() == expected
        assert groups.exists[row].tolist() == [i < len(expected) for i in range(groups.n_gates)]
    assert groups.n_gates == max(len(reference.gated_ids(ids, i)) for i in range(len(inputs[0])))


@given(masked_inputs())
def test_noise_goes_by_the_first_element_of_a_feature(case):
    inputs, masks = case
    groups, ids = FeatureGroups.from_mask(masks, inputs), reference.ids_by_element(masks, inputs)
    uniform = random(2, 1, groups.n_gates)
    noise = groups.noise(uniform).expand(2, len(inputs[0]), -1)
    for example in range(len(inputs[0])):
        n = len(reference.gated_ids(ids, example))
        if n:
            assert torch.equal(
                noise[:, example, :n], reference.noise_of_gates(ids, uniform[..., :n], example)
            )
        assert torch.equal(noise[:, example].sort().values, uniform[:, 0].sort().values)  # each used once


@given(masked_inputs(), st.permutations(range(60)))
def test_renumbering_changes_no_element_and_no_noise(case, names):
    inputs, masks = case
    renamed = tuple(mask.long() for mask in masks)
    renamed = tuple(torch.where(m < 0, m, torch.tensor([*names])[m]) for m in renamed)
    groups, other = FeatureGroups.from_mask(masks, inputs), FeatureGroups.from_mask(renamed, inputs)
    uniform = random(2, 1, groups.n_gates)
    for which, x in enumerate(inputs):
        noise = [
            g.expand(g.noise(uniform).expand(2, len(x), -1), which).expand(2, *x.shape)
            for g in (groups, other)
        ]
        assert torch.equal(*noise)


@given(masked_inputs(), st.data())
def test_rows_are_the_groups_of_those_examples(case, data):
    inputs, masks = case
    batch = len(inputs[0])
    start = data.draw(st.integers(0, batch - 1))
    some = slice(start, data.draw(st.integers(start + 1, batch)))
    groups = FeatureGroups.from_mask(masks, inputs)
    gates, uniform = random(2, batch, groups.n_gates), random(3, 1, groups.n_gates)
    for which, x in enumerate(inputs):
        whole = groups.expand(gates, which).expand(2, *x.shape)
        part = groups.rows(some).expand(gates[:, some], which).expand(2, *x[some].shape)
        assert torch.equal(part, whole[:, some])
    noise = groups.noise(uniform).expand(3, batch, -1)
    part = groups.rows(some).noise(uniform)
    assert torch.equal(part.expand(3, len(range(batch)[some]), -1), noise[:, some])


@given(masked_inputs())
def test_an_example_alone_has_the_same_groups_and_noise(case):
    inputs, masks = case
    groups = FeatureGroups.from_mask(masks, inputs)
    uniform = random(2, 1, groups.n_gates)
    for example in range(len(inputs[0])):
        x = tuple(x[example : example + 1] for x in inputs)
        m = tuple(
            mask[example : example + 1] if mask.dim() == x.dim() and len(mask) > 1 else mask
            for mask, x in zip(masks, inputs, strict=True)
        )
        if all(int(mask.max()) < 0 for mask in m):
            continue
        alone = FeatureGroups.from_mask(m, x)
        row = example % len(groups.feature_ids)
        assert alone.feature_ids[0].tolist() == groups.feature_ids[row][groups.exists[row]].tolist()
        noise = groups.noise(uniform).expand(2, len(inputs[0]), -1)[:, example, : alone.n_gates]
        assert torch.equal(alone.noise(uniform[..., : alone.n_gates])[:, 0], noise)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=3))
def test_no_mask_gives_every_element_its_own_gate(shapes):
    inputs = tuple(torch.zeros(2, *shape) for shape in shapes)
    n = sum(x[0].numel() for x in inputs)
    if n == 0:
        with pytest.raises(ArgumentError, match=r"at least one element .*0 or more"):
            FeatureGroups.from_mask(None, inputs)
        return
    groups, ids = FeatureGroups.from_mask(None, inputs), reference.ids_by_element(None, inputs)
    assert groups.feature_ids.tolist() == [list(range(n))]
    gates = random(2, 2, n)
    for which in range(len(inputs)):
        assert torch.equal(groups.expand(gates, which), reference.expand(ids, gates, which))


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        (None, (0, 4)),
        ((torch.arange(4).reshape(1, 4), torch.tensor([[7, 5]])), (0, None)),
        ((torch.tensor([[4, 5, 6, 7]]), torch.tensor([[0, 1]])), (2, 0)),
        ((torch.tensor([[0, 1, 2, -1]]), torch.tensor([[4, 5]])), (None, 3)),
        ((torch.tensor([[0, 0, 1, 1]]), torch.tensor(2)), (None, 2)),
    ],
)
def test_consecutive_columns_are_found_and_laid_out_alike(mask, runs):
    inputs = (torch.zeros(3, 4), torch.zeros(3, 2))
    groups, ids = FeatureGroups.from_mask(mask, inputs), reference.ids_by_element(mask, inputs)
    gates = random(2, 3, groups.n_gates)
    assert groups.runs == runs
    for which, x in enumerate(inputs):
        found = groups.expand(gates, which).expand(2, *x.shape)
        assert torch.equal(found, reference.expand(ids, gates, which))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, *DTYPES])
def test_every_integer_dtype_is_read_alike(dtype):
    x, mask = torch.zeros(2, 3), torch.tensor([[9, 2, 9]])
    groups = FeatureGroups.from_mask(mask.to(dtype), (x,))
    assert groups.feature_ids.tolist() == [[2, 9]]
    assert groups.index[0].tolist() == [[1, 0, 1]]


def test_one_id_in_several_inputs_is_one_gate():
    inputs = (torch.zeros(2, 3), torch.zeros(2, 2))
    groups = FeatureGroups.from_mask((torch.tensor([[0, 0, 7]]), torch.tensor([[7, 3]])), inputs)
    gates = torch.tensor([[[0.0, 0.25, 1.0], [0.5, 0.75, 0.0]]])
    assert groups.n_gates == 3
    assert groups.expand(gates, 0).tolist() == [[[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]]
    assert groups.expand(gates, 1).tolist() == [[[1.0, 0.25], [0.0, 0.75]]]


def test_examples_with_fewer_groups_leave_their_last_columns_empty():
    mask = torch.tensor([[3, 8, 5], [2, 2, -1], [-1, -1, -1]])
    groups = FeatureGroups.from_mask(mask, (torch.zeros(3, 3),))
    assert groups.feature_ids.tolist() == [[3, 5, 8], [2, -1, -1], [-1, -1, -1]]
    assert groups.exists.sum(1).tolist() == [3, 1, 0]


@given(masked_inputs())
def test_columns_read_back_lay_out_alike(case):
    inputs, masks = case
    groups = FeatureGroups.from_mask(masks, inputs)
    again = FeatureGroups.from_columns(groups.index, groups.feature_ids)
    gates = random(1, len(inputs[0]), groups.n_gates)
    for which in range(len(inputs)):
        assert torch.equal(again.expand(gates, which), groups.expand(gates, which))


def test_a_gate_collects_the_gradient_of_all_its_elements():
    inputs = (torch.zeros(2, 3), torch.zeros(2, 2))
    groups = FeatureGroups.from_mask((torch.tensor([[0, 0, 7]]), torch.tensor([[7, -1]])), inputs)
    gates = random(1, 2, 2).requires_grad_()
    (groups.expand(gates, 0).sum() + 10 * groups.expand(gates, 1).sum()).backward()
    assert gates.grad.tolist() == [[[2.0, 11.0], [2.0, 11.0]]]
