"""Edges of the reading: nothing to explain, and inputs too large for one call."""

from __future__ import annotations

import torch

from stg_attr import Status, StochasticGates


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
    assert max(sizes) == 16  # of 2 ** 22 elements
    whole = stg.attribute(x, feature_mask=mask, n_steps=2, n_samples=6, perturbations_per_eval=100)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)
