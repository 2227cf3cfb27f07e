"""Many columns, few of which decide: the selected ones are those, and the order begins with them."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stg_attr import OutputMatch, Preserve, ReferenceSet, ScoreFunction, StochasticGates

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


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.slow
@pytest.mark.parametrize("n", [256, 257])
def test_a_solve_without_slopes_takes_memory_for_some_examples_at_a_time(n):
    """A matrix of 256 x 256 doubles for each of 256 examples would be 134 MB, and so would be all pairs of
    sets of a profile as 32 bits each."""
    x = torch.randn(1024, n, generator=torch.Generator().manual_seed(0))
    with Largest() as seen:
        stg = StochasticGates(lambda x: torch.tanh(x @ torch.linspace(0, 1, n)), estimator=ScoreFunction())
        stg.explain(x[:256] if n == 256 else x, n_steps=1, n_samples=4)
    assert seen.bytes <= 2**26


def test_sets_of_many_features_take_memory_for_a_few_selections():
    largest = []
    for n in (2000, 20000):
        weight = torch.zeros(n).index_fill(0, torch.arange(4), 1.0)
        found = StochasticGates(lambda x, w=weight: x @ w).explain(torch.ones(1, n), n_steps=2, n_samples=4)
        with Largest() as seen:
            assert found.sufficient_sets(n_sets=2).ids(0) == [[0, 1, 2, 3]]
        largest.append(seen.bytes)
    assert largest[1] <= 10 * largest[0] + 2**16
