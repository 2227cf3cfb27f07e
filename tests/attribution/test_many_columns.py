"""Many columns, few of which decide: the selected ones are those, and the order begins with them."""

import pytest
import torch

from stg_attr import OutputMatch, Preserve, ReferenceSet, StochasticGates

WIDTH, DECIDING = 300, 20
WEIGHT = torch.cat([torch.tensor([1.0, -1.0]).repeat(DECIDING // 2), torch.zeros(WIDTH - DECIDING)])


def _score(x):
    return torch.tanh(x * 0.5) @ WEIGHT + 0.001 * x.sum(1)


@pytest.mark.parametrize("max_evals", [150, 300, None])
def test_few_deciding_columns_among_many_are_found(max_evals):
    generator = torch.Generator().manual_seed(0)
    inputs, rows = torch.randn(4, WIDTH, generator=generator), torch.randn(200, WIDTH, generator=generator)
    stg = StochasticGates(_score, objective=Preserve(OutputMatch()))
    found = stg.explain(inputs, ReferenceSet(rows), max_evals=max_evals)
    deciding = WEIGHT != 0
    size = found.influence[:, deciding].amin(1)
    assert bool((found.influence[:, ~deciding].amax(1) < size).all())
    precision = (found.selected & deciding).sum(1) / found.n_selected
    assert float(precision.mean()) >= 0.8
    if max_evals is not None:
        assert bool((found.n_evaluations <= max_evals).all())
