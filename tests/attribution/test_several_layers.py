"""Several layers at once: beside one layer of all their activations, and beside the truth."""

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
    with pytest.raises(
        ArgumentError, match=r"2 that run 2 times, of which one is given what came of another"
    ):
        LayerStochasticGates(net, [net.city, net.head[0]]).attribute((IDS, X), target=0)
    for wrong in ([], [net.city, net.city], [net.city, 3]):
        with pytest.raises(ArgumentError, match=r"layer: expected a module.*or a list of different ones"):
            LayerStochasticGates(net, wrong)
    assert not net.city._forward_hooks


def test_masks_go_with_the_layers(net):
    with pytest.raises(
        ArgumentError, match=r"feature_mask: expected one mask per activation of the layer, 2"
    ):
        LayerStochasticGates(net, [net.city, net.numbers]).attribute(
            (IDS, X), target=0, feature_mask=torch.arange(3)[None]
        )
