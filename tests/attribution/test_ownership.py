"""A result owns its tensors: what the caller does with his own later does not reach it."""

import copy

import torch

from stg_attr import LayerStochasticGates, StochasticGates
from stg_attr.batch import Batch
from tests.models import mlp

NET = mlp(8, 16, 3)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Batch):
        for part in vars(value).values():
            yield from _tensors(part)


def _given():
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": torch.randn(4, 8, generator=generator),
        "baselines": torch.full((4, 8), 0.5),
        "feature_mask": torch.arange(8).expand(4, 8).clone(),
        "additional_forward_args": (torch.ones(4), torch.full((), 2.0)),
        "target": torch.tensor([0, 1, 2, 0]),
    }


def _forward(x, factor, power):
    return factor.unsqueeze(1) * NET(x) * power


def _changed(given):
    for value in given.values():
        for tensor in _tensors(value):
            tensor.zero_()


def test_no_tensor_of_a_result_is_one_of_the_callers():
    given = _given()
    found = StochasticGates(_forward).explain(**given)
    theirs = {t.untyped_storage().data_ptr() for value in given.values() for t in _tensors(value)}
    assert not theirs & {t.untyped_storage().data_ptr() for t in _tensors(found)}


def test_what_the_caller_changes_later_changes_no_answer():
    given = _given()
    found, same = StochasticGates(_forward).explain(**given), StochasticGates(_forward).explain(**_given())
    before = copy.deepcopy(found)
    _changed(given)
    assert torch.equal(found.baselines[0], torch.full((4, 8), 0.5))
    for one, other in zip(_tensors(found), _tensors(before), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    one, other = found.minimal(), same.minimal()
    assert torch.equal(one.selected, other.selected)
    assert torch.equal(one.scores.kept, other.scores.kept)
    assert torch.equal(one.scores.baseline, same.scores.baseline)


def test_baselines_of_a_layer_are_copied_too():
    given = torch.full((1, 16), 0.5)
    stg = LayerStochasticGates(NET, NET[0])
    found = stg.explain(_given()["inputs"], target=0, layer_baselines=given)
    kept = found.minimal().scores.baseline
    given.zero_()
    assert torch.equal(found.minimal().scores.baseline, kept)


def test_a_baseline_function_may_answer_in_one_buffer():
    """It is called for each of two inputs; the second answer does not take the place of the first."""
    buffer = torch.empty(2, 4)

    def blurred(x):
        return buffer.copy_(x.mean(1, keepdim=True).expand(2, 4))

    x, y = torch.arange(8.0).reshape(2, 4), 10 * torch.ones(2, 4)
    found = StochasticGates(lambda x, y: (x * y).sum(1)).explain((x, y), baselines=blurred)
    assert torch.equal(found.baselines[0], x.mean(1, keepdim=True).expand(2, 4))
    assert torch.equal(found.baselines[1], y)
