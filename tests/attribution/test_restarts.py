"""Restarts: each is the solve of another seed, and what they select is counted honestly."""

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from stg_attr import (
    ArgumentError,
    Budget,
    Explanation,
    FixedWeight,
    LayerStochasticGates,
    Preserve,
    Status,
    StochasticGates,
)
from stg_attr.attribution import Restarts
from tests.models import Counted, mlp, seeded

QUICK = {"n_steps": 4, "n_samples": 4}
SPARSITIES = [None, FixedWeight(), Budget(0.4)]


ALONE = torch.tensor([1, 0, 1])  # evaluations of each call in which two examples are scored alone


@pytest.fixture
def x():
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sparsity", SPARSITIES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("objective", [None, Preserve()], ids=["Hybrid", "Preserve"])
def test_restarts_are_the_solves_of_the_next_seeds(x, sparsity, objective):
    stg = StochasticGates(mlp(6, 16, 3), sparsity=sparsity, objective=objective)
    several = stg.explain(x, n_restarts=4, seed=5, **QUICK)
    alone = [stg.explain(x, seed=5 + i, **QUICK) for i in range(4)]
    assert torch.equal(several.restarts.selected, torch.stack([e.selected for e in alone]))
    torch.testing.assert_close(several.log_alpha, alone[0].log_alpha, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(several.loss_trace, alone[0].loss_trace, rtol=1e-4, atol=1e-5)
    assert several.status == alone[0].status
    assert torch.equal(several.n_evaluations - ALONE, sum(e.n_evaluations - ALONE for e in alone))


def test_references_and_examples_that_settle_early_are_the_same_too(x):
    references = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    stg = StochasticGates(mlp(6, 16, 3))
    several = stg.explain(x, references, n_restarts=3, n_steps=30)
    alone = [stg.explain(x, references, seed=i, n_steps=30) for i in range(3)]
    assert bool(several.loss_trace.isnan().any()), "an example settles"
    assert torch.equal(several.restarts.selected, torch.stack([e.selected for e in alone]))
    assert torch.equal(several.n_evaluations - ALONE, sum(e.n_evaluations - ALONE for e in alone))


def test_shards_masks_and_arguments_go_along_with_their_examples(x):
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, -1]])
    factor = torch.tensor([1.0, 2.0, 3.0])
    model = mlp(6, 16, 3)

    def forward(rows, factor):
        return model(rows) * factor[:, None]

    def explain(**changes):
        return StochasticGates(forward).explain(
            x, torch.ones(3, 6), torch.tensor([0, 1, 2]), factor, mask, **QUICK, **changes
        )

    whole = explain(n_restarts=3)
    parts = explain(n_restarts=3, internal_batch_size=2)
    assert torch.equal(whole.restarts.selected, parts.restarts.selected)
    assert whole.restarts.selected.shape == (3, 3, 6)
    second = explain(seed=1)
    assert torch.equal(whole.restarts.selected[1], second.selected)
    torch.testing.assert_close(whole.scores.full, second.scores.full)
    assert whole.target.tolist() == [[0], [1], [2]]
    assert whole.attributions.shape == x.shape


def test_frequencies_and_agreement_are_counts():
    selected = torch.tensor([[[1, 1, 0]], [[1, 0, 0]], [[1, 0, 1]], [[1, 1, 0]]], dtype=torch.bool)
    restarts = Restarts(selected)
    assert restarts.frequency.tolist() == [[1.0, 0.5, 0.25]]
    # overlaps of the six pairs: 1/2, 1/3, 1, 1/2, 1/2, 1/3
    assert float(restarts.agreement) == pytest.approx((0.5 + 1 / 3 + 1 + 0.5 + 0.5 + 1 / 3) / 6)
    assert Restarts(selected[:1]).agreement.tolist() == [1.0]
    assert Restarts(torch.zeros(2, 1, 3, dtype=torch.bool)).agreement.tolist() == [1.0]


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_is_wilsons(confidence):
    for n in (1, 4, 30):
        selected = torch.arange(n)[:, None, None] < torch.arange(n + 1)
        low, high = Restarts(selected).interval(confidence)
        for k in range(n + 1):
            expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
            assert float(low[0, k]) == pytest.approx(expected.low, abs=1e-12)
            assert float(high[0, k]) == pytest.approx(expected.high, abs=1e-12)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_confidence_is_between_none_and_all(confidence):
    with pytest.raises(ArgumentError, match=r"confidence: expected a number in \(0, 1\)"):
        Restarts(torch.ones(2, 1, 1, dtype=torch.bool)).interval(confidence)


@pytest.mark.parametrize("n_restarts", [0, -1, 1.5, None, True])
def test_numbers_of_restarts(x, n_restarts):
    with pytest.raises(ArgumentError, match=r"n_restarts: .*at least 1"):
        StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=n_restarts)


def test_files_frames_and_sentences_hold_them(x, tmp_path):
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=5, **QUICK)
    explanation.save(tmp_path / "restarts.safetensors")
    loaded = Explanation.load(tmp_path / "restarts.safetensors")
    assert torch.equal(loaded.restarts.selected, explanation.restarts.selected)
    frame = explanation.to_frame()
    assert frame["frequency"].tolist() == explanation.restarts.frequency.flatten().tolist()
    assert bool((frame["frequency_low"] <= frame["frequency"]).all())
    assert bool((frame["frequency"] <= frame["frequency_high"]).all())
    assert f"5 restarts overlap by {float(explanation.restarts.agreement[0]):.0%}" in explanation.describe(0)


def test_one_solve_says_nothing_of_restarts(x):
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, **QUICK)
    assert explanation.restarts is None
    assert "restarts" not in explanation.describe()
    assert "frequency" not in explanation.to_frame()


def test_another_reading_drops_them(x):
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=2, **QUICK)
    assert explanation.at(budget=0.5).restarts is None
    assert explanation.minimal().restarts is None


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_interruptions_reach_all_restarts(x):
    interrupted = Counted(mlp(6, 16, 3), KeyboardInterrupt(), fail_at=5)
    explanation = StochasticGates(interrupted).explain(x, n_restarts=3, **QUICK)
    assert explanation.status == (Status.INTERRUPTED,) * 3
    assert explanation.restarts.selected.shape == (3, 3, 6)


def test_noise_tells_apart_features_that_stand_in_for_each_other():
    """Which of two equal features is selected is chance, and is reported as such."""
    x = torch.ones(1, 3)
    stg = StochasticGates(lambda x: torch.maximum(x[:, 0], x[:, 1]) * x[:, 2], objective=Preserve())
    explanation = stg.explain(x, n_restarts=24, n_steps=6)
    frequency = explanation.restarts.frequency[0]
    assert float(frequency[2]) == 1.0
    assert float(frequency[0] + frequency[1]) == pytest.approx(1.0)
    assert 0.1 < float(frequency[0]) < 0.9
    assert float(explanation.restarts.agreement) < 0.9


def test_gates_on_a_layer_restart_too_and_have_their_certificates():
    with seeded():
        embedding, ids = nn.Embedding(10, 4), torch.randint(0, 10, (2, 5))
    head = mlp(4, 8, 2)
    stg = LayerStochasticGates(lambda ids: head(embedding(ids)).sum(1), embedding)
    several = stg.explain(ids, n_restarts=3, **QUICK)
    alone = [stg.explain(ids, seed=i, **QUICK) for i in range(3)]
    assert torch.equal(several.restarts.selected, torch.stack([e.selected for e in alone]))
    found = several.minimal()
    kept = embedding(ids) * found.selected.unsqueeze(2)
    scores = head(kept).sum(1).gather(1, found.target).squeeze(1)
    torch.testing.assert_close(found.scores.kept, scores.detach())
