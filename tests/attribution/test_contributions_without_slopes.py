"""Contributions where slopes show only some of the features, or where the profile happens to see none."""

import itertools
import math

import pytest
import torch

from stg_attr import LayerStochasticGates, ReferenceSet, ScoreFunction, StochasticGates
from tests.models import mlp


def _rows(n, columns, seed):
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed))


def test_columns_that_are_not_read_share_nothing_of_a_step_with_reference_rows():
    """A sum of functions of one column each, so that the contributions are known."""
    references = _rows(200, 6, 0)
    stg = StochasticGates(lambda x: 2 * (x[:, 0] > 0.5).float() + x[:, 1])
    found = stg.explain(torch.ones(2, 6), ReferenceSet(references)).contributions
    step, linear = 2 * (1 - (references[:, 0] > 0.5).float().mean()), 1 - references[:, 1].mean()
    expected = torch.tensor([step, linear, 0, 0, 0, 0]).expand(2, 6)
    torch.testing.assert_close(found, expected, atol=0.15, rtol=0)


def test_signs_are_right_beside_steps_with_reference_rows():
    references = _rows(10, 6, 3)
    stg = StochasticGates(lambda x: 2 * (x[:, 0] > 0.5) + (x[:, 1] > 0).float() + x[:, 2])
    row = torch.tensor([[1.0, -1, 1, 0, 0, 0]])
    found = stg.explain(row, ReferenceSet(references)).contributions[0]
    over = [2 * (1 - (references[:, 0] > 0.5).float().mean()), -(references[:, 1] > 0).float().mean()]
    torch.testing.assert_close(found[:2], torch.stack(over), atol=0.1, rtol=0)


def test_one_step_among_many_columns_that_are_not_read():
    stg = StochasticGates(lambda x: 2 * (x[:, 0] > 0.5).float() + 0.1 * x[:, 1])
    found = stg.explain(torch.ones(1, 60)).contributions[0]
    torch.testing.assert_close(found[:2], torch.tensor([2.0, 0.1]), atol=0.02, rtol=0)
    assert found[2:].abs().max() < 0.02


def test_with_few_evaluations_a_step_has_the_largest_contribution_of_those_without_slopes():
    references = _rows(200, 6, 0)
    stg = StochasticGates(lambda x: 2 * (x[:, 0] > 0.5).float() + x[:, 1])
    found = stg.explain(torch.ones(1, 6), ReferenceSet(references), max_evals=600)
    assert int(found.n_evaluations) <= 600
    assert found.contributions[0, 0] > 2 * found.contributions[0, 2:].max()


def test_rows_with_and_without_steps_are_explained_as_alone():
    """Of the second row nothing is a step of the reference: its slopes show all."""
    stg = StochasticGates(lambda x: 2 * (x[:, 0] > 0.5).float() + x[:, 1] * x[:, 2])
    rows = torch.tensor([[1.0, 2, 3, 0, 1, 1], [0, 1, 2, 0, 1, 1]])
    both = stg.explain(rows)
    for i in range(2):
        alone = stg.explain(rows[i : i + 1])
        torch.testing.assert_close(both.contributions[i], alone.contributions[0])
        # but for what the check of a batch takes
        assert abs(int(both.n_evaluations[i]) - int(alone.n_evaluations[0])) <= 3


@pytest.mark.parametrize("seed", range(10))
def test_features_without_a_slope_in_the_samples_still_contribute(seed):
    """Their slopes are 0 on the whole way to the input, and are seen only beside hidden features."""
    stg = StochasticGates(lambda x: torch.relu(x[:, 0] - 2 * x[:, 1]) + x[:, 2:].sum(1))
    found = stg.explain(torch.tensor([[2.0, 1.5, 0.1, 0.1, 0.1, 0.1]]), seed=seed)
    expected = torch.tensor([[1.0, -1, 0.1, 0.1, 0.1, 0.1]])
    torch.testing.assert_close(found.contributions, expected, atol=0.05, rtol=0)
    assert (found.influence[0, :2] > 0.01).all()


def test_the_smaller_ones_of_a_maximum_contribute_with_reference_rows():
    """Slopes show the largest element only; the others matter where references take its place."""
    generator = torch.Generator().manual_seed(27)
    x, references = torch.tensor([[1.9, 2.0, 0.5, 1.0, 0.2]]), torch.randn(20, 5, generator=generator)
    stg = StochasticGates(lambda rows: rows.amax(1))
    found = stg.explain(x, ReferenceSet(references)).contributions[0]
    sets = torch.tensor(list(itertools.product([False, True], repeat=5)))
    value = {tuple(s.tolist()): float(torch.where(s, x, references).amax(1).mean()) for s in sets}
    exact = torch.zeros(5)
    for order in itertools.permutations(range(5)):
        kept = [False] * 5
        for i in order:
            before = value[tuple(kept)]
            kept[i] = True
            exact[i] += (value[tuple(kept)] - before) / math.factorial(5)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0)


def test_contributions_of_a_layer_are_those_of_the_row_alone():
    """The activations of the references are the same for all examples."""
    net, generator = mlp(10, 30, 3, activation=torch.nn.ReLU), torch.Generator().manual_seed(0)
    x, rows = torch.randn(2, 10, generator=generator), torch.randn(20, 10, generator=generator)
    stg = LayerStochasticGates(net, net[1], estimator=ScoreFunction())
    both, alone = (stg.explain(part, baselines=rows, target=0) for part in (x, x[:1]))
    torch.testing.assert_close(both.contributions[0], alone.contributions[0], atol=1e-5, rtol=1e-4)
