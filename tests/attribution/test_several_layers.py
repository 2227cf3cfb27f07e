"""Several layers at once: beside one layer of all their activations, and beside the truth."""

from itertools import product

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import nn

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates


class Mixed(nn.Module):
    """A net of two embedded columns and three numbers, of which each part can be a layer."""

    def __init__(self):
        super().__init__()
        self.city, self.job = nn.Embedding(5, 3), nn.Embedding(4, 3)
        self.numbers = nn.Identity()
        self.head = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, ids, x):
        parts = [self.job(ids[:, 1]), self.city(ids[:, 0]), self.numbers(x)]  # in another order than the list
        return self.head(torch.cat(parts, 1))


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Mixed().eval()


IDS = torch.tensor([[1, 2], [4, 0], [2, 3]])
X = torch.tensor([[1.0, -1.0, 0.5], [0.3, 2.0, -1.0], [-1.0, 0.5, 2.0]])
MASKS = (torch.zeros(1, 3).long(), torch.ones(1, 3).long(), torch.tensor([[2, 3, 4]]))


def test_the_numbers_are_those_of_one_function_of_all_activations(net):
    layers = [net.city, net.job, net.numbers]
    found = LayerStochasticGates(net, layers).explain((IDS, X), target=0, feature_mask=MASKS)

    def by_hand(city, job, numbers):
        return net.head(torch.cat([job, city, numbers], 1))

    inputs = (net.city(IDS[:, 0]).detach(), net.job(IDS[:, 1]).detach(), X)
    expected = StochasticGates(by_hand).explain(inputs, target=0, feature_mask=MASKS)
    for one, other in zip(found.attributions, expected.attributions, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(found.selected, expected.selected)
    assert [part.shape for part in found.attributions] == [(3, 3)] * 3


def test_the_attributions_are_in_the_order_of_captums_list(net):
    layers = [net.city, net.numbers]
    ours = LayerStochasticGates(net, layers).attribute((IDS, X), target=0)
    with pytest.warns(UserWarning, match="Multiple layers provided"):
        captum = LayerIntegratedGradients(net, layers)
    theirs = captum.attribute((IDS, X), (IDS * 0, X * 0), target=0)
    assert [part.shape for part in ours] == [part.shape for part in theirs]
    turned = LayerStochasticGates(net, layers[::-1]).explain((IDS, X), target=0)
    torch.testing.assert_close(turned.inputs[0], X)


def test_baselines_are_inputs_of_all_layers(net):
    found = LayerStochasticGates(net, [net.city, net.job]).explain(
        (IDS, X), baselines=(IDS * 0, None), target=0, feature_mask=MASKS[:2]
    )
    torch.testing.assert_close(found.scores.baseline, net(IDS * 0, X)[:, 0].detach())
    torch.testing.assert_close(found.scores.full, net(IDS, X)[:, 0].detach())


def test_layers_of_different_shapes_share_an_explanation():
    """Words [batch, positions, width] and maps [batch, channels, height, width]: who decides is known."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.maps = nn.Embedding.from_pretrained(torch.eye(6)), nn.Conv2d(1, 2, 1, bias=False)
            nn.init.ones_(self.maps.weight)

        def forward(self, ids, image):
            return self.words(ids)[..., 3].sum(1) * 2 + self.maps(image)[:, :, 1, 1].sum(1)

    model, image = Two(), torch.ones(2, 1, 3, 3)
    ids = torch.tensor([[0, 3, 1, 2], [3, 1, 0, 2]])
    found = LayerStochasticGates(model, [model.words, model.maps]).explain((ids, image))
    words, maps = (part > 0.5 for part in found.attributions)
    assert words.any(2).tolist() == [[False, True, False, False], [True, False, False, False]]
    assert maps.any(1).nonzero().tolist() == [[0, 1, 1], [1, 1, 1]]
    assert found.feature_ids.shape == (2, 4 + 9)


class Shared(nn.Module):
    """One embedding and encoder of two texts, and numbers that say how they are compared."""

    def __init__(self):
        super().__init__()
        self.words, self.context = nn.Embedding(12, 4), nn.Linear(2, 3)
        self.encoder, self.weights = (
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)),
            nn.Linear(3, 5),
        )

    def forward(self, one, other, numbers):
        return self.compared(self.context(numbers), self.words(one), self.words(other))

    def compared(self, context, one, other):
        product = self.encoder(one).mean(1) * self.encoder(other).mean(1)
        return 3 * (product * (1 + self.weights(context))).sum(1)


def _columns():
    net = Mixed()
    masks = (torch.tensor([[0, 0, 1]]), torch.tensor([[2, 3, 3]]), torch.tensor([[2, 4, 5]]))

    def by_hand(city, job, numbers):
        return net.head(torch.cat([job, city, numbers], 1))[:, 1]

    layers = [net.city, net.job, net.numbers]
    return net, layers, (IDS, X), masks, by_hand, {"target": 1, "baselines": (IDS[:1] * 0, None)}


def _texts():
    net = Shared()
    inputs = torch.randint(12, (3, 3)), torch.randint(12, (3, 4)), torch.randn(3, 2)
    masks = (torch.tensor([[0, 0, 0]]), torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6, 7]]))
    return net, [net.context, net.words], inputs, masks, net.compared, {}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [_columns, _texts], ids=["columns that share features", "two texts"])
def test_the_selected_features_are_the_smallest_set_by_brute_force(make, seed):
    """All subsets of the features of several layers, mixed by hand."""
    torch.manual_seed(seed)
    model, layers, inputs, masks, by_hand, asked = make()
    found = LayerStochasticGates(model, layers).explain(inputs, feature_mask=masks, **asked)
    sets = torch.tensor(list(product([False, True], repeat=found.selected.shape[1])))
    scores = []
    for shown in sets:
        mixed = []
        for mask, h, b in zip(masks, found.inputs, found.baselines, strict=True):
            kept = shown[mask]
            mixed.append(torch.where(kept if kept.dim() == h.dim() else kept.unsqueeze(-1), h, b))
        scores.append(by_hand(*mixed).detach())
    known = torch.stack(scores)  # [sets, batch]
    measured = found.score_of(sets.unsqueeze(1).expand(-1, 3, -1))
    torch.testing.assert_close(measured, known, rtol=1e-5, atol=1e-5)
    share = (known - known[0]) / (known[-1] - known[0])
    smallest = torch.where(share >= 0.9, sets.sum(1, keepdim=True), sets.shape[1]).amin(0)
    assert found.n_selected.tolist() == smallest.tolist()


def test_inputs_of_layers_and_layers_that_run_twice(net):
    at_input = LayerStochasticGates(net, [net.head[0], net.numbers])
    with pytest.raises(ArgumentError, match="one is given what came of another"):
        at_input.attribute((IDS, X), target=0, attribute_to_layer_input=True)

    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(2, 2), nn.Linear(3, 2)

        def forward(self, a, b, c):
            return (self.one(a) + self.other(c) * self.one(b)).sum(1)

    model = Twins()
    given = (torch.randn(4, 2), torch.randn(4, 2), torch.randn(4, 3))
    parts = LayerStochasticGates(model, [model.other, model.one]).explain(given).inputs
    expected = (model.other(given[2]), model.one(given[0]), model.one(given[1]))
    for part, other in zip(parts, expected, strict=True):
        torch.testing.assert_close(part, other.detach())


def test_layers_that_cannot_be_gated_together_are_refused(net):
    unused = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match=r"one that does not run"):
        LayerStochasticGates(net, [net.city, unused]).attribute((IDS, X), target=0)
    with pytest.raises(ArgumentError, match=r"layer: .*2 that run 2 times"):
        LayerStochasticGates(net, [net.city, net.head[0]]).attribute((IDS, X), target=0)
    positions = nn.Embedding(9, 3)

    def with_positions(ids):
        return (net.city(ids) + positions(torch.arange(ids.shape[1])[None])).sum((1, 2))

    shared = r"found layer\[1\], which is the same for all examples: \[\(1, 2, 3\)\].*Leave it out"
    with pytest.raises(ArgumentError, match=shared):
        LayerStochasticGates(with_positions, [net.city, positions]).attribute(IDS[:, [0, 0]])
    for wrong in ([], [net.city, net.city], [net.city, 3]):
        with pytest.raises(ArgumentError, match=r"layer: expected a module.*or a list of different ones"):
            LayerStochasticGates(net, wrong)
    assert not net.city._forward_hooks


def test_masks_go_with_the_layers(net):
    with pytest.raises(ArgumentError, match=r"feature_mask: .*one mask per activation.*2"):
        LayerStochasticGates(net, [net.city, net.numbers]).attribute(
            (IDS, X), target=0, feature_mask=torch.arange(3)[None]
        )
