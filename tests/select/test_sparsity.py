"""Where a solve looks: budgets of its samples, and how many gates are reported."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.errors import ArgumentError
from stg_attr.select import Budget, FixedWeight, Sweep
from tests.examples import examples

SPARSITIES = [FixedWeight(), Budget(0.3), Sweep(), Sweep(share=1.0)]
GOLDEN = (math.sqrt(5) - 1) / 2
shares = st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0])
starts = st.floats(0, 1, exclude_max=True)


class Family:
    """A solved example of which every question has another answer."""

    n_gates = torch.tensor([7, 40])

    def best_value(self, price):
        return torch.tensor([3, 0]) if price == 0.01 else torch.tensor([2, 8])

    def smallest_sufficient(self, retain):
        return torch.tensor([5, 6]) if retain == 0.9 else torch.tensor([1, 2])


def _swept(budgets):
    return budgets[~budgets.isnan()]


@pytest.mark.parametrize("sparsity", SPARSITIES, ids=repr)
@given(first=st.integers(0, 100), n=st.integers(1, 20), start=starts)
@examples(20)
def test_budgets_depend_on_the_number_of_the_sample_only(sparsity, first, n, start):
    whole = sparsity.budgets(0, first + n, start)
    assert whole.dtype == torch.float64
    torch.testing.assert_close(
        sparsity.budgets(first, n, start), whole[first:], rtol=0, atol=0, equal_nan=True
    )


@given(shares, starts, st.integers(1, 60))
@examples(40)
def test_a_sweep_walks_a_golden_ratio_sequence(share, start, n):
    swept = _swept(Sweep(share=share).budgets(0, n, start)).tolist()
    assert len(swept) == math.floor(n * share)
    for turn, budget in enumerate(swept, start=1):
        distance = abs(budget - (start + turn * GOLDEN)) % 1
        assert min(distance, 1 - distance) < 1e-9


@given(shares, starts)
@examples(20)
def test_the_budgets_of_a_sweep_are_spread_evenly(share, start):
    """The largest gap of n points of a golden-ratio sequence is below 1.9 / n; of random ones, log(n) / n."""
    n_samples = math.ceil(100 / share)
    swept = _swept(Sweep(share=share).budgets(0, n_samples, start)).sort().values
    assert bool(((swept >= 0) & (swept < 1)).all())
    gaps = torch.diff(torch.cat([swept, swept[:1] + 1]))
    assert float(gaps.max()) < 1.9 / len(swept)


def test_the_share_is_spread_over_the_samples_of_every_step():
    own = Sweep(share=0.25).budgets(0, 40, 0.0).isnan().reshape(10, 4)
    assert own.sum(1).tolist() == [3] * 10


def test_a_fixed_weight_stays_at_the_level_of_the_gates():
    assert bool(FixedWeight(0.5).budgets(3, 4, 0.2).isnan().all())


@given(starts, st.integers(0, 30), st.integers(1, 20))
@examples(20)
def test_a_budget_takes_every_other_sample_where_a_half_sweep_does(start, first, n):
    budgets = Budget(0.3).budgets(first, n, start).tolist()
    swept = Sweep(share=0.5).budgets(first, n, start).tolist()
    odd = [sample % 2 == 1 for sample in range(first, first + n)]
    assert budgets == [s if elsewhere else 0.3 for s, elsewhere in zip(swept, odd, strict=True)]


def test_what_each_reports():
    family = Family()
    assert FixedWeight().n_open(family).tolist() == [3, 0]
    assert FixedWeight(0.2).n_open(family).tolist() == [2, 8]
    assert Sweep().n_open(family).tolist() == [5, 6]
    assert Sweep(retain=0.5).n_open(family).tolist() == [1, 2]
    assert Budget(0.1).n_open(family).tolist() == [1, 4]
    assert Budget(1.0).n_open(family).tolist() == [7, 40]
    assert Budget(0.001).n_open(family).tolist() == [1, 1]  # never nothing


def test_the_price_of_an_open_gate():
    assert FixedWeight(0.2).reg_weight == 0.2
    assert Budget(0.3).reg_weight == 0
    assert Sweep(reg_weight=0.04).reg_weight == 0.04


def test_a_sweep_of_half_the_samples_is_the_default():
    assert Sweep() == Sweep(retain=0.9, share=0.5, reg_weight=0.001)


NO_FINITE_NUMBERS = [math.nan, math.inf, -math.inf, True, False, None, "0.1", [0.1], torch.tensor(0.1)]


@pytest.mark.parametrize("wrong", [-0.1, *NO_FINITE_NUMBERS], ids=repr)
def test_a_weight_that_is_no_finite_number_or_below_zero_is_refused(wrong):
    for sparsity in (FixedWeight, lambda weight: Sweep(reg_weight=weight)):
        with pytest.raises(ArgumentError, match=r"reg_weight: .*at least 0"):
            sparsity(wrong)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1.01, 50, *NO_FINITE_NUMBERS], ids=repr)
def test_a_share_that_is_no_number_or_outside_its_range_is_refused(wrong):
    settings = {"fraction": Budget, "retain": lambda x: Sweep(retain=x), "share": lambda x: Sweep(share=x)}
    for name, sparsity in settings.items():
        with pytest.raises(ArgumentError, match=rf"{name}: expected a number in \(0, 1\]") as caught:
            sparsity(wrong)
        assert str(caught.value).endswith(f"found {wrong!r}. Give a share, not a count.")


@pytest.mark.parametrize(
    "kind", [FixedWeight, lambda weight: Sweep(reg_weight=weight)], ids=["fixed", "sweep"]
)
def test_open_gates_may_cost_nothing_but_not_less(kind):
    assert kind(0).reg_weight == 0
    with pytest.raises(ArgumentError, match=r"reg_weight: .*at least 0; found -1\..*0\.01"):
        kind(-1)
