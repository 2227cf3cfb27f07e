"""Sentences: what a reader is told of scores, shares and status."""

from dataclasses import replace

import pytest
import torch

from stg_attr import Delete, Preserve, ReferenceSet, Status, StochasticGates, Sweep

ONE = torch.ones(1, 3)


def test_one_feature_brings_and_two_bring():
    one = StochasticGates(lambda x: 4 * x[:, 0]).explain(ONE)
    assert one.describe().startswith("1 of 3 features brings the score from 0 (baseline) to 4 of 4; ")
    two = StochasticGates(lambda x: 4 * x[:, 0] + 3 * x[:, 1]).explain(ONE)
    assert two.describe().startswith("2 of 3 features bring the score from 0 (baseline) to 7 of 7; ")


def test_a_share_of_more_than_the_whole_is_said_in_words():
    """5 of a difference of 1 is no 500 %."""
    found = StochasticGates(lambda x: 5 * x[:, 0] - 4 * x[:, 1], objective=Preserve()).explain(ONE)
    assert float(found.retained) == pytest.approx(5)
    assert "from 0 (baseline) to 5 of 1; " in found.describe()
    assert (
        "It moves the score further than the whole input does, exactly, for this baseline."
        in found.describe()
    )
    assert "%" not in found.describe()


def test_without_a_certificate_the_share_stands_beside_the_scores():
    found = StochasticGates(lambda x: 4 * x[:, 0]).explain(ONE)
    assert "to 4 of 4 (100%); " in replace(found, certificate=None).describe()


def test_a_score_below_its_baseline_is_explained_and_not_doubted():
    """Of a single logit: what lowers it, with the contributions below 0."""
    found = StochasticGates(lambda x: 1 - 3 * x[:, 0] + 0.1 * x[:, 1]).explain(ONE)
    assert found.status == (Status.BASELINE_HIGHER,)
    assert found.selected.tolist() == [[True, False, False]]
    assert float(found.contributions[0, 0]) == pytest.approx(-3, abs=1e-3)
    assert bool(found.converged.all())
    assert found.describe().endswith("Score below the baseline: what is explained is what lowers it.")
    assert "Read with care" not in found.describe()


def test_only_three_statuses_are_free_of_doubt():
    assert {status for status in Status if not status.doubtful} == {
        Status.CONVERGED,
        Status.PROPOSED,
        Status.BASELINE_HIGHER,
    }
    for status in Status:
        assert status.value.startswith(f"{status.short}: ")
        assert len(status.short) < 30


def test_no_feature_keeps_nothing():
    found = StochasticGates(lambda x: 0 * x[:, 0] + 2).explain(ONE)
    assert found.describe() == (
        "Input and baseline score 2 and 2. "
        "Nothing to explain: the baseline scores the same as the input; choose another one."
    )


def test_other_features_can_stand_in():
    found = StochasticGates(lambda x: x.amax(1)).explain(ONE)
    assert "; other features can stand in for it (without it 1): see sufficient_sets. " in found.describe()


def test_a_claim_about_a_removal_says_what_it_takes_away():
    """Every set whose removal loses the product suffices, and keeps nothing itself."""
    stg = StochasticGates(lambda x: x.prod(1), objective=Delete())
    exact = stg.explain(2 * ONE)
    assert float(exact.scores.kept) == 0
    assert "It takes away 100% of the score, exactly" in exact.describe()
    rows = torch.rand(256, 3, generator=torch.Generator().manual_seed(0))
    tested = stg.explain(2 * ONE, ReferenceSet(rows))
    assert "take away at least 90% of the score on average" in tested.describe()


@pytest.mark.parametrize(("retain", "said"), [(0.855, "85.5%"), (0.9, "90%"), (0.995, "99.5%")])
def test_a_claim_is_not_rounded(retain, said):
    rows = torch.rand(256, 8, generator=torch.Generator().manual_seed(0))
    stg = StochasticGates(lambda x: x.sum(1), sparsity=Sweep(retain=retain))
    found = stg.explain(torch.ones(1, 8), ReferenceSet(rows))
    assert f"at least {said} of the score on average" in found.describe()
