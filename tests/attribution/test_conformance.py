"""Captum's conventions: its own test configurations, and the shapes of its tests, with StochasticGates."""

import contextlib
import copy
import random
import warnings

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, NoiseTunnel
from captum.log import log_usage
from captum.metrics import infidelity, sensitivity_max
from torch.nn import DataParallel

from stg_attr import ArgumentError, BinaryConcrete, Delete, FixedWeight, Gaussian, StochasticGates
from tests import reference
from tests.models import Counted

pytest.importorskip("captum.testing", reason="captum ships its test models since 0.9")

from captum.testing.helpers.basic_models import (
    BasicEmbeddingModel,
    BasicModel,
    BasicModel4_MultiArgs,
    BasicModel_ConvNet_MaxPool1d,
    BasicModel_ConvNet_MaxPool3d,
    BasicModel_ConvNet_One_Conv,
    BasicModel_MultiLayer,
    BasicModel_MultiLayer_MultiInput,
    BasicModel_MultiLayer_TrueMultiInput,
    BasicModel_MultiLayer_with_Future,
    BasicModelBoolInput,
    BasicModelWithSparseInputs,
    ReLULinearModel,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="DataParallel needs a CUDA device")


@contextlib.contextmanager
def seeds_kept():
    """Captum's configurations seed every generator and set a cuDNN flag when they are imported."""
    kept = random.getstate(), np.random.get_state(), torch.backends.cudnn.deterministic
    with torch.random.fork_rng():
        yield
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    torch.backends.cudnn.deterministic = kept[2]


with seeds_kept():
    from captum.testing.attr.helpers.test_config import config

# What captum runs its own perturbation method through; a new method is tested by adding it to these.
CONFIGS = {entry["name"]: entry for entry in config if FeatureAblation in entry["algorithms"]}
WITH_TARGETS = {
    name: entry
    for name, entry in CONFIGS.items()
    if isinstance(entry["attribute_args"]["target"], (list, torch.Tensor))
}
TUNNELLED = {name: entry for name, entry in CONFIGS.items() if entry.get("noise_tunnel")}
ABLATION = ("inputs", "baselines", "target", "additional_forward_args")


def method(entry, model=None):
    stg = StochasticGates(entry["model"] if model is None else model)
    return NoiseTunnel(stg) if entry.get("noise_tunnel") else stg


def arguments(entry):
    return {**copy.deepcopy(entry["attribute_args"]), "n_steps": 4}


def as_tuple(tensors):
    return tensors if isinstance(tensors, tuple) else (tensors,)


def check_structure(attributions, inputs):
    """As the inputs: tuple or not, shape, kind of dtype, device; and probabilities, detached."""
    assert isinstance(attributions, tuple) == isinstance(inputs, tuple)
    for a, x in zip(as_tuple(attributions), as_tuple(inputs), strict=True):
        assert a.shape == x.shape
        assert a.dtype == (torch.float64 if x.dtype == torch.float64 else torch.float32)
        assert a.device == x.device
        assert not a.requires_grad
        assert bool(((a >= 0) & (a <= 1)).all())  # a NaN fails this


def check_close(found, expected, atol=1e-4):
    for a, b in zip(as_tuple(found), as_tuple(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def row(value, i, batch):
    """One example of whatever is given for each of them."""
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == batch:
        return value[i : i + 1]
    return tuple(row(part, i, batch) for part in value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- captum's configurations, captum's tests


def test_captum_still_has_its_configurations():
    assert len(CONFIGS) >= 17
    assert len(WITH_TARGETS) >= 13
    assert len(TUNNELLED) >= 6


@pytest.mark.parametrize("name", CONFIGS)
def test_config_gives_attributions_and_leaves_nothing_behind(name, untouched):
    entry, kwargs = CONFIGS[name], arguments(CONFIGS[name])
    tunnelled = name in TUNNELLED  # captum draws its noise from the global generator
    guard = contextlib.nullcontext() if tunnelled else untouched(entry["model"], *as_tuple(kwargs["inputs"]))
    with guard:
        attributions = method(entry).attribute(**kwargs)
    check_structure(attributions, kwargs["inputs"])


@pytest.mark.parametrize("name", CONFIGS)
def test_config_selects_features_where_hiding_the_input_changes_the_score(name):
    """Some of captum's examples score as their baseline does; there is nothing to explain about those."""
    entry, kwargs = CONFIGS[name], arguments(CONFIGS[name])
    found = as_tuple(method(entry).attribute(**kwargs))
    best = torch.cat([a.flatten(1) for a in found], 1).amax(1)
    asked = {key: kwargs[key] for key in ABLATION if key in kwargs}
    everything = tuple(torch.tensor(0) for _ in as_tuple(kwargs["inputs"]))
    hidden = as_tuple(FeatureAblation(entry["model"]).attribute(**asked, feature_mask=everything))
    effect = hidden[0].flatten(1)[:, 0]
    assert torch.equal(best > 0.5, effect.abs() > 1e-5)
    assert bool((best[effect.abs() <= 1e-5] == 0).all())


@pytest.mark.parametrize(
    ("name", "n_steps"),
    [
        *((name, 4) for name in WITH_TARGETS),
        ("basic_multi_input_multi_target", 12),  # the default: rounding may grow over many steps
        ("basic_multiple_tuple_target_with_baselines", 12),
    ],
)
def test_config_targets_row_of_batch_equals_single_example(name, n_steps):
    entry, kwargs = WITH_TARGETS[name], {**arguments(WITH_TARGETS[name]), "n_steps": n_steps}
    batch = len(as_tuple(kwargs["inputs"])[0])
    attributions = method(entry).attribute(**kwargs)
    for i in range(batch):
        single = {key: row(value, i, batch) for key, value in kwargs.items() if key != "target"}
        whole = kwargs["target"]
        per_example = len(whole) == batch
        for target in (whole[i], whole[i : i + 1]) if per_example else (whole,):
            alone = method(entry).attribute(**single, target=target)
            check_close(alone, row(attributions, i, batch))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_wrong_target_raises_and_removes_every_hook(name):
    entry, kwargs = CONFIGS[name], arguments(CONFIGS[name])
    with pytest.raises(AssertionError, match="target"):
        method(entry).attribute(**{**kwargs, "target": (9999,) * 20})
    for module in entry["model"].modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert not getattr(module, hooks)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("compiler", ["trace", "script"])
def test_config_compiled_model_gives_the_same(name, compiler):
    entry, kwargs = CONFIGS[name], arguments(CONFIGS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is on its way out
        if compiler == "script":
            compiled, given = torch.jit.script(entry["model"]), kwargs
        else:
            compiled, given = traced(entry["model"], kwargs)
        check_close(method(entry, compiled).attribute(**given), method(entry).attribute(**kwargs), atol=1e-6)


def traced(model, kwargs):
    """The traced model, and the arguments less those that are no tensors, which the trace has taken in."""
    everything = (*as_tuple(kwargs["inputs"]), *as_tuple(kwargs.get("additional_forward_args", ())))
    tensors = [value for value in everything if isinstance(value, torch.Tensor)]

    class OnlyTensors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *given):
            left = iter(given)
            return self.model(*(next(left) if isinstance(v, torch.Tensor) else v for v in everything))

    n_inputs = len(as_tuple(kwargs["inputs"]))
    trace = torch.jit.trace(OnlyTensors(), tuple(tensors))
    return trace, {**kwargs, "additional_forward_args": tuple(tensors[n_inputs:]) or None}


@pytest.mark.parametrize("name", TUNNELLED)
def test_config_noise_tunnel_without_noise_changes_nothing(name):
    kwargs = arguments(TUNNELLED[name])
    tunnel = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("nt_") or key == "stdevs"}
    plain = StochasticGates(TUNNELLED[name]["model"])
    assert tunnel["stdevs"] == 0
    tunnelled = NoiseTunnel(plain).attribute(**kwargs, **tunnel)
    check_close(tunnelled, plain.attribute(**kwargs))


@needs_cuda
@pytest.mark.parametrize("name", CONFIGS)
def test_config_data_parallel_gives_the_same(name):
    entry, kwargs = CONFIGS[name], arguments(CONFIGS[name])
    on_cuda = {key: to_cuda(value) for key, value in kwargs.items()}
    model = DataParallel(copy.deepcopy(entry["model"]).cuda())
    found = method(entry, model).attribute(**on_cuda)
    assert all(a.is_cuda for a in as_tuple(found))
    expected = method(entry).attribute(**kwargs)
    check_close(tuple(a.cpu() for a in as_tuple(found)), expected, atol=entry.get("dp_delta", 1e-4))


def to_cuda(value):
    if isinstance(value, torch.Tensor):
        return value.cuda()
    return tuple(to_cuda(part) for part in value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- the shapes of captum's ablation tests

ONE = torch.tensor([[20.0, 50.0, 30.0]])
TWO = torch.tensor([[2.0, 10.0, 3.0], [20.0, 50.0, 30.0]])
INPUTS = (
    torch.tensor([[23.0, 100.0, 0.0], [20.0, 50.0, 30.0]]),
    torch.tensor([[20.0, 50.0, 30.0], [0.0, 100.0, 0.0]]),
    torch.tensor([[0.0, 100.0, 10.0], [2.0, 10.0, 3.0]]),
)
MASKS = (
    torch.tensor([[1, 1, 1], [0, 1, 0]]),
    torch.tensor([[0, 1, 2]]),
    torch.tensor([[0, 1, 2], [0, 0, 0]]),
)
PER_EXAMPLE = (
    torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.0, 2.0]]),
    torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 4.0]]),
    torch.tensor([[3.0, 2.0, 4.0], [1.0, 2.0, 3.0]]),
)
IMAGE = torch.arange(16.0).reshape(1, 1, 4, 4)

layer, multi, conv = BasicModel_MultiLayer, BasicModel_MultiLayer_MultiInput, BasicModel_ConvNet_One_Conv

# model, inputs, other arguments
SHAPES = {
    "simple": (layer, ONE, {"target": 0}),
    "mask": (layer, ONE, {"target": 0, "feature_mask": torch.tensor([[0, 0, 1]])}),
    "number as baseline": (
        layer,
        ONE,
        {"target": 0, "baselines": 4, "feature_mask": torch.tensor([[0, 0, 1]])},
    ),
    "several examples": (layer, TWO, {"target": 0}),
    "mask per example": (layer, TWO, {"target": 0, "feature_mask": torch.tensor([[0, 0, 1], [1, 1, 0]])}),
    "mask with gaps": (layer, TWO, {"target": 1, "feature_mask": torch.tensor([[7, 900, 7]])}),
    "mask without batch dimension": (layer, TWO, {"target": 1, "feature_mask": torch.tensor([0, 1, 1])}),
    "different numbers of groups": (
        layer,
        TWO,
        {"target": 1, "feature_mask": torch.tensor([[0, 0, 1], [0, 1, 2]])},
    ),
    "int32 mask": (layer, TWO, {"target": 1, "feature_mask": torch.tensor([[0, 1, 1]], dtype=torch.int32)}),
    "three inputs": (multi, INPUTS, {"target": 0, "additional_forward_args": (1,)}),
    "three inputs, masks": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "feature_mask": MASKS},
    ),
    "two inputs, masks": (
        multi,
        INPUTS[:2],
        {"target": 0, "additional_forward_args": (INPUTS[2], 1), "feature_mask": MASKS[:2]},
    ),
    "one of three inputs, in a tuple": (
        multi,
        INPUTS[:1],
        {"target": 0, "additional_forward_args": (*INPUTS[1:], 1), "feature_mask": MASKS[:1]},
    ),
    "one of three inputs": (
        multi,
        INPUTS[0],
        {"target": 0, "additional_forward_args": (*INPUTS[1:], 1), "feature_mask": MASKS[0]},
    ),
    "numbers as baselines": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "feature_mask": MASKS, "baselines": (2, 3.0, 4)},
    ),
    "one row as baseline": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "baselines": tuple(b[:1] for b in PER_EXAMPLE)},
    ),
    "baseline per example": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "baselines": PER_EXAMPLE},
    ),
    "baselines of several kinds": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "baselines": (None, PER_EXAMPLE[1][:1], 1.5)},
    ),
    "one number for three inputs": (
        multi,
        INPUTS,
        {"target": 0, "additional_forward_args": (1,), "baselines": 1.0},
    ),
    "image and added image": (conv, (IMAGE, torch.ones(1, 1, 4, 4)), {"target": 0}),
    "one group for each image": (
        conv,
        (IMAGE, torch.ones(1, 1, 4, 4)),
        {"target": 0, "feature_mask": (torch.tensor(0), torch.tensor(1))},
    ),
    "superpixels for all channels": (
        lambda: lambda x: x.square().sum((1, 2, 3)),
        torch.arange(36.0).reshape(1, 4, 3, 3),
        {"feature_mask": torch.tensor([[[[0, 0, 1], [0, 2, 1], [2, 2, 1]]]])},
    ),
    "sequence": (
        BasicModel_ConvNet_MaxPool1d,
        torch.arange(20.0).reshape(2, 1, 10),
        {"target": 0, "feature_mask": torch.arange(10) // 2},
    ),
    "volume": (
        BasicModel_ConvNet_MaxPool3d,
        torch.arange(2000.0).reshape(2, 1, 10, 10, 10),
        {"target": 0, "feature_mask": torch.arange(10) // 5},
    ),
    "four inputs": (
        BasicModel_MultiLayer_TrueMultiInput,
        (*INPUTS, TWO),
        {"target": [0, 1]},
    ),
    "score per row": (ReLULinearModel, INPUTS[:2], {"additional_forward_args": 2}),
    "arguments of several types": (
        BasicModel4_MultiArgs,
        (INPUTS[0], INPUTS[1]),
        {"additional_forward_args": (torch.tensor([[2.0], [4.0]]), 1)},
    ),
    "list of tuples": (
        layer,
        TWO,
        {"target": [(1, 0, 0), (0, 1, 1)], "additional_forward_args": (None, True)},
    ),
    "one tuple": (layer, TWO, {"target": (1, 0, 0), "additional_forward_args": (None, True)}),
    "tensor of tuples": (
        layer,
        TWO,
        {"target": torch.tensor([[1, 0, 0], [0, 1, 1]]), "additional_forward_args": (None, True)},
    ),
    "target without dimensions": (layer, TWO, {"target": torch.tensor(1)}),
    "target of one element": (layer, TWO, {"target": torch.tensor([1])}),
    "target per example": (layer, TWO, {"target": torch.tensor([1, 0])}),
    "list of targets": (layer, TWO, {"target": [1, 0]}),
    "numpy target": (layer, TWO, {"target": np.int64(1)}),
    "an input without elements": (
        lambda: lambda x, rest: x.sum(1) + rest.sum(1),
        (TWO, torch.zeros(2, 0)),
        {},
    ),
    "double": (lambda: layer().double(), TWO.double(), {"target": 0}),
    "half": (lambda: layer().half(), TWO.half(), {"target": 0}),
    "input that wants a gradient": (layer, TWO.clone().requires_grad_(), {"target": 0}),
}

shapes = pytest.mark.parametrize("name", SHAPES)


def shape(name, **more):
    model, inputs, kwargs = SHAPES[name]
    torch.manual_seed(0)
    return model(), {"inputs": inputs, **kwargs, "n_steps": 4, **more}


@shapes
def test_shape_gives_attributions_of_groups_and_leaves_nothing_behind(name, untouched):
    model, kwargs = shape(name)
    inputs = kwargs["inputs"]
    with untouched(model, *as_tuple(inputs)):
        attributions = StochasticGates(model).attribute(**kwargs)
    check_structure(attributions, inputs)
    check_groups(attributions, kwargs.get("feature_mask"), as_tuple(inputs))


def check_groups(attributions, feature_mask, inputs):
    """Elements of one feature have one value, over all inputs."""
    ids = reference.ids_by_element(feature_mask, inputs)
    for example in range(len(inputs[0])):
        values = {}
        for a, part in zip(as_tuple(attributions), ids, strict=True):
            for value, i in zip(a[example].flatten().tolist(), part[example].flatten().tolist(), strict=True):
                values.setdefault(i, set()).add(value)
        assert all(len(found) == 1 for found in values.values())


@shapes
def test_shape_row_of_batch_equals_single_example(name):
    model, kwargs = shape(name)
    batch = len(as_tuple(kwargs["inputs"])[0])
    attributions = StochasticGates(model).attribute(**kwargs)
    for i in range(batch):
        single = {key: row(value, i, batch) for key, value in kwargs.items()}
        if isinstance(kwargs.get("target"), list):
            single["target"] = kwargs["target"][i]
        alone = StochasticGates(model).attribute(**single)
        check_close(alone, tuple(a[i : i + 1] for a in as_tuple(attributions)))


@shapes
def test_shape_call_sizes_change_nothing(name):
    model, kwargs = shape(name)
    stg = StochasticGates(model)
    whole = stg.attribute(**kwargs)
    for n in (1, 2, 3, 100):
        check_close(stg.attribute(**kwargs, perturbations_per_eval=n), whole)
    check_close(stg.attribute(**kwargs, internal_batch_size=1), whole)


@shapes
def test_shape_gives_one_column_per_feature(name):
    """`return_input_shape=False`: the columns of an example hold its features, smallest id first."""
    model, kwargs = shape(name)
    inputs = as_tuple(kwargs["inputs"])
    laid_out = as_tuple(StochasticGates(model).attribute(**kwargs))
    columns = StochasticGates(model).attribute(**kwargs, return_input_shape=False)
    ids = reference.ids_by_element(kwargs.get("feature_mask"), inputs)
    for example in range(len(inputs[0])):
        values = {}
        for a, part in zip(laid_out, ids, strict=True):
            values |= dict(zip(part[example].flatten().tolist(), a[example].flatten().tolist(), strict=True))
        expected = [values[i] for i in reference.gated_ids(ids, example)]
        assert columns[example, : len(expected)].tolist() == pytest.approx(expected)
        assert columns[example, len(expected) :].tolist() == [0.0] * (columns.shape[1] - len(expected))


@pytest.mark.parametrize(
    "name", ["simple", "mask", "several examples", "mask per example", "two inputs, masks"]
)
def test_shape_order_is_that_of_the_effects(name):
    """Here the score is a sum of the inputs, so ablating one feature measures what it is worth."""
    model, kwargs = shape(name, n_steps=20)
    del kwargs["n_steps"]
    effects = as_tuple(FeatureAblation(model).attribute(**kwargs))
    found = as_tuple(StochasticGates(model).attribute(**kwargs, n_steps=20))
    for example in range(len(effects[0])):
        effect = torch.cat([e[example].flatten() for e in effects])
        value = torch.cat([a[example].flatten() for a in found])
        more = effect[:, None] > effect
        assert bool((value[:, None] > value)[more].all())


def test_elements_that_are_not_gated_are_shown_and_get_nothing():
    stg = StochasticGates(lambda x: x.prod(1))  # 0 if the last one is hidden
    found = stg.attribute(torch.tensor([[2.0, 3.0, 5.0]]), feature_mask=torch.tensor([[0, 1, -1]]), n_steps=8)
    assert found[0, 2] == 0
    assert bool((found[0, :2] > 0.5).all())


@pytest.mark.parametrize("shared", [True, False])
def test_one_id_in_two_inputs_is_one_feature(shared):
    masks = (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 2]]) + (0 if shared else 3))
    stg = StochasticGates(BasicModel_MultiLayer_MultiInput())
    first, second = stg.attribute(
        INPUTS[:2], feature_mask=masks, target=0, additional_forward_args=(INPUTS[2], 1), n_steps=4
    )
    assert torch.equal(first, second) == shared


# ---------------------------------------------------------------- outputs


def test_no_target_explains_each_examples_predicted_class():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    stg, x = StochasticGates(lambda x: x @ weights), torch.tensor([[1.0, 5.0, 2.0], [7.0, 5.0, 2.0]])
    own = stg.attribute(x, n_steps=4)
    assert torch.equal(own, stg.attribute(x, target=[1, 0], n_steps=4))
    assert (own > 0.5).tolist() == [[False, True, False], [True, False, False]]


def test_no_target_for_deeper_outputs_is_an_error_that_names_it():
    stg = StochasticGates(BasicModel_MultiLayer())
    with pytest.raises(ArgumentError, match=r"target: expected a tuple of 3 indices.*found None"):
        stg.attribute(TWO, additional_forward_args=(None, True))


def test_negative_targets_count_from_the_end():
    stg, x = StochasticGates(lambda x: x), torch.tensor([[1.0, -5.0, 2.0]])
    for target in range(3):
        found = stg.attribute(x, target=target - 3, n_steps=3)
        assert torch.equal(found, stg.attribute(x, target=target, n_steps=3))
        assert int(found.argmax()) == target


def total(x):
    return BasicModel_MultiLayer()(x).sum()


@pytest.mark.parametrize("perturbations_per_eval", [None, 1])
def test_one_number_per_call_explains_a_single_example(perturbations_per_eval):
    counted = Counted(total)
    mask = torch.tensor([[0, 0, 1]])
    kwargs = {"feature_mask": mask, "n_steps": 3, "perturbations_per_eval": perturbations_per_eval}
    found = StochasticGates(counted).attribute(ONE, **kwargs)
    check_structure(found, ONE)
    assert set(counted.rows) == {1}
    by_row = StochasticGates(lambda x: BasicModel_MultiLayer()(x).sum(1)).attribute(ONE, **kwargs)
    check_close(found, by_row)


def test_one_number_per_call_explains_a_batch_one_by_one():
    found = StochasticGates(total).attribute(TWO, internal_batch_size=1, n_steps=3)
    alone = [StochasticGates(total).attribute(x[None], n_steps=3) for x in TWO]
    check_close(found, torch.cat(alone))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (total, r"one row for each of 2 input rows; found shape \(\)"),
        (lambda x: total(x).reshape(1), r"one row for each of 2 input rows; found shape \(1,\)"),
        (lambda x: torch.stack([x.sum(), x.max(), x.min()]), r"2 input rows; found shape \(3,\)"),
        (lambda x: float(total(x)), r"2 input rows; found shape \(\).*internal_batch_size=1"),
        (lambda x: int(total(x)), r"2 input rows; found shape \(\).*internal_batch_size=1"),
    ],
)
def test_one_number_for_a_batch_is_an_error(forward, message):
    with pytest.raises(ArgumentError, match=message):
        StochasticGates(forward).attribute(TWO)


def test_one_number_per_call_takes_one_sample_per_call():
    with pytest.raises(ArgumentError, match=r"perturbations_per_eval: expected 1.*found 2"):
        StochasticGates(total).attribute(ONE, perturbations_per_eval=2)


# ---------------------------------------------------------------- inputs that need another estimator


@pytest.mark.parametrize(
    ("model", "inputs", "kwargs"),
    [
        (BasicModelBoolInput(), torch.tensor([[True, False, True]]), {"target": 0}),
        (BasicModelBoolInput(), torch.tensor([[True, False, True]]), {"target": 0, "baselines": True}),
        (BasicModel(), torch.tensor([[-3, 1, 2]]), {"target": 0}),
        (multi(), (TWO.long(), TWO), {"additional_forward_args": (TWO, 1), "baselines": (0.5, 1.5)}),
        (BasicEmbeddingModel(nested_second_embedding=True), (TWO.long() % 30, TWO.long() % 30), {}),
    ],
)
def test_integers_and_flags_name_the_estimator_for_them(model, inputs, kwargs):
    with pytest.raises(ArgumentError, match=r"expected floating-point inputs.*ScoreFunction"):
        StochasticGates(model).attribute(inputs, **kwargs)


def test_sparse_ids_of_another_length_are_not_examples():
    inputs = (TWO, torch.tensor([1.0, 7, 2, 4, 5, 3, 6]))
    with pytest.raises(ArgumentError, match=r"same number of examples.*\[2, 7\].*additional_forward_args"):
        StochasticGates(BasicModelWithSparseInputs()).attribute(inputs)


def test_a_future_is_not_a_tensor():
    with pytest.raises(ArgumentError, match=r"real numbers as output.*found Future"):
        StochasticGates(BasicModel_MultiLayer_with_Future()).attribute(TWO, target=0)


# ---------------------------------------------------------------- what captum's wrappers rely on


def test_captum_finds_what_it_asks_an_attribution_for():
    stg = StochasticGates(BasicModel_MultiLayer())
    assert stg.get_name() == "Stochastic Gates"
    assert stg.multiplies_by_inputs is True
    assert stg.has_convergence_delta() is False
    assert StochasticGates.attribute.__wrapped__.__name__ == "attribute"  # NoiseTunnel looks for it
    with pytest.raises(NotImplementedError, match="call attribute"):
        stg.attribute_future(TWO)


TUNNEL = {"nt_samples": 3, "stdevs": 0.0, "n_steps": 4}


@pytest.mark.parametrize(
    "name",
    [
        "mask",
        "mask per example",
        "three inputs, masks",
        "baseline per example",
        "one tuple",
        "list of tuples",
        "arguments of several types",
    ],
)
def test_noise_tunnel_passes_every_argument_on(name):
    model, kwargs = shape(name)
    stg = StochasticGates(model)
    check_close(NoiseTunnel(stg).attribute(**{**kwargs, **TUNNEL}), stg.attribute(**kwargs))


@pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])
@pytest.mark.parametrize("nt_samples_batch_size", [None, 1, 2])
def test_noise_tunnel_of_every_type(nt_type, nt_samples_batch_size):
    stg = StochasticGates(BasicModel_MultiLayer())
    plain = stg.attribute(TWO, target=0, n_steps=4)
    found = NoiseTunnel(stg).attribute(
        TWO, nt_type, nt_samples_batch_size=nt_samples_batch_size, target=0, **TUNNEL
    )
    expected = {"smoothgrad": plain, "smoothgrad_sq": plain**2, "vargrad": torch.zeros_like(plain)}
    check_close(found, expected[nt_type])


def test_noise_tunnel_averages_over_its_noise():
    noisy = []

    class Recorded(StochasticGates):
        @log_usage()
        def attribute(self, inputs, **kwargs):
            noisy.append(inputs[0] if isinstance(inputs, tuple) else inputs)
            return super().attribute(inputs, **kwargs)

    stg, x = Recorded(BasicModel_MultiLayer()), torch.tensor([[1.0, -1.5, 2.0], [3.0, 0.5, -1.0]])
    torch.manual_seed(0)
    found = NoiseTunnel(stg).attribute(x, nt_samples=4, stdevs=2.0, target=0, n_steps=4)
    check_structure(found, x)
    assert len(torch.cat(noisy).unique(dim=0)) == 8
    each = StochasticGates(BasicModel_MultiLayer()).attribute(torch.cat(noisy), target=0, n_steps=4)
    check_close(found, each.reshape(2, 4, 3).mean(1))


@pytest.mark.parametrize(
    "name",
    [
        "simple",
        "several examples",
        "three inputs",
        "image and added image",
        "one tuple",
        "one row as baseline",
    ],
)
@pytest.mark.parametrize("one_by_one", [False, True])
def test_sensitivity_of_the_same_input_is_zero(name, one_by_one):
    """The noise is a function of the seed, so only the input can change an explanation."""
    model, kwargs = shape(name)
    inputs = kwargs.pop("inputs")
    batch = len(as_tuple(inputs)[0])
    found = sensitivity_max(
        StochasticGates(model).attribute,
        inputs,
        perturb_func=lambda x, _: x,
        perturb_radius=0.0,
        n_perturb_samples=3,
        max_examples_per_batch=batch if one_by_one else None,
        **kwargs,
    )
    assert found.shape == (batch,)
    assert bool((found < 1e-4).all())


def test_sensitivity_to_a_small_change_is_positive_and_finite():
    stg = StochasticGates(BasicModel_MultiLayer())
    torch.manual_seed(0)
    found = sensitivity_max(stg.attribute, TWO, perturb_radius=0.5, n_perturb_samples=4, target=0, n_steps=4)
    assert found.shape == (2,)
    assert bool((found > 0).all())
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", ["several examples", "three inputs", "one tuple", "image and added image"])
def test_infidelity_takes_the_attributions(name, normalize):
    model, kwargs = shape(name)
    inputs = kwargs["inputs"]
    attributions = StochasticGates(model).attribute(**kwargs)
    torch.manual_seed(0)

    def perturb(given, _baselines=None):
        noise = tuple(torch.randn_like(x) for x in as_tuple(given))
        noise = noise if isinstance(given, tuple) else noise[0]
        changed = tuple(x - n for x, n in zip(as_tuple(given), as_tuple(noise), strict=True))
        return noise, changed if isinstance(given, tuple) else changed[0]

    found = infidelity(
        model,
        perturb,
        inputs,
        attributions,
        additional_forward_args=kwargs.get("additional_forward_args"),
        target=kwargs["target"],
        n_perturb_samples=5,
        normalize=normalize,
    )
    assert found.shape == (len(as_tuple(inputs)[0]),)
    assert bool((found > 0).all())  # a NaN fails this


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter(mode):
    stg = StochasticGates(lambda x, per_row, per_column: ((x * per_row) ** 2 * per_column).sum(1))

    def found():
        inputs, baselines, per_row, per_column = TWO + 0, TWO.flip(0), TWO + 1, TWO[0] + 2
        return stg.attribute(inputs, baselines, additional_forward_args=(per_row, per_column), n_steps=3)

    expected = found()
    with mode():
        assert torch.equal(found(), expected)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"perturbations_per_eval": 1},
        {"perturbations_per_eval": 3},
        {"internal_batch_size": 1},
        {"feature_mask": torch.tensor([[0, 0, 1]])},
    ],
)
def test_progress_reaches_the_end(kwargs, capsys):
    stg = StochasticGates(BasicModel_MultiLayer())
    stg.attribute(TWO, target=0, n_steps=3, **kwargs)
    assert capsys.readouterr().err == ""
    stg.attribute(TWO, target=0, n_steps=3, show_progress=True, **kwargs)
    assert "Stochastic Gates attribution: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    "parts",
    [
        {"objective": Delete()},
        {"sparsity": FixedWeight()},
        {"gates": Gaussian()},
        {"gates": BinaryConcrete(temperature=0.5)},
        {"device": "cpu"},
    ],
    ids=str,
)
def test_every_part_keeps_the_structure_and_the_rows(parts):
    stg = StochasticGates(BasicModel_MultiLayer(), **parts)
    found = stg.attribute(TWO, target=[0, 1], n_steps=4)
    check_structure(found, TWO)
    check_close(stg.attribute(TWO[1:], target=1, n_steps=4), found[1:])


def test_a_tensor_argument_goes_with_its_examples_whatever_the_batch_size():
    """A tensor of two rows is no argument of four examples, also where two are solved together."""
    weights = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    x = torch.arange(12.0).reshape(4, 3) + 1
    shapes = set()

    def forward(x, weights, per_example):
        shapes.add((tuple(weights.shape), len(per_example) == len(x)))
        return (x @ weights.T).sum(1) * per_example

    for size in (None, 1, 2, 3):
        StochasticGates(forward).attribute(
            x, additional_forward_args=(weights, torch.ones(4)), internal_batch_size=size, n_steps=2
        )
    assert shapes == {((2, 3), True)}
