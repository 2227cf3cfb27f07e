"""Stability against scipy's rank correlation and captum's sensitivity."""

import itertools

import pytest
import torch
from captum.attr import IntegratedGradients
from captum.metrics import sensitivity_max
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from stg_attr import ArgumentError
from stg_attr.metrics import agreement, under_noise
from tests.models import mlp


def runs_of(seed, n_runs=3, batch=2, features=7, levels=4):
    """Attributions with many ties."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, levels, (batch, features), generator=generator).double() for _ in range(n_runs)]


def slow_spearman(runs, compared):
    """Mean over the pairs of runs, [batch], by scipy on the features that both compare."""
    found = []
    for row in range(len(runs[0])):
        pairs = []
        for i, j in itertools.combinations(range(len(runs)), 2):
            both = compared[i][row] & compared[j][row]
            a, b = runs[i][row][both], runs[j][row][both]
            if len(a.unique()) > 1 and len(b.unique()) > 1:
                pairs.append(spearmanr(a, b).statistic)
        found.append(sum(pairs) / len(pairs) if pairs else float("nan"))
    return torch.tensor(found, dtype=torch.float64)


@given(st.integers(0, 10**6))
def test_rank_correlation_is_scipys(seed):
    runs = runs_of(seed)
    among = torch.rand(3, 2, 7, generator=torch.Generator().manual_seed(seed)) < 0.8
    everything = torch.ones_like(among)
    for given_, compared in ((None, everything), (among, among), (among[0], among[:1].expand(3, -1, -1))):
        found = agreement(runs, among=given_).rank_correlation
        torch.testing.assert_close(found, slow_spearman(runs, compared), equal_nan=True)


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_top_overlap_counts_common_features(seed, top):
    runs = [torch.rand(2, 7, generator=torch.Generator().manual_seed(seed + i)) for i in range(3)]
    count = max(1, round(top * 7))
    tops = [[set(row.topk(count).indices.tolist()) for row in run] for run in runs]
    expected = [
        sum(len(a[row] & b[row]) for a, b in itertools.combinations(tops, 2)) / (3 * count)
        for row in range(2)
    ]
    found = agreement(runs, top=top).top_overlap
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_sensitivity_is_captums():
    torch.manual_seed(0)
    model, x = mlp(5, 8, 3), torch.randn(4, 5)
    method = IntegratedGradients(model)
    seen = []

    def attribute(inputs):
        seen.append(inputs)
        return method.attribute(inputs, target=1)

    ours = agreement(under_noise(attribute, x, radius=0.1, n_draws=6, seed=3)).sensitivity
    noise = torch.stack(seen[1:], 1).flatten(0, 1) - x.repeat_interleave(6, 0)  # captum's order of rows
    theirs = sensitivity_max(
        method.attribute, x, perturb_func=lambda rows: rows + noise, n_perturb_samples=6, target=1
    )
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-4, atol=1e-6)
    assert float(noise.abs().max()) <= 0.1 + 1e-6
    assert float(ours.min()) > 0


def test_sensitivity_of_zero_attributions_is_the_change_itself():
    runs = [torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])]
    assert agreement(runs).sensitivity.tolist() == [5.0]


def test_identical_runs_agree_and_reversed_ones_do_not():
    run = torch.tensor([[5.0, 3.0, 1.0, 0.0]])
    same = agreement([run, run], top=0.5)
    assert (float(same.rank_correlation), float(same.top_overlap), float(same.sensitivity)) == (1.0, 1.0, 0.0)
    other = agreement([run, -run], top=0.5)
    assert (float(other.rank_correlation), float(other.top_overlap)) == (-1.0, 0.0)


def test_features_of_a_mask_are_compared_not_their_elements():
    mask = torch.tensor([[0, 0, 0, 1, 2, -1]])
    first = torch.tensor([[1.0, 1.0, 1.0, 2.0, 3.0, 9.0]])
    second = torch.tensor([[1.0, 1.0, 1.0, 3.0, 2.0, 7.0]])
    found = agreement([first, second], top=1 / 3, feature_mask=mask)
    assert float(found.rank_correlation) == pytest.approx(0.5)
    assert float(found.top_overlap) == 0.0


def test_several_inputs_and_seeds_of_noise():
    x = (torch.randn(2, 3), torch.randn(2, 2, dtype=torch.float64))
    runs = [under_noise(lambda given: given, x, n_draws=2, seed=seed) for seed in (0, 0, 1)]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][1][0], runs[2][1][0])
    assert [part.dtype for part in runs[0][1]] == [torch.float32, torch.float64]
    assert agreement(runs[0]).sensitivity.shape == (2,)


def test_noise_leaves_the_global_random_state_alone(untouched):
    x = torch.randn(2, 3)
    with untouched(None, x):
        under_noise(lambda given: given, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: agreement([x]), "runs: expected two or more"),
        (lambda x: agreement([x, x[:, :1]]), "runs: expected two or more"),
        (lambda x: agreement([x, x], top=0), r"top: expected a number in \(0, 1\]"),
        (lambda x: agreement([x, x], top=2), r"top: expected a number in \(0, 1\]"),
        (lambda x: agreement([x, x], among=x), "among: expected bool"),
        (lambda x: agreement([x, x], among=x[:, :1] > 0), "among: expected bool"),
        (lambda x: under_noise(abs, x.long()), "inputs: expected floating-point"),
        (lambda x: under_noise(abs, x, n_draws=0), "n_draws: expected a whole number of at least 1"),
        (lambda x: under_noise(abs, x, radius=-1.0), "radius: expected a number of at least 0"),
    ],
)
def test_arguments_that_cannot_be_used(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(torch.randn(2, 3))


def test_runs_with_nan_are_refused():
    with pytest.raises(ArgumentError, match=r"runs: expected finite attributions; found NaN"):
        agreement([torch.tensor([[3.0, 2, 1, 0]]), torch.full((1, 4), float("nan"))])
