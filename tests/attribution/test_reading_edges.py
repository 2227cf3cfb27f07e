"""Edges of the reading: nothing to explain, and inputs too large for one call."""

from __future__ import annotations

import pytest
import torch

from stg_attr import ArgumentError, Budget, ReferenceSet, Settings, Status, StochasticGates
from stg_attr.solve import SolverSettings


def test_a_score_that_only_rounding_hides_reads_as_nothing_at_every_share():
    """The slope is not zero, but the score of every blend rounds to the same number."""
    explanation = StochasticGates(lambda x: 5 + 1e-9 * x.sum(1)).explain(torch.ones(2, 4), n_steps=3)
    assert explanation.status == (Status.NOTHING_TO_EXPLAIN,) * 2
    for read in (explanation, explanation.at(retain=0.5), explanation.at(budget=0.5)):
        assert torch.equal(read.attributions, torch.zeros(2, 4))
        assert not bool(read.selected.any())


def test_large_inputs_go_to_the_model_in_pieces_that_change_nothing():
    weight = torch.linspace(-1, 1, 2**18)
    x = torch.ones(2, 2**18)
    mask = torch.arange(2**18) // 2**15
    sizes = []

    def score(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return (rows * weight.clamp_min(-0.2)).sum(1)

    stg = StochasticGates(score)
    found = stg.attribute(x, feature_mask=mask, n_steps=2, n_samples=6)
    assert max(sizes) == 4  # however large they are
    whole = stg.attribute(x, feature_mask=mask, n_steps=2, n_samples=6, perturbations_per_eval=100)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)


def test_a_choice_that_hangs_on_the_reference_says_so():
    """Feature 0 alone keeps the score on average, but is outweighed where feature 1 is hidden by -2."""
    x = torch.tensor([[1.0, 0.0]])
    hidden = torch.tensor([0.5, 0.5, 0.5, 0.5, -2.0])
    rows = torch.stack([torch.zeros(5), hidden], 1)
    explanation = StochasticGates(lambda x: x.sum(1)).explain(x, baselines=ReferenceSet(rows))
    assert explanation.selected.tolist() == [[True, False]]
    assert explanation.status == (Status.REFERENCE_DEPENDENT,)
    mild = ReferenceSet(torch.stack([torch.zeros(5), hidden / 10], 1))
    assert StochasticGates(lambda x: x.sum(1)).explain(x, baselines=mild).status == (Status.CONVERGED,)


def test_a_baseline_with_a_higher_score_says_so():
    explanation = StochasticGates(lambda x: -x.sum(1)).explain(torch.ones(1, 3))
    assert explanation.status == (Status.BASELINE_HIGHER,)


def test_photographs_are_divided_into_cells_unless_a_mask_is_given():
    image = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    stg = StochasticGates(lambda x: x[:, :, 10:30, 10:30].sum((1, 2, 3)))
    explanation = stg.explain(image, n_steps=3)
    assert explanation.log_alpha.shape[1] == 11 * 14  # cells of 6 pixels: ceil(sqrt(64 * 80) / 14)
    assert explanation.attributions.shape == image.shape
    assert torch.equal(explanation.attributions[:, 0], explanation.attributions[:, 2])


def test_a_selection_that_keeps_less_than_was_asked_for_is_not_converged():
    """A feature without slopes that is left out."""
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1]  # noqa: E731
    settings = Settings(solver=SolverSettings(least_missed=2.0))  # nothing counts as missed
    found = StochasticGates(model, settings=settings).explain(torch.tensor([[3.0, 1.0]]))
    assert found.selected.tolist() == [[False, True]]
    assert found.status == (Status.NOT_SUFFICIENT,)
    assert "ScoreFunction" in found.describe(0)


def test_one_baseline_is_never_called_one_of_several_references():
    """The selected feature keeps nothing of the score by itself."""
    model = lambda x: x[:, 0] * x[:, 1] - 3 * x[:, 2].relu()  # noqa: E731
    found = StochasticGates(model, sparsity=Budget(0.34)).explain(torch.tensor([[1.0, 1.0, 1.0]]))
    assert Status.REFERENCE_DEPENDENT not in found.status


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        (1, [1]),
        (-1, [2]),
        ([0, 2], [0, 2]),
        (slice(0, 2), [0, 1]),
        (torch.tensor([2, 2]), [2, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
    ],
    ids=str,
)
def test_rows_are_chosen_as_those_of_a_tensor(rows, places):
    explanation = StochasticGates(lambda x: x.sum(1)).explain(torch.arange(12.0).reshape(3, 4) + 1, n_steps=1)
    found = explanation.rows(rows)
    assert torch.equal(found.scores.full, explanation.scores.full[torch.tensor(places)])
    assert len(found.status) == len(places)


@pytest.mark.parametrize("rows", [7, [0, 3], [0.5], "0", torch.tensor([True])], ids=str)
def test_rows_that_are_not_there_are_refused(rows):
    explanation = StochasticGates(lambda x: x.sum(1)).explain(torch.ones(3, 4), n_steps=1)
    with pytest.raises(ArgumentError, match=r"rows: expected numbers of examples below 3"):
        explanation.rows(rows)
    with pytest.raises(ArgumentError, match=r"found 7"):
        explanation.describe(7)
