"""Closed components beside hooks written by hand, and a model that is left as it was."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from stg_attr import ArgumentError, Explanation
from stg_attr.components import (
    ComponentStochasticGates,
    MeanActivation,
    Site,
    channel_sites,
    head_sites,
    mlp_sites,
    named_sites,
)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Net(nn.Module):
    """Two hidden layers, of which the second is given what the first returns."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.two(torch.tanh(self.one(x)))))


NET = seeded(Net).double()
X, OTHER = drawn(5, 3), drawn(5, 3, seed=1)
SITES = named_sites(NET, "one", "two", n_parts=4)
SETS = torch.rand(7, 5, 8, generator=torch.Generator().manual_seed(2)) > 0.5


def by_hand(keep, shown_one, shown_two):
    """The net with the closed units of both layers replaced."""
    one = torch.where(keep[:, :4], NET.one(X), shown_one)
    two = torch.where(keep[:, 4:], NET.two(torch.tanh(one)), shown_two)
    return NET.out(torch.tanh(two))[:, 0]


def activations(x):
    return NET.one(x), NET.two(torch.tanh(NET.one(x)))


@pytest.mark.parametrize(
    ("baselines", "shown"),
    [
        (None, (torch.zeros(4).double(), torch.zeros(4).double())),
        (OTHER, activations(OTHER)),
        (OTHER[:1], activations(OTHER[:1])),
        (MeanActivation(OTHER[:3]), [a.mean(0) for a in activations(OTHER[:3])]),
    ],
)
def test_closed_units_show_what_hooks_by_hand_show(baselines, shown):
    """Zero, another input, one input for all and a mean; each in a run in which both layers are gated."""
    found = ComponentStochasticGates(NET, SITES).explain(X, baselines, target=0)
    assert found.feature_names == tuple(f"{name}[{i}]" for name in ("one", "two") for i in range(4))
    expected = torch.stack([by_hand(keep, *shown) for keep in SETS])
    torch.testing.assert_close(found.score_of(SETS), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.scores.kept, by_hand(found.selected, *shown), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.scores.full, NET(X)[:, 0].detach(), rtol=0, atol=1e-12)


def attention(block, x, keep):
    """`nn.MultiheadAttention` as the formula says it, with some of its heads."""
    query, key, value = linear(x, block.in_proj_weight, block.in_proj_bias).chunk(3, -1)
    n, length, width = x.shape
    q, k, v = (t.reshape(n, length, block.num_heads, -1).transpose(1, 2) for t in (query, key, value))
    heads = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1) @ v
    heads = heads * keep[:, :, None, None]
    return block.out_proj(heads.transpose(1, 2).reshape(n, length, width))


def encoder(x, model, keep):
    """`nn.TransformerEncoder` of one layer as the formula says it."""
    layer = model.layers[0]
    x = layer.norm1(x + attention(layer.self_attn, x, keep[:, :4]))
    block = layer.linear2(torch.relu(layer.linear1(x))) * keep[:, 4:, None]
    return layer.norm2(x + block)


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_of_an_encoder_of_torch(batch_first):
    """Its fused path would skip the gates; its batch may be in the second dimension."""
    layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=batch_first)
    model = seeded(lambda: nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)).double()
    x = drawn(3, 5, 8)

    def forward(x):
        return model(x).mean(1) if batch_first else model(x.transpose(0, 1)).mean(0)

    stg = ComponentStochasticGates(forward, [*head_sites(model), *mlp_sites(model)])
    sets = torch.rand(6, 3, 5, generator=torch.Generator().manual_seed(2)) > 0.5
    found = stg.explain(x, target=1)
    expected = torch.stack([encoder(x, model, keep.double()).mean(1)[:, 1] for keep in sets])
    torch.testing.assert_close(found.score_of(sets), expected, rtol=0, atol=1e-12)
    assert found.feature_names[3:] == ("layers.0.self_attn[3]", "layers.0.linear2")
    assert torch.backends.mha.get_fastpath_enabled()


def test_channels_of_a_convolution():
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    ).double()
    x, other = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4, seed=1)
    found = ComponentStochasticGates(net, channel_sites(net)).explain(x, other, target=1)
    sets = torch.tensor([[True, False, True], [False, False, True], [False, True, False]])
    maps = torch.where(sets[:, :, None, None], net[0](x), net[0](other))
    torch.testing.assert_close(found.score_of(sets), net[1:](maps)[:, 1], rtol=0, atol=1e-12)


def test_channels_of_images_that_belong_to_an_example_together():
    """Two images of each example: the channels are the second dimension of what the convolution returns."""
    conv = seeded(lambda: nn.Conv2d(1, 4, 3)).double()

    def forward(x):  # [batch, 2, 1, 4, 4]
        return torch.tanh(conv(x.flatten(0, 1))).unflatten(0, (-1, 2)).sum((1, 2, 3, 4))

    x, other = drawn(3, 2, 1, 4, 4), drawn(3, 2, 1, 4, 4, seed=1)
    found = ComponentStochasticGates(forward, channel_sites(conv)).explain(x, other)
    keep = torch.tensor([True, False, False, True])
    maps = torch.where(keep[:, None, None], conv(x.flatten(0, 1)), conv(other.flatten(0, 1)))
    expected = torch.tanh(maps).unflatten(0, (-1, 2)).sum((1, 2, 3, 4))
    torch.testing.assert_close(found.score_of(keep.expand(3, 4)), expected, rtol=0, atol=1e-12)


class Twice(nn.Module):
    """A block that runs twice, as the shared layers of ALBERT do."""

    def __init__(self):
        super().__init__()
        self.block, self.out = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.block(torch.tanh(self.block(x)))))[:, 0]


def test_a_block_that_runs_twice_has_one_gate_for_both_runs():
    net = seeded(Twice).double()
    found = ComponentStochasticGates(net, named_sites(net, "block", n_parts=3)).explain(X, OTHER)
    keep = torch.tensor([True, False, True])
    shown_one = net.block(OTHER)
    shown_two = net.block(torch.tanh(shown_one))
    one = torch.where(keep, net.block(X), shown_one)
    two = torch.where(keep, net.block(torch.tanh(one)), shown_two)
    expected = net.out(torch.tanh(two))[:, 0]
    torch.testing.assert_close(found.score_of(keep.expand(5, 3)), expected, rtol=0, atol=1e-12)


def test_rows_that_belong_to_an_example_together():
    """A layer that is given one row for each word and example, as a flattened batch is."""
    inner = seeded(lambda: nn.Linear(3, 4)).double()

    def forward(x):  # [batch, 2, 3]
        return torch.tanh(inner(x.flatten(0, 1))).unflatten(0, (-1, 2)).sum((1, 2))

    x, other = drawn(4, 2, 3), drawn(4, 2, 3, seed=1)
    found = ComponentStochasticGates(forward, [Site("inner", inner, 4)]).explain(x, other)
    keep = torch.tensor([True, False, False, True])
    expected = torch.tanh(torch.where(keep, inner(x), inner(other))).sum((1, 2))
    torch.testing.assert_close(found.score_of(keep.expand(4, 4)), expected, rtol=0, atol=1e-12)


def test_a_model_that_fails_keeps_no_hooks_and_its_fused_path():
    net = seeded(Net).double()
    layer = seeded(lambda: nn.TransformerEncoderLayer(8, 4, 16, batch_first=True)).double()
    calls = []

    def forward(x):
        calls.append(len(x))
        if len(calls) > 4:
            raise RuntimeError("no more")
        return net(x)

    with pytest.raises(RuntimeError, match="no more"):
        ComponentStochasticGates(forward, named_sites(net, "one", n_parts=4)).explain(X, OTHER, target=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in [*net.modules(), *layer.modules()])
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_example_alone_is_explained_as_in_a_batch():
    stg = ComponentStochasticGates(NET, SITES)
    whole, alone = stg.explain(X, OTHER, target=0), stg.explain(X[2:3], OTHER[2:3], target=0)
    torch.testing.assert_close(whole.active_probabilities[2:3], alone.active_probabilities)
    torch.testing.assert_close(stg.attribute(X, OTHER, target=0), whole.active_probabilities)


def test_evaluations_count_what_closed_components_took_to_read():
    rows = []

    def forward(x):
        rows.append(len(x))
        return NET(x)

    found = ComponentStochasticGates(forward, SITES).explain(X, OTHER, target=0, max_evals=200)
    assert int(found.n_evaluations.max()) <= 200
    assert sum(rows) <= int(found.n_evaluations.sum())


def test_an_open_unit_passes_the_activation_of_the_gated_run():
    """An open unit of the second layer passes what closed units of the first have made of it."""
    found = ComponentStochasticGates(NET, SITES).explain(X, OTHER, target=0)
    first_closed = torch.tensor([False] * 4 + [True] * 4).expand(5, 8)
    stored = NET.out(torch.tanh(NET.two(torch.tanh(NET.one(X)))))[:, 0].detach()
    score = found.score_of(first_closed)
    torch.testing.assert_close(score, NET(OTHER)[:, 0].detach(), rtol=0, atol=1e-12)
    assert float((score - stored).abs().min()) > 1e-3


@pytest.mark.parametrize(
    ("sites", "match"),
    [
        ([], "at least one"),
        ([NET.one], "list of sites"),
        ([Site("a", NET.one), Site("a", NET.two)], "one name"),
        ([Site("a", NET.one), Site("b", NET.one, 2)], "one place"),
    ],
)
def test_sites_that_cannot_be_used(sites, match):
    with pytest.raises(ArgumentError, match=match):
        ComponentStochasticGates(NET, sites)


@pytest.mark.parametrize(
    ("sites", "match"),
    [
        (named_sites(NET, "one", n_parts=3), "3 parts divide"),
        (named_sites(NET, "one", n_parts=5, dim=0), "dimension after that of the examples"),
        ([Site("other", nn.Linear(3, 3))], "does not run"),
    ],
)
def test_sites_that_the_model_does_not_have(sites, match):
    with pytest.raises(ArgumentError, match=match):
        ComponentStochasticGates(NET, sites).explain(X, target=0)


@pytest.mark.parametrize(
    ("baselines", "match"),
    [
        (OTHER[:2], "counterfactual inputs of shapes"),
        ((OTHER, OTHER), "one for each input"),
        (0.0, "counterfactual inputs of shapes"),
        (MeanActivation(drawn(4, 2)), "rows as the inputs are"),
    ],
)
def test_counterfactuals_that_do_not_fit(baselines, match):
    with pytest.raises(ArgumentError, match=match):
        ComponentStochasticGates(NET, SITES).explain(X, baselines, target=0)


def test_a_module_that_runs_once_for_each_row_is_refused():
    inner = seeded(lambda: nn.Linear(3, 2)).double()

    def forward(x):
        return torch.cat([inner(row.unsqueeze(0)) for row in x])

    with pytest.raises(ArgumentError, match="equally often"):
        ComponentStochasticGates(forward, [Site("inner", inner)]).explain(X, target=0)


def test_sets_and_files_are_those_of_features(tmp_path):
    """Every set is scored by hand: a minimal one suffices and can spare none, further ones suffice."""
    found = ComponentStochasticGates(lambda x: NET(x)[:, 0], SITES).explain(X, baselines=OTHER)
    one, two = activations(OTHER)
    scores = found.score_of(found.selected)
    torch.testing.assert_close(scores, by_hand(found.selected, one, two).detach(), rtol=0, atol=1e-12)
    full, base = found.scores.full, found.scores.baseline

    def share(selected):
        return ((by_hand(selected, one, two).detach() - base) / (full - base)).double()

    minimal = found.minimal(0.9)
    assert bool((share(minimal.selected) >= 0.9).all())
    for gate in range(8):
        fewer = minimal.selected.clone()
        fewer[:, gate] = False
        assert bool(((share(fewer) < 0.9) | ~minimal.selected[:, gate]).all())
    sets = found.sufficient_sets(0.9).selected  # [sets, batch, gates]; rows without a further set are empty
    for selected in sets:
        assert bool(((share(selected) >= 0.9) | ~selected.any(1)).all())
    found.save(tmp_path / "components.safetensors")
    again = Explanation.load(tmp_path / "components.safetensors")
    assert torch.equal(again.selected, found.selected)
    assert again.feature_names == found.feature_names
