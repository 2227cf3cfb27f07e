"""Small explanations of every kind of input, really solved."""

import pytest
import torch
from torch import nn

from stg_attr import StochasticGates

HOSTILE = '<img src=x onerror="harm()"></script><script>harm()</script>%%style%%&$x$\ud83d'


@pytest.fixture(scope="session")
def hostile():
    return HOSTILE


@pytest.fixture(scope="session")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)).eval()


@pytest.fixture(scope="session")
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def blocks():
    """Sixteen blocks; the ids have gaps."""
    cell = torch.arange(16) // 4
    return (10 * cell[:, None] + cell)[None, None]


@pytest.fixture(scope="session")
def image(net, images, blocks):
    return StochasticGates(net).explain(images, feature_mask=blocks, target=1)


@pytest.fixture(scope="session")
def table():
    weight = torch.tensor([3.0, -2.0, 0.0, 1.0, 0.5, 0.0])
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    return StochasticGates(lambda x: x @ weight).explain(rows)


@pytest.fixture(scope="session")
def tokens():
    return ["[CLS]", "an", "un", "##believ", "##able", "film", HOSTILE, "[SEP]"]


@pytest.fixture(scope="session")
def text():
    embedded = torch.rand(2, 8, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([-1, 0, 1, 2, 3, 4, 5, -1])[None, :, None]
    return StochasticGates(lambda x: x[:, 4].sum(1) + 0.5 * x[:, 6].sum(1)).explain(
        embedded, feature_mask=mask
    )


@pytest.fixture(scope="session")
def series():
    wave = torch.sin(torch.arange(80.0) / 5).expand(1, 3, 80).contiguous()
    spans = (torch.arange(80) // 8)[None] + 10 * torch.arange(3)[:, None]
    return StochasticGates(lambda x: x[:, 1, 20:40].square().sum(1)).explain(wave, feature_mask=spans[None])
