"""Patches of a vision transformer: a closed gate in the attention mask is a token that is dropped."""

import pytest
import torch
from torch import nn

from stg_attr import LayerStochasticGates, StochasticGates


class VisionTransformer(nn.Module):
    """Random weights; tokens are those of 4 x 4 patches, after one of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(1, 16, 2, stride=2)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.place = nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)
        self.eval()

    def tokens(self, images):
        tokens = self.embed(images).flatten(2).mT
        return torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1) + self.place

    def forward(self, shown, images):
        mask = nn.functional.pad(shown, (1, 0), value=1.0).clamp_min(1e-6).log()
        return self.head(self.encoder(self.tokens(images), src_key_padding_mask=mask)[:, 0])

    def dropped(self, shown, images):
        """With the tokens of hidden patches left out; bool [patches], for one image."""
        kept = torch.cat([torch.tensor([True]), shown])
        return self.head(self.encoder(self.tokens(images)[:, kept])[:, 0])


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def explained():
    net = VisionTransformer()
    return net, StochasticGates(net).explain(torch.ones(2, 16), target=1, additional_forward_args=IMAGES)


def test_the_scores_of_an_explanation_are_those_of_dropped_tokens(explained):
    net, found = explained
    for i, selected in enumerate(found.selected):
        image = IMAGES[i : i + 1]
        assert found.scores.kept[i].item() == pytest.approx(
            net.dropped(selected, image)[0, 1].item(), abs=1e-4
        )
        removed = net.dropped(~selected, image)[0, 1].item()
        assert found.scores.removed[i].item() == pytest.approx(removed, abs=1e-4)


def test_what_is_kept_suffices_and_is_not_everything(explained):
    _, found = explained
    assert (found.selected.sum(1) < 16).all()
    share = (found.scores.kept - found.scores.baseline) / (found.scores.full - found.scores.baseline)
    assert (share >= 0.9).all()


def test_gates_on_the_embedding_are_one_for_each_patch():
    net = VisionTransformer()
    stg = LayerStochasticGates(lambda images: net(torch.ones(len(images), 16), images), net.embed)
    found = stg.explain(IMAGES, target=1)
    assert found.selected.shape == (2, 16)
    with torch.no_grad():
        embedded = net.embed(IMAGES) * found.selected.reshape(2, 1, 4, 4)
        tokens = torch.cat([net.first.expand(2, -1, -1), embedded.flatten(2).mT], 1) + net.place
        expected = net.head(net.encoder(tokens)[:, 0])[:, 1]
    torch.testing.assert_close(found.scores.kept, expected, check_dtype=False, rtol=0, atol=1e-4)
