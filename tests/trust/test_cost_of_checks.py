"""What the checks of scores and slopes cost: at most three evaluations of an example, whatever is asked."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from stg_attr import Delete, Hybrid, OutputMatch, Preserve, ReferenceSet, ScoreFunction, StochasticGates
from stg_attr.attribution import evidence, reading
from stg_attr.model import GatedModel
from tests.models import CountedByExample

MOST = 3
DRAW = torch.Generator().manual_seed(0)
X, ROWS = torch.randn(6, 6, generator=DRAW) + 1, torch.randn(60, 6, generator=DRAW)
CHECKS = (
    (reading, "depends_on_others"),
    (evidence, "measured_again"),
    (GatedModel, "missed"),
)
OBJECTIVES = {
    "hybrid": Hybrid(),
    "preserve": Preserve(),
    "match": Preserve(OutputMatch()),
    "delete": Delete(),
}
ESTIMATORS = {"slopes": {}, "scores": {"estimator": ScoreFunction()}}
QUICK = ("hybrid by slopes", "delete by slopes", "match by scores")
METHODS = [
    pytest.param(
        {"objective": objective, **more},
        id=f"{name} by {kind}",
        marks=() if f"{name} by {kind}" in QUICK else pytest.mark.slow,
    )
    for (name, objective), (kind, more) in product(OBJECTIVES.items(), ESTIMATORS.items())
]
BASELINES = {
    "zeros": None,
    "one each": lambda x: x - 1,
    "two references": ReferenceSet(ROWS[:2]),
    "many references": ReferenceSet(ROWS[:20]),
    "held out references": ReferenceSet(ROWS),
}


def stepped(x):
    """Two columns with slopes, a step, a product of the two kinds, and two columns that change nothing."""
    return x[:, 0] + 2 * x[:, 1].tanh() + 3 * (x[:, 2] > 0.5) + (x[:, 3] > 0) * x[:, 0] + 0 * x[:, 4:].sum(1)


@pytest.fixture
def spent(monkeypatch):
    """A function that makes a counted model; `spent.rows` holds what each check took of each example."""

    class Spent:
        def __init__(self):
            self.rows = {}

        def model(self, forward, batch):
            self.counted = CountedByExample(forward, batch)
            self.rows = {name: torch.zeros(batch, dtype=torch.long) for _, name in CHECKS}
            return self.counted

    found = Spent()

    def watched(name, check):
        def run(*args, **kwargs):
            before = found.counted.rows.clone()
            try:
                return check(*args, **kwargs)
            finally:
                found.rows[name] += found.counted.rows - before

        return run

    for owner, name in CHECKS:
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))
    return found


@pytest.mark.parametrize("baselines", BASELINES.values(), ids=BASELINES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run", ["attribute", "explain"])
@pytest.mark.filterwarnings("ignore:.*examples")
def test_an_example_pays_at_most_three_evaluations(spent, run, method, baselines):
    paid = []
    for batch, size in ((1, None), (2, None), (4, None), (5, 2)):
        stg = StochasticGates(spent.model(stepped, batch), **method)
        example = torch.arange(batch)
        getattr(stg, run)(
            X[:batch], baselines, additional_forward_args=example,
            n_steps=3, n_samples=4, internal_batch_size=size,
        )  # fmt: skip
        total = sum(spent.rows.values())
        assert int(total.max()) <= MOST, (batch, size, spent.rows)
        paid.append({name: int(rows.max()) for name, rows in spent.rows.items()})
    slopes = "estimator" not in method
    several = isinstance(baselines, ReferenceSet)
    assert all(p["missed"] == (1 + several if slopes else 0) for p in paid)
    again = 0 if run == "explain" else 1 if several else 2
    assert [p["measured_again"] for p in paid] == [again] + [min(again, 1)] * 2 + [again]
    assert [p["depends_on_others"] for p in paid] == [0, 1, 1, 1]


def test_the_whole_batch_is_scored_again_only_where_scores_depend_on_it(spent):
    def ranked(x, *_):
        return x.sum(1) * (1 + x.sum(1).argsort().argsort())

    stg = StochasticGates(spent.model(ranked, 4))
    with pytest.warns(UserWarning, match="Not reproducible"):
        stg.attribute(X[:4], additional_forward_args=torch.arange(4), n_steps=3)
    assert spent.rows["depends_on_others"].tolist() == [2, 1, 1, 2]


def test_with_few_evaluations_the_checks_are_within_them(spent):
    for run, least in (("attribute", 6), ("explain", 31)):
        for batch in (1, 2, 5):
            stg = StochasticGates(spent.model(stepped, batch))
            for most in (least, least + 3, 60, 200):
                getattr(stg, run)(X[:batch], additional_forward_args=torch.arange(batch), max_evals=most)
                assert int(spent.counted.rows.max()) <= most, (run, batch, most)
                spent.model(stepped, batch)
                stg.forward_func = spent.counted
