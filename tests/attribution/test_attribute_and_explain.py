"""`attribute` and `explain` give the same attributions, so that what is certified is what was returned."""

import pytest
import torch

from stg_attr import Hybrid, LayerStochasticGates, OutputMatch, Preserve, ScoreFunction, StochasticGates
from tests.models import mlp

N = 24
ROWS = torch.randn(6, N, generator=torch.Generator().manual_seed(0))
REFERENCES = torch.randn(60, N, generator=torch.Generator().manual_seed(1))
WAYS = {
    "by score": {"objective": Hybrid()},
    "by match": {"objective": Preserve(OutputMatch())},
    "by score, forwards": {"estimator": ScoreFunction()},
    "by match, forwards": {"objective": Preserve(OutputMatch()), "estimator": ScoreFunction()},
}


@pytest.mark.parametrize("baselines", [None, REFERENCES], ids=["zero", "rows"])
@pytest.mark.parametrize("way", WAYS)
def test_attribute_gives_the_attributions_of_explain(way, baselines):
    stg = StochasticGates(mlp(N, 32, 3), **WAYS[way])
    explanation = stg.explain(ROWS, baselines, target=1)
    assert torch.equal(stg.attribute(ROWS, baselines, target=1), explanation.attributions)


def test_attribute_of_a_layer_gives_the_attributions_of_explain():
    net = mlp(N, 32, 3)
    stg = LayerStochasticGates(net, net[1], objective=Preserve(OutputMatch()))
    assert torch.equal(stg.attribute(ROWS, target=1), stg.explain(ROWS, target=1).attributions)
