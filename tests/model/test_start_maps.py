"""Start: a solve begins with a map, of which only the shape counts, and keeps to what it may cost."""

import pytest
import torch

from stg_attr import ArgumentError, LayerStochasticGates, Preserve, StochasticGates, grid_mask
from stg_attr.gates import FeatureGroups
from stg_attr.model import Start
from stg_attr.objective import Hybrid, OutputMatch

CELLS = grid_mask(torch.zeros(1, 1, 24, 24), 6)  # 4 x 4


def _net():
    """Scores the brightness of the upper left quarter; its last maps are those of brightness."""
    torch.manual_seed(0)
    quarter = torch.zeros(1, 1, 24, 24)
    quarter[..., :12, :12] = 1

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = torch.nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return (self.maps(x) * quarter).mean((2, 3))

    net = Net()
    torch.nn.init.ones_(net.maps.weight)
    return net


def _images(n=2):
    return torch.rand(n, 1, 24, 24, generator=torch.Generator().manual_seed(3)) + 0.5


def _attributions(start, n=2, **effort):
    found = StochasticGates(_net()).attribute(_images(n), feature_mask=CELLS, start=start, **effort)
    return found.detach()


def _ramp():
    return torch.linspace(0, 1, 24).square().expand(1, 1, 24, 24)


def test_only_the_shape_of_a_map_counts():
    one, other = (_attributions(m, max_evals=40) for m in (_ramp(), 100 * _ramp() - 7))
    torch.testing.assert_close(one, other)
    assert not torch.equal(one, _attributions(0, max_evals=40))


def test_a_flat_map_is_none():
    flat = torch.full((1, 1, 24, 24), 0.3)
    torch.testing.assert_close(_attributions(flat, max_evals=40), _attributions(0, max_evals=40))


def test_a_wrong_map_is_overcome():
    wrong = -torch.ones(1, 1, 24, 24)
    wrong[..., 12:, 12:] = 1
    found = _attributions(wrong) > 0.5
    assert found[..., :12, :12].any((1, 2, 3)).all()
    assert not found[..., 12:, :].any()


def test_a_map_may_have_fewer_dimensions_or_a_row_for_each_example():
    whole = _attributions(_ramp(), max_evals=40)
    assert torch.equal(_attributions(_ramp()[0, 0], max_evals=40), whole)
    rows = torch.cat([_ramp(), _ramp().transpose(2, 3)])
    each = _attributions(rows, max_evals=40)
    torch.testing.assert_close(each[:1], whole[:1])
    torch.testing.assert_close(_attributions(rows, max_evals=40, internal_batch_size=1), each)


@pytest.mark.parametrize("max_evals", [20, 40, 100])
@pytest.mark.parametrize("start", [None, 0])
def test_the_map_is_paid_from_max_evals(start, max_evals):
    found = StochasticGates(_net()).explain(
        _images(), feature_mask=CELLS, start=start, max_evals=max_evals + 40, n_restarts=1
    )
    assert (found.n_evaluations <= max_evals + 40).all()


def test_too_few_evaluations_name_the_map():
    with pytest.raises(ArgumentError, match="start=0"):
        _attributions(None, max_evals=3)


def test_an_example_alone_and_a_continued_solve_have_the_same_map():
    stg, x = StochasticGates(_net()), _images()
    together = stg.explain(x, feature_mask=CELLS, n_steps=6)
    alone = stg.explain(x[1:], feature_mask=CELLS, n_steps=6)
    torch.testing.assert_close(alone.log_alpha[0], together.log_alpha[1])
    begun = stg.explain(x, feature_mask=CELLS, n_steps=3)
    torch.testing.assert_close(
        stg.explain(x, feature_mask=CELLS, n_steps=3, resume=begun).log_alpha, together.log_alpha
    )


def _looks(x, mask, objective=None, slopes=True):
    groups = FeatureGroups.from_mask(mask, (x,))
    return Start.of(None, (x,), groups, objective or Hybrid(), slopes).looks


def test_a_map_is_looked_for_where_gates_are_regions_of_an_image():
    x = _images()
    assert _looks(x, CELLS)
    assert not _looks(x, None)  # single pixels
    assert not _looks(x.flatten(1), CELLS.flatten().unsqueeze(0))
    assert not _looks(x, CELLS, objective=Preserve(OutputMatch()))
    assert not _looks(x, CELLS, slopes=False)


def test_gates_over_a_layer_take_a_map_of_its_activations():
    net = _net()
    stg = LayerStochasticGates(net, net.maps)
    one = stg.attribute(_images(), start=_ramp(), max_evals=20)
    assert not torch.equal(one, stg.attribute(_images(), start=0, max_evals=20))


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (torch.zeros(3, 3), r"\(3, 3\)"),
        (torch.full((24, 24), torch.nan), "NaN"),
        ((torch.zeros(24, 24), torch.zeros(24, 24)), "2"),
        ("cam", "str"),
        (torch.zeros(24, 24, dtype=torch.cfloat), "complex64"),
    ],
)
def test_what_is_no_map_is_refused(start, found):
    with pytest.raises(ArgumentError, match=f"start.*{found}"):
        _attributions(start)
