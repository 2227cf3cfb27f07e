"""Gates over an inner activation: the same answers as gates over an input, wherever the layer is."""

import collections
import copy
import dataclasses

import pytest
import torch
from torch import nn

from stg_attr import (
    ArgumentError,
    Explanation,
    FixedWeight,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ReferenceSet,
    ScoreFunction,
    StochasticGates,
    column_mask,
    grid_mask,
    position_mask,
)
from tests.models import seeded

VOCABULARY, WIDTH, LENGTH = 12, 6, 5
PAD = 0


class Tagger(nn.Module):
    """Token ids and their attention mask to 3 classes; every part is a layer that can be gated."""

    def __init__(self, seed=0):
        super().__init__()
        with seeded(seed):
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            self.mixing = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)
            self.head = nn.Linear(WIDTH, 3)
        self.rows = 0
        self.eval()

    def forward(self, ids, attention=None):
        self.rows += len(ids)
        hidden = self.embedding(ids)
        if attention is not None:
            hidden = hidden * attention.unsqueeze(2)
        return self.head(self.relu(self.mixing(hidden.transpose(1, 2))).mean(2))


IDS = torch.tensor([[3, 7, 1, 4, 9], [2, 2, 8, 5, 0], [11, 6, 10, 3, 0]])
ATTENTION = (IDS != PAD).float()


def check_same(found, expected, atol=0.0):
    found, expected = (v if isinstance(v, tuple) else (v,) for v in (found, expected))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


# ---------------------------------------------------------------- where gates act is only a place


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("mask", [None, "columns"])
def test_gates_on_the_first_layer_are_gates_on_the_input(at_input, mask):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    first = nn.Identity()
    net = nn.Sequential(first, nn.Flatten(), nn.Linear(20, 2)).eval()
    groups = position_mask(x) if mask is None else column_mask(x)
    expected = StochasticGates(net).attribute(x, feature_mask=groups)
    found = LayerStochasticGates(net, first).attribute(
        x, feature_mask=None if mask is None else groups, attribute_to_layer_input=at_input
    )
    check_same(found, expected)


def test_the_input_of_a_layer_is_the_output_of_the_one_before():
    net = Tagger()
    output = LayerStochasticGates(net, net.embedding).attribute(IDS, feature_mask=torch.arange(5)[None])
    mask = torch.arange(5).reshape(1, 1, 5)  # the convolution is given [batch, width, positions]
    given = LayerStochasticGates(net, net.mixing).attribute(
        IDS, feature_mask=mask, attribute_to_layer_input=True
    )
    check_same(given.transpose(1, 2), output)


def test_every_part_of_the_method_reaches_the_layer():
    settings = {"objective": Preserve(OutputMatch()), "sparsity": FixedWeight(0.02)}
    net = Tagger()
    tail = nn.Sequential(Transposed(), net.mixing, net.relu, MeanOverTime(), net.head)
    expected = StochasticGates(tail, **settings).attribute(
        net.embedding(IDS).detach(), 0.5, 2, None, position_mask(torch.empty(1, 5, WIDTH)), 7, 6, seed=3
    )
    found = LayerStochasticGates(net, net.embedding, **settings).attribute(
        IDS, None, 2, None, None, 7, 6, seed=3, layer_baselines=0.5
    )
    check_same(found, expected)


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class MeanOverTime(nn.Module):
    def forward(self, x):
        return x.mean(2)


@pytest.mark.parametrize("explain", [False, True])
def test_one_gate_per_token_and_the_width_shares_it(explain, untouched):
    net = Tagger()
    stg = LayerStochasticGates(net, net.embedding)
    with untouched(net, IDS):
        found = stg.explain(IDS).attributions if explain else stg.attribute(IDS)
    assert found.shape == (3, LENGTH, WIDTH)
    assert bool((found == found[..., :1]).all())
    assert stg.attribute(IDS, return_input_shape=False).shape == (3, LENGTH)


def test_gates_of_maps_are_smoothed_as_those_of_images_are():
    torch.manual_seed(0)
    first = nn.Identity()
    net = nn.Sequential(first, nn.Flatten(), nn.Linear(36, 2)).eval()
    images = torch.rand(2, 1, 6, 6)
    mask = grid_mask(images, 2)
    same = {"feature_mask": mask, "start": 0}  # the layer's own output is no map that comes after it
    found = [LayerStochasticGates(net, first, smoothness=s).attribute(images, **same) for s in (0, 3)]
    check_same(found[0], StochasticGates(net, smoothness=0).attribute(images, **same))
    check_same(found[1], StochasticGates(net, smoothness=3).attribute(images, **same))
    assert not torch.equal(*found)


def test_maps_share_a_gate_over_channels_and_units_have_their_own():
    torch.manual_seed(0)
    convolution, relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()
    net = nn.Sequential(convolution, relu, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    images = torch.rand(2, 1, 6, 6)
    maps = LayerStochasticGates(net, convolution).attribute(images)
    assert maps.shape == (2, 4, 6, 6)
    assert bool((maps == maps[:, :1]).all())
    assert LayerStochasticGates(net, net[3]).attribute(images, return_input_shape=False).shape == (2, 4)


class Planted(nn.Module):
    """The score is the sum of the values of two tokens, 8 and 9; the others are worth nothing."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(VOCABULARY, WIDTH, generator=torch.manual_seed(0)))
            self.embedding.weight[:, 0] = 0
            self.embedding.weight[8:10, 0] = torch.tensor([1.0, 2.0])

    def forward(self, ids):
        return self.embedding(ids)[..., 0].sum(1)


def test_planted_tokens_are_selected_and_no_others():
    net = Planted()
    ids = torch.tensor([[1, 8, 2, 3, 9], [9, 4, 8, 8, 5], [9, 6, 7, 1, 2]])
    selected = LayerStochasticGates(net, net.embedding).explain(ids).selected
    assert torch.equal(selected, ids >= 8)


# ---------------------------------------------------------------- baselines


def test_baseline_inputs_are_their_activation():
    net = Tagger()
    stg = LayerStochasticGates(net, net.embedding)
    expected = stg.explain(IDS, layer_baselines=net.embedding.weight[PAD].expand(1, LENGTH, -1).detach())
    for pad in (PAD, torch.full((1, LENGTH), PAD), torch.full_like(IDS, PAD), lambda ids: ids * 0 + PAD):
        found = stg.explain(IDS, baselines=pad)
        check_same(found.attributions, expected.attributions)
        check_same(found.scores.baseline, expected.scores.baseline)
    assert not torch.equal(expected.attributions, stg.attribute(IDS))


def test_reference_rows_of_token_ids_are_drawn_from():
    net = Tagger()
    stg = LayerStochasticGates(net, net.embedding)
    rows = torch.randint(1, VOCABULARY, (4, LENGTH), generator=torch.Generator().manual_seed(2))
    found = stg.explain(IDS, baselines=ReferenceSet(rows))
    shown = net.embedding(rows).detach().unsqueeze(1).expand(-1, len(IDS), -1, -1)
    check_same(found.attributions, stg.attribute(IDS, layer_baselines=lambda _: shown))
    scores = torch.stack([net(rows)[:, c].mean() for c in found.target.squeeze(1)])
    torch.testing.assert_close(found.scores.baseline, scores)


def test_none_keeps_a_second_input_as_it_is():
    net = Tagger()
    relu = copy.deepcopy(net)
    relu.relu.inplace = False  # its input is then what the convolution returned
    both = LayerStochasticGates(relu, relu.mixing).explain((IDS, ATTENTION), baselines=(PAD, None))
    alone = LayerStochasticGates(relu, relu.mixing).explain(
        IDS, baselines=PAD, additional_forward_args=ATTENTION
    )
    check_same(both.attributions, alone.attributions)
    torch.testing.assert_close(
        both.scores.baseline,
        relu(torch.full_like(IDS, PAD), ATTENTION).gather(1, both.target).squeeze(1).detach(),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baselines": 0, "layer_baselines": 0}, "either baselines, which are inputs, or layer_baselines"),
        ({"baselines": torch.zeros(2, 3, 5)}, "baseline of input 0: expected shape"),
        ({"layer_baselines": torch.zeros(1, 2, WIDTH)}, "baseline of input 0: expected one example of shape"),
        (
            {"feature_mask": torch.zeros(1, 4).long()},
            "feature_mask of input 0: expected a shape that broadcasts",
        ),
        (
            {"feature_mask": (torch.zeros(1, 5).long(),) * 2},
            r"one mask per activation of the layer, 1, of shapes \[\(3, 5, 6\)\]; found 2",
        ),
        ({"target": 3}, "target: expected indices into outputs of shape"),
        ({"inputs": [IDS]}, "inputs: expected a tensor, a tuple"),
        ({"n_steps": 0}, "n_steps: expected a whole number"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message, untouched):
    net = Tagger()
    with untouched(net, IDS), pytest.raises(ArgumentError, match=message):
        LayerStochasticGates(net, net.embedding).attribute(**{"inputs": IDS, **arguments})


def test_a_single_baseline_for_two_inputs():
    net = Tagger()
    with pytest.raises(ArgumentError, match=r"baselines: .*tuple.*2 inputs"):
        LayerStochasticGates(net, net.embedding).attribute((IDS, ATTENTION), baselines=0)


# ---------------------------------------------------------------- examples are independent


def test_an_example_alone_is_the_same_in_a_batch_and_in_shards():
    net = Tagger()
    stg = LayerStochasticGates(net, net.embedding)
    mask = torch.tensor([[0, 0, 1, 2, 3], [5, 4, 4, 4, -1], [0, 1, 2, 3, -1]])
    asked = {"additional_forward_args": ATTENTION, "baselines": torch.full_like(IDS, 1), "feature_mask": mask}
    together = stg.attribute(IDS, **asked)
    check_same(stg.attribute(IDS, internal_batch_size=2, **asked), together, 1e-4)
    for i in range(len(IDS)):
        alone = stg.attribute(IDS[i : i + 1], **{name: value[i : i + 1] for name, value in asked.items()})
        check_same(alone, together[i : i + 1], 1e-4)


def test_the_rows_that_the_model_is_run_on_are_counted():
    for asked, batch_size in (({}, None), ({"baselines": PAD}, 2), ({"perturbations_per_eval": 3}, None)):
        net = Tagger()
        found = LayerStochasticGates(net, net.embedding).explain(IDS, internal_batch_size=batch_size, **asked)
        assert int(found.n_evaluations.sum()) == net.rows


@pytest.mark.parametrize("baselines", [None, PAD])
def test_a_budget_of_evaluations_includes_those_that_read_the_activation(baselines):
    net = Tagger()
    stg = LayerStochasticGates(net, net.embedding)
    stg.attribute(IDS, baselines, max_evals=60)
    assert 40 * len(IDS) < net.rows <= 60 * len(IDS)
    with pytest.raises(ArgumentError, match="max_evals: expected"):
        stg.attribute(IDS, baselines, max_evals=1)


def test_activations_are_gated_without_gradients_and_asked_again():
    net = Planted()
    ids = torch.tensor([[1, 8, 2, 3, 9], [9, 4, 8, 8, 5]])
    with torch.no_grad():
        stg = LayerStochasticGates(lambda ids: net(ids).tolist(), net.embedding, estimator=ScoreFunction())
        found = stg.explain(ids, n_restarts=2)
    assert torch.equal(found.selected, ids >= 8)
    assert found.restarts is not None
    assert torch.equal(found.minimal().selected, ids >= 8)


def test_a_step_runs_the_model_once_for_all_its_samples():
    net, calls = Tagger(), []
    stg = LayerStochasticGates(lambda ids: calls.append(len(ids)) or net(ids), net.embedding)
    stg.attribute(IDS, n_steps=4, n_samples=16)
    assert calls.count(len(IDS) * 16 * 2) == 4  # two views: what is kept and what is removed


def test_an_explanation_is_saved_loaded_and_read_again(tmp_path):
    net = Tagger()
    found = LayerStochasticGates(net, net.embedding).explain(IDS)
    found.save(tmp_path / "e.safetensors")
    loaded = Explanation.load(tmp_path / "e.safetensors")
    check_same(loaded.attributions, found.attributions)
    check_same(loaded.inputs, net.embedding(IDS).detach())
    assert loaded.at(budget=0.2).n_selected.tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter(mode):
    net = Tagger()
    expected = LayerStochasticGates(net, net.embedding).attribute(IDS)
    with mode():
        found = LayerStochasticGates(net, net.embedding).attribute(IDS.clone())
    check_same(found, expected)
    assert not found.requires_grad


def test_progress_names_the_method(capsys):
    net = Tagger()
    LayerStochasticGates(net, net.embedding).attribute(IDS, n_steps=2, show_progress=True)
    assert "Layer Stochastic Gates attribution: 100%" in capsys.readouterr().err


# ---------------------------------------------------------------- what layers return


Pair = collections.namedtuple("Pair", "first second")


@dataclasses.dataclass
class Record:
    hidden: torch.Tensor
    ids: torch.Tensor


class Output(collections.OrderedDict):
    """As transformers' ModelOutput: a mapping with attributes."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


def _output(a, ids):
    output = Output()
    output["hidden"], output["ids"] = a, ids
    return output


PACKINGS = {
    "tuple": (lambda a, ids: (a, ids, None), lambda out: out[0]),
    "list": (lambda a, ids: [ids, a], lambda out: out[1]),
    "dict": (lambda a, ids: {"ids": ids, "hidden": a, "size": 3}, lambda out: out["hidden"]),
    "named tuple": (lambda a, ids: Pair(ids, a), lambda out: out.second),
    "dataclass": (lambda a, ids: Record(a, ids), lambda out: out.hidden),
    "mapping with attributes": (_output, lambda out: out.hidden),
    "nested": (lambda a, ids: ({"states": [a]}, (ids,)), lambda out: out[0]["states"][0]),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_a_layer_may_wrap_what_it_returns(name):
    pack, unpack = PACKINGS[name]
    net = Tagger()

    class Packed(nn.Module):
        def forward(self, ids):
            return pack(net.embedding(ids), ids)

    packed = Packed()

    def forward(ids):
        return net.head(unpack(packed(ids)).mean(1))

    def plain(ids):
        return net.head(net.embedding(ids).mean(1))

    check_same(
        LayerStochasticGates(forward, packed).attribute(IDS),
        LayerStochasticGates(plain, net.embedding).attribute(IDS),
    )


class TwoBranches(nn.Module):
    def forward(self, x):
        return x, 2 * x, x.sum(1)


def test_tensors_of_as_many_dimensions_as_the_first_are_gated_together():
    branches = TwoBranches()

    def forward(x):
        return (lambda a, b, c: a[:, 0] + b[:, 2])(*branches(x))[:, 0]

    x = torch.rand(3, 4, 2) + 1
    found = LayerStochasticGates(forward, branches).explain(x)
    assert [a.shape for a in found.attributions] == [(3, 4, 2), (3, 4, 2)]
    assert found.feature_ids[0].tolist() == list(range(8))
    assert not found.selected[:, [1, 2, 3, 4, 5, 7]].any()
    assert found.selected[:, 6].all()


def test_a_layer_may_be_called_with_keyword_arguments():
    net = Tagger()

    class Scaling(nn.Module):
        def forward(self, ids, *, hidden):
            return hidden * 2

    scaling = Scaling()

    def forward(ids):
        return net.head(scaling(ids, hidden=net.embedding(ids)).mean(1))

    found = LayerStochasticGates(forward, scaling).attribute(IDS, attribute_to_layer_input=True)
    check_same(found, LayerStochasticGates(forward, net.embedding).attribute(IDS))


class Squared(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        return x.square_() if self.inplace else x.square()


def test_models_that_work_in_place_change_nothing_of_what_is_blended():
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6), nn.Linear(6, 2)
    x = torch.randn(3, 4)
    results = []
    for inplace in (False, True):
        net = nn.Sequential(first, Squared(inplace), last).eval()
        on_input = nn.Sequential(Squared(inplace), first).eval()
        results.append(
            (LayerStochasticGates(net, first).attribute(x), StochasticGates(on_input).attribute(x))
        )
    check_same(*results)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_activations_of_other_precisions(dtype):
    net = Planted().to(dtype)
    ids = torch.tensor([[1, 8, 2, 3, 9], [9, 4, 8, 8, 5]])
    found = LayerStochasticGates(net, net.embedding).explain(ids)
    assert torch.equal(found.selected, ids >= 8)
    assert found.inputs[0].dtype == dtype
    assert found.attributions.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


# ---------------------------------------------------------------- layers that cannot be gated


class Recurrent(Tagger):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.eval()

    def forward(self, ids):
        return self.head(self.recurrent(self.embedding(ids))[1][0][-1])


@pytest.mark.parametrize(
    ("make", "name", "kwargs", "message"),
    [
        (Tagger, None, {}, r"a module that the model runs, as layer.*found one that does not run"),
        (
            Tagger,
            "embedding",
            {"attribute_to_layer_input": True},
            r"floating-point.*torch.int64.*Leave attribute_to_layer_input out",
        ),
        (Recurrent, "recurrent", {}, "found LSTM, whose last state has seen.*attribute_to_layer_input=True"),
    ],
    ids=["never", "integers", "recurrent"],
)
def test_layers_that_cannot_be_gated(make, name, kwargs, message, untouched):
    net = make()
    layer = nn.Linear(2, 2) if name is None else getattr(net, name)
    with untouched(net, IDS), pytest.raises(ArgumentError, match=message):
        LayerStochasticGates(net, layer).attribute(IDS, **kwargs)


def test_recurrent_layers_are_gated_at_their_input():
    net = Recurrent()
    found = LayerStochasticGates(net, net.recurrent).attribute(IDS, attribute_to_layer_input=True)
    check_same(found, LayerStochasticGates(net, net.embedding).attribute(IDS))


@pytest.mark.parametrize("layer", ["embedding", [nn.Linear(2, 2), "embedding"], None], ids=str)
def test_a_layer_is_a_module(layer):
    with pytest.raises(ArgumentError, match=r"layer: .*scripted.*; found"):
        LayerStochasticGates(Tagger(), layer)


def test_the_parts_are_checked_when_the_object_is_made():
    net = Tagger()
    with pytest.raises(ArgumentError, match="objective: expected an instance"):
        LayerStochasticGates(net, net.embedding, objective=Preserve)
    with pytest.raises(NotImplementedError, match="call attribute"):
        LayerStochasticGates(net, net.embedding).attribute_future(IDS)


# ---------------------------------------------------------------- nothing stays behind


class Failing(Tagger):
    """Fails at its n-th call, after the layer has run."""

    def __init__(self, n, error):
        super().__init__()
        self.n, self.error, self.calls = n, error, 0

    def forward(self, ids):
        scores = super().forward(ids)
        self.calls += 1
        if self.calls == self.n:
            raise self.error
        return scores


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("at_input", [False, True])
def test_hooks_are_removed_after_an_error(n, at_input, untouched):
    net = Failing(n, RuntimeError("the model's own"))
    with untouched(net, IDS), pytest.raises(RuntimeError, match="the model's own"):
        LayerStochasticGates(net, net.mixing).attribute(IDS, 1, attribute_to_layer_input=at_input)


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_hooks_are_removed_after_an_interruption_which_returns_what_was_learned(untouched):
    net = Failing(6, KeyboardInterrupt())
    with untouched(net, IDS):
        found = LayerStochasticGates(net, net.embedding).explain(IDS)
    assert {status.name for status in found.status} == {"INTERRUPTED"}


@pytest.mark.filterwarnings("ignore:The model is in training mode")
def test_reading_a_layer_leaves_the_buffers_of_a_model_in_training_mode():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)).train()
    before = {name: value.clone() for name, value in net.named_buffers()}
    LayerStochasticGates(net, net[0]).attribute(torch.randn(8, 4), target=0, n_steps=1, n_samples=2)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())


def test_hooks_of_the_caller_stay_and_see_the_blended_activation(untouched):
    net, seen = Tagger(), []
    handle = net.mixing.register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    with untouched(net, IDS):
        LayerStochasticGates(net, net.embedding).attribute(IDS, n_steps=1)
    assert len(seen) > 2
    handle.remove()
