"""Which way the score goes from the references to the input, where few rows do not agree on it."""

import numpy as np
import pytest
import torch

from stg_attr import ReferenceSet, ScoreFunction, Status, StochasticGates
from tests.models import mlp


def test_below_the_baseline_is_said_only_of_sets_that_lower_the_score():
    """Nets whose scores differ less between input and references than among the references."""
    said, wrong = 0, 0
    for seed in range(12):
        net = mlp(12, 24, 3, seed=seed, activation=torch.nn.ReLU)
        generator = torch.Generator().manual_seed(seed)
        x, rows = torch.randn(6, 12, generator=generator), torch.randn(100, 12, generator=generator)
        found = StochasticGates(net).explain(x, rows)
        for i, status in enumerate(found.status):
            scores = [net(part)[:, found.target[i, 0]].mean() for part in (_shown(found, x, rows, i), rows)]
            if status is Status.BASELINE_HIGHER:
                said, wrong = said + 1, wrong + bool(scores[0] > scores[1])
                assert found.scores.full[i] <= found.scores.baseline[i]
    assert said >= 8
    assert wrong <= 0.1 * said


def _shown(found, x, rows, i):
    return torch.where(found.selected[i], x[i], rows)


def _votes(table):
    return (table[:, 0] > 0) * 1.0 + (table[:, 1] > 0) * 1.0


def test_nothing_is_selected_where_the_mean_of_the_references_is_the_score_of_the_input():
    """All features together then keep no share: a search that asks for one would keep every column."""
    seen = set()
    for seed in range(12):
        drawn = np.random.default_rng(seed)
        found = StochasticGates(_votes).explain(drawn.normal(size=(5, 6)), drawn.normal(size=(100, 6)))
        assert not found.selected[:, 2:].any()
        for i in range(5):
            if found.status[i] in (Status.REFERENCE_DEPENDENT, Status.NOTHING_TO_EXPLAIN):
                seen.add(bool(found.selected[i].any()))
                assert "Converged" not in found.minimal().describe(i)
    assert False in seen


def test_two_references_on_either_side_of_the_input_leave_nothing_to_explain():
    stg = StochasticGates(lambda a: np.select([a[:, 0] > 0.5, a[:, 0] < -0.5], [2.0, 0.0], 1.0))
    found = stg.explain(np.array([[0.0, 1, 1, 1]]), np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    assert found.status == (Status.NOTHING_TO_EXPLAIN,)
    assert not found.selected.any()


@pytest.mark.parametrize("seed", range(4))
def test_columns_that_are_not_read_are_in_no_certified_set(seed):
    """Also where a share is 0 but for rounding, which differs between equal scores."""
    x = torch.randn(20, 30, generator=torch.Generator().manual_seed(seed))
    references = torch.randn(100, 30, generator=torch.Generator().manual_seed(100 + seed))

    def model(z):
        return 2 * z[:, 0] + z[:, 1] * z[:, 2] + z[:, 3].relu() - z[:, 4]

    found = StochasticGates(model, estimator=ScoreFunction()).explain(x, ReferenceSet(references))
    assert not found.selected[:, 5:].any()
