"""One set of components for many inputs, beside all subsets of a planted net."""

import itertools

import torch
from torch import nn

from stg_attr.components import ComponentStochasticGates, named_sites


class Planted(nn.Module):
    """A hidden layer of 8 units, of which the output needs two; the others add noise to nothing."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 8), nn.Linear(8, 1, bias=False)
        nn.init.eye_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([[0.0, 2.0, 0.0, 0.0, 0.02, 1.0, 0.0, -0.02]]))

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))[:, 0]


def test_the_set_is_the_smallest_that_keeps_the_mean():
    net = Planted().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 8, generator=generator) + 0.5
    found = ComponentStochasticGates(net, named_sites(net, "hidden", n_parts=8)).explain_shared(x)
    closed, full = torch.zeros(8), net(x).mean()
    sufficient = []
    for bits in itertools.product([False, True], repeat=8):
        keep = torch.tensor(bits)
        kept = net.out(torch.relu(torch.where(keep, net.hidden(x), closed)))[:, 0].mean()
        if float(kept.detach() / full.detach()) >= 0.9:
            sufficient.append(keep)
    least = min(int(keep.sum()) for keep in sufficient)
    assert found.selected.sum() == least == 2
    assert any(torch.equal(found.selected[0], keep) for keep in sufficient)
    assert [n for n, s in zip(found.feature_names, found.selected[0], strict=True) if s] == [
        "hidden[1]",
        "hidden[5]",
    ]
    assert bool(found.certificate.holds)
    torch.testing.assert_close(found.scores.full[0], full.detach(), rtol=0.05, atol=0)


def test_counterfactuals_go_with_their_inputs():
    net = Planted().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 8, generator=generator) + 0.5
    other = x.clone()
    other[:, 1] = 0  # every other unit of the pair is the same
    found = ComponentStochasticGates(net, named_sites(net, "hidden", n_parts=8)).explain_shared(x, other)
    assert found.selected[0].nonzero().flatten().tolist() == [1]
