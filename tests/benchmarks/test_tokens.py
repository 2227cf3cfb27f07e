"""The benchmark of planted tokens: its data, its measure, and what it claims, on a smaller net."""

import pytest
import torch

from benchmarks import tokens
from benchmarks.quality import nets


def test_sequences_say_their_class_at_the_deciding_places():
    ids, truth, labels = tokens.sequences(200, 24, 2, seed=3)
    assert bool((truth.sum(1) >= 3).all())
    assert bool((truth.sum(1) <= 6).all())
    for row, places, label in zip(ids, truth, labels.tolist(), strict=True):
        said = row[places] - 1
        bits = {int(token) // 8: int(token) % 8 // 4 for token in said}
        assert sum(value << bit for bit, value in bits.items()) == label
        assert len(bits) == 3


def test_precision_is_the_share_of_true_features_ranked_first():
    truth = torch.tensor([[True, True, False], [False, False, True]])
    assert tokens.precision(torch.tensor([[0.9, 0.1, 0.5], [0.1, 0.2, 0.3]]), truth) == 0.75


@pytest.mark.slow
def test_planted_tokens_are_recovered(tmp_path, monkeypatch):
    monkeypatch.setattr(nets, "CACHE", tmp_path)
    task = tokens.text_task(12, 1, 24, 500, seed=0, steps=200)
    found = tokens.measure(task, tokens.gates, 0)
    assert found["precision"] >= 0.95
    assert found["evals"] <= 500
