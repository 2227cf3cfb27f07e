"""Inputs as models have them: several, of any kind and rank, named, missing, and outputs of any shape."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from stg_attr import (
    ArgumentError,
    Hybrid,
    LayerStochasticGates,
    NamedInputs,
    OutputMatch,
    Preserve,
    Reparameterized,
    ScoreFunction,
    StochasticGates,
    position_mask,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(3, 1, 4, 4, generator=GENERATOR) + 0.5
TABLE = torch.rand(3, 5, generator=GENERATOR) + 0.5
CODES = torch.tensor([[1, 2], [0, 3], [2, 2]])
FLAGS = torch.tensor([True, False, True])


def mixed(image, table, codes, flags, factor=1.0):
    """An image, columns, categories and one flag per example: the flag doubles what the first column says."""
    doubled = torch.where(flags, 2.0, 1.0)
    return factor * (image[:, 0, 0, 0] + doubled * table[:, 0] + (codes[:, 1] > 1) * table[:, 1])


def masks(image=0, table=True):
    """The image one group, columns one each, categories and flag never gated."""
    columns = torch.arange(1, 6)[None] if table else torch.full((1, 5), -1)
    return torch.full((1, 1, 1, 1), image), columns, torch.full((1, 2), -1), torch.tensor([-1])


@pytest.mark.parametrize("objective", [Hybrid(), Preserve(OutputMatch())], ids=str)
@pytest.mark.parametrize("mask", [(1, 3, 6, 1), (1, 1, 1, 4), (1, 3, 1, 1), (1, 1, 6, 1)], ids=str)
def test_a_model_that_views_its_input_is_given_rows_in_order(mask, objective):
    """`Tensor.view` refuses a permuted layout, which torch chooses when it blends one example."""
    x = torch.rand(2, 3, 6, 4, generator=torch.Generator().manual_seed(1)) + 0.5
    weight = torch.rand(72, generator=torch.Generator().manual_seed(2))
    stg = StochasticGates(lambda x: x.view(len(x), -1) @ weight, objective=objective)
    feature_mask = torch.arange(math.prod(mask)).reshape(mask)
    alone = stg.explain(x[:1], feature_mask=feature_mask)
    expected = (x[0].flatten() * weight).reshape(3, 6, 4)
    reduced = tuple(i for i, n in enumerate(mask[1:]) if n == 1)
    expected = expected.sum(reduced).flatten() if reduced else expected.flatten()
    torch.testing.assert_close(alone.contributions[0], expected)


# ---------------------------------------------------------------- several inputs


def test_inputs_of_four_dtypes_and_three_ranks():
    table = TABLE.double()
    found = StochasticGates(mixed).explain((IMAGE, table, CODES, FLAGS), feature_mask=masks())
    assert [a.shape for a in found.attributions] == [IMAGE.shape, TABLE.shape, CODES.shape, FLAGS.shape]
    assert found.attributions[1].dtype == torch.float64
    uses = torch.tensor([[True, True, c > 1, False, False, False] for c in CODES[:, 1]])
    assert not bool((found.selected & ~uses).any())
    assert bool(found.selected[:, 1].all())
    assert not bool(found.attributions[2].any())
    assert not bool(found.attributions[3].any())


@pytest.mark.parametrize(("which", "mask"), [(2, [[-1, 7]]), (3, [7])])
def test_integers_and_flags_that_are_gated_need_another_estimator(which, mask):
    given = list(masks())
    given[which] = torch.tensor(mask)
    with pytest.raises(ArgumentError, match=r"inputs: expected floating-point.*feature_mask of -1"):
        StochasticGates(mixed).attribute((IMAGE, TABLE, CODES, FLAGS), feature_mask=tuple(given))


def test_a_group_may_span_inputs_of_different_rank_and_dtype():
    joint = (torch.zeros(1, 1, 4, 4).long(), torch.tensor([[0, 1, 2, 2, 2]]), *masks()[2:])
    found = StochasticGates(mixed).explain((IMAGE, TABLE.double(), CODES, FLAGS), feature_mask=joint)
    assert found.feature_ids.tolist() == [[0, 1, 2]] * 3
    assert bool((found.attributions[0].flatten(1) == found.attributions[1][:, :1].float()).all())
    assert bool(found.selected[:, 0].all())
    assert not bool(found.selected[:, 2].any())


def test_an_input_that_is_never_gated_is_an_additional_argument():
    closed = StochasticGates(mixed).attribute((IMAGE, TABLE, CODES, FLAGS), feature_mask=masks(table=False))
    outside = StochasticGates(lambda i, *rest: mixed(i, *rest)).attribute(
        IMAGE, additional_forward_args=(TABLE, CODES, FLAGS), feature_mask=masks()[0]
    )
    assert torch.equal(closed[0], outside)
    assert [bool(a.any()) for a in closed[1:]] == [False] * 3


def test_never_gated_inputs_alone_leave_nothing():
    with pytest.raises(ArgumentError, match="feature_mask: expected at least one element"):
        StochasticGates(lambda codes: codes.float()).attribute(CODES, feature_mask=torch.tensor([[-1, -1]]))


# ---------------------------------------------------------------- None among the inputs


def optional(a, b, c):
    assert b is None
    return a[:, 0] + 2 * c[:, 1]


@pytest.mark.parametrize("given", ["nothing else", "masks and baselines"])
def test_none_among_the_inputs_is_passed_on(given):
    extra, without = {}, {}
    if given != "nothing else":
        mask, baseline = torch.tensor([[0, 1, 1, 2, 3]]), torch.full((1, 5), 0.1)
        extra = {"feature_mask": (mask, None, mask + 4), "baselines": (baseline, None, None)}
        without = {"feature_mask": (mask, mask + 4), "baselines": (baseline, None)}
    found = StochasticGates(optional).attribute((TABLE, None, TABLE), **extra)
    assert found[1] is None
    expected = StochasticGates(lambda a, c: optional(a, None, c)).attribute((TABLE, TABLE), **without)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[2], expected[1])
    explained = StochasticGates(optional).explain((TABLE, None, TABLE), **extra)
    assert [a.shape for a in explained.attributions] == [TABLE.shape] * 2
    assert all(torch.equal(a, b) for a, b in zip(explained.attributions, expected, strict=True))


def test_none_in_the_place_of_a_leading_input():
    found = StochasticGates(lambda a, b: b.sum(1) if a is None else a).attribute((None, TABLE))
    assert found[0] is None
    assert found[1].shape == TABLE.shape


def test_layers_take_none_among_the_inputs_too():
    embedding = nn.Embedding(4, 3)
    forward = lambda ids, nothing, scale: embedding(ids).sum((1, 2)) * scale if nothing is None else None  # noqa: E731
    found = LayerStochasticGates(forward, embedding).attribute(
        (CODES, None, TABLE[:, 0]), baselines=(0, None, None)
    )
    assert found.shape == (3, 2, 3)


@pytest.mark.parametrize("inputs", [None, (None,), (None, None)])
def test_nothing_but_none_is_refused(inputs):
    with pytest.raises(ArgumentError, match=r"inputs: expected a tensor, .*tuple.*table"):
        StochasticGates(optional).attribute(inputs)


# ---------------------------------------------------------------- inputs by name


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)
        self.eval()

    def forward(self, *, table, scale):
        return {"logits": self.linear(table) * scale[:, None], "table": table}


@dataclasses.dataclass
class Row:
    table: torch.Tensor
    scale: torch.Tensor


def as_dict(model):
    return lambda row: model(table=row["table"], scale=row["scale"])


def as_row(model):
    return lambda row: model(table=row.table, scale=row.scale)


@pytest.mark.parametrize(("wrap", "pack"), [(lambda m: m, None), (as_dict, dict), (as_row, Row)])
def test_keywords_dicts_and_dataclasses(wrap, pack, untouched):
    model, scale = Named(), torch.tensor([1.0, 2.0, 3.0])
    forward = NamedInputs(wrap(model), ["table", "scale"], pack=pack)
    with untouched(model, TABLE, scale):
        found = StochasticGates(forward).attribute((TABLE, scale), target=1)
    expected = StochasticGates(lambda t, s: model.linear(t) * s[:, None]).attribute((TABLE, scale), target=1)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    by_argument = StochasticGates(forward).attribute(TABLE, target=1, additional_forward_args=scale)
    assert by_argument.shape == TABLE.shape


def test_a_score_gets_what_comes_after_the_names():
    model, which = Named(), torch.tensor([0, 1, 1])
    forward = NamedInputs(
        model,
        ["table", "scale"],
        score=lambda output, column: output["logits"].gather(1, column[:, None]).squeeze(1),
    )
    ones = torch.ones(3)
    found = StochasticGates(forward).attribute(TABLE, additional_forward_args=(ones, which))
    assert torch.equal(found, StochasticGates(model.linear).attribute(TABLE, target=which))


def test_a_named_model_is_found_in_training_mode():
    model = nn.Sequential(nn.Linear(5, 2), nn.Dropout())
    forward = NamedInputs(lambda input: model(input), ["input"])
    forward.model = model  # an nn.Module, whose flags count
    with pytest.warns(UserWarning, match="training mode"):
        StochasticGates(forward).attribute(TABLE)


@pytest.mark.parametrize(
    ("values", "score", "message"),
    [
        ((TABLE,), None, r"inputs: expected one for each name in \['table', 'scale'\]; found 1 arguments"),
        ((TABLE, TABLE[:, 0], 3), None, "found 3 arguments.*after the names need a score"),
        ((TABLE, TABLE[:, 0]), lambda output: output, "forward_func: expected a tensor of real numbers"),
    ],
)
def test_named_inputs_that_cannot_be_used(values, score, message):
    forward = NamedInputs(Named(), ["table", "scale"], score=score)
    with pytest.raises(ArgumentError, match=message):
        StochasticGates(forward).attribute(values[0], additional_forward_args=values[1:])


def test_an_output_without_logits_is_named():
    with pytest.raises(ArgumentError, match=r"has logits; found \['start', 'end'\]\. .*score="):
        NamedInputs(lambda *, x: {"start": x, "end": x}, ["x"])(TABLE)


# ---------------------------------------------------------------- outputs of any shape


class Segmenter(nn.Module):
    """The class of a pixel is decided by that pixel, and by the one to its right."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, (1, 2), bias=False)
        nn.init.constant_(self.convolution.weight, 1.0)
        self.eval()

    def forward(self, image):
        return self.convolution(nn.functional.pad(image, (0, 1)))  # [batch, classes, height, width]


def test_one_pixel_of_a_segmentation_by_a_target_tuple():
    found = StochasticGates(Segmenter()).explain(IMAGE, target=(1, 2, 1))
    assert found.target.tolist() == [[1, 2, 1]] * 3
    assert found.influence.nonzero()[:, 1].tolist() == [9, 10] * 3
    each = StochasticGates(Segmenter()).explain(IMAGE, target=[(1, 2, 1), (0, 0, 0), (1, 3, 3)])
    assert [row.nonzero().flatten().tolist() for row in each.influence] == [[9, 10], [0, 1], [15]]


def test_a_region_of_a_segmentation_by_a_score():
    net, region = Segmenter(), torch.zeros(4, 4)
    region[1, :2] = 1
    found = StochasticGates(lambda image: (net(image)[:, 0] * region).sum((1, 2))).explain(IMAGE)
    assert [row.nonzero().flatten().tolist() for row in found.influence] == [[4, 5, 6]] * 3


def test_several_outputs_of_a_regression():
    weight = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 2.0, 0, 0]])
    regress = lambda x: x @ weight.T  # noqa: E731
    for output, column in ((0, 0), (1, 2)):
        found = StochasticGates(regress, objective=Preserve(OutputMatch())).explain(TABLE, target=output)
        assert found.selected.nonzero()[:, 1].tolist() == [column] * 3
    total = StochasticGates(lambda x: regress(x).sum(1)).explain(TABLE, n_steps=24)
    assert bool(total.selected[:, 2].all())
    assert not bool(total.selected[:, [1, 3, 4]].any())


def test_time_series_of_several_channels():
    x = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(4)) + 0.5
    forward = lambda x: x[:, 5, 1] + 2 * x[:, 12, 0]  # noqa: E731
    found = StochasticGates(forward).explain(x)
    expected = torch.zeros(20, 3, dtype=torch.bool)
    expected[5, 1] = expected[12, 0] = True
    assert torch.equal(found.influence.reshape(2, 20, 3) > 0, expected.expand(2, -1, -1))
    steps = StochasticGates(forward).explain(x, feature_mask=position_mask(x))
    assert sorted(set(steps.selected.nonzero()[:, 1].tolist())) == [5, 12]


# ---------------------------------------------------------------- graphs


def test_edges_and_node_features_of_a_graph():
    geometric = pytest.importorskip("torch_geometric", reason="torch_geometric is not installed")
    torch.manual_seed(0)
    convolution = geometric.nn.GCNConv(2, 2, add_self_loops=False, normalize=False, bias=False)
    nn.init.eye_(convolution.lin.weight)
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])  # a ring: 2 hears 1, which hears 0
    features = torch.rand(5, 2) + 0.5

    def second_node(nodes, weights):
        """Rows of graphs as one graph: [rows, nodes, features] and [rows, edges] -> [rows, classes]."""
        rows, n = nodes.shape[:2]
        apart = (edges[:, None] + n * torch.arange(rows)[:, None]).flatten(1)
        hidden = convolution(nodes.flatten(0, 1), apart, weights.flatten())
        return convolution(hidden, apart, weights.flatten()).reshape(rows, n, 2)[:, 2]

    found = StochasticGates(second_node).explain(
        (features[None], torch.ones(1, 5)),
        target=0,
        feature_mask=(torch.arange(5).reshape(1, 5, 1), torch.arange(5, 10)[None]),
    )
    nodes, kept = found.influence[0, :5] > 0, found.influence[0, 5:] > 0
    assert nodes.nonzero().flatten().tolist() == [0]
    assert kept.nonzero().flatten().tolist() == [0, 1]
    assert not bool(found.selected[0, [1, 2, 3, 4, 7, 8, 9]].any())


@pytest.mark.parametrize("names", [["a", "a"], None, [1], []], ids=str)
def test_names_of_arguments_are_different_strings(names):
    with pytest.raises(ArgumentError, match=r"names: expected different names"):
        NamedInputs(lambda **named: named["a"], names)


# ---------------------------------------------------------------- models that take gradients themselves


class Force(nn.Module):
    """The slope of an energy, as models of molecules return it; it asks for gradients inside."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Linear(4, 4)

    def forward(self, place):
        place = place if place.requires_grad else place.detach().requires_grad_(True)
        energy = torch.tanh(self.energy(place)).square().sum()
        return torch.autograd.grad(energy, place, create_graph=True)[0]


@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=str)
def test_a_model_that_differentiates_inside_is_explained(estimator):
    torch.manual_seed(0)
    model, place = Force(), torch.randn(2, 4)
    found = StochasticGates(model, estimator=estimator).explain(place, target=0)
    kept = model(torch.where(found.selected, place, 0.0))[:, 0].detach()
    torch.testing.assert_close(found.scores.kept, kept)
    assert not found.contributions.requires_grad
    assert [p.grad for p in model.parameters()] == [None, None]


def test_a_layer_that_takes_its_width_from_the_first_input():
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(2))
    x = torch.randn(3, 8)
    found = StochasticGates(model).explain(x, target=0)
    torch.testing.assert_close(found.scores.full, model(x)[:, 0].detach())
