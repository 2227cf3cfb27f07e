"""Features in which a model has no slopes: found by forwards, beside those that slopes show."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr import (
    Delete,
    Gaussian,
    LayerStochasticGates,
    OnAverage,
    OnMost,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Status,
    StochasticGates,
    Sweep,
)
from tests.examples import examples
from tests.models import Counted, CountedByExample

X = torch.tensor([[3.0, 1.0]])


@pytest.mark.parametrize(
    ("model", "selected"),
    [
        (lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1], [True, True]),
        (lambda x: 4.0 * x[:, 0].round() + x[:, 1], [True, False]),
        (lambda x: 4.0 * x[:, 0].detach() + x[:, 1], [True, False]),
        (lambda x: 4.0 * x[:, 0].long() + 0.5 * x[:, 1], [True, False]),
        (
            lambda x: 4.0 * torch.bucketize(x[:, 0].contiguous(), torch.tensor([1.0, 2.0])) + x[:, 1],
            [True, True],
        ),
        (lambda x: ((x[:, 0] - x[:, 0]) ** 2).sqrt() + x[:, 1], [False, True]),
        (lambda x: ((x[:, 0] - x[:, 0]) ** 2).sqrt() + 4.0 * (x[:, 0] > 2) + x[:, 1], [True, True]),
        (lambda x: torch.where(x[:, 0] > 0, x[:, 1], -x[:, 1]), [True, True]),
        (lambda x: torch.where(x[:, 0] > 0, x[:, 1], 0 * x[:, 1]), [True, True]),
    ],
)
def test_the_right_columns_are_selected(model, selected):
    found = StochasticGates(model).explain(X)
    assert found.selected.tolist() == [selected]
    assert found.status == (Status.CONVERGED,)
    assert float(found.retained) >= 0.9


@pytest.mark.parametrize(
    "parts", [{"objective": Delete()}, {"objective": Preserve(OutputMatch())}, {"gates": Gaussian()}]
)
def test_with_every_objective_and_gate(parts):
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1] + 0 * x[:, 2]  # noqa: E731
    found = StochasticGates(model, **parts).explain(torch.tensor([[3.0, 1.0, 2.0]]))
    assert found.selected.tolist() == [[True, True, False]]
    assert found.status == (Status.CONVERGED,)


def test_with_reference_rows():
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1] + 0 * x[:, 2]  # noqa: E731
    found = StochasticGates(model).explain(torch.tensor([[3.0, 1.0, 2.0]]), baselines=ReferenceSet(rows))
    assert found.selected.tolist() == [[True, True, False]]


def test_an_embedding_behind_a_cast():
    """The column of ids is worth 5, the other 1; as floats, ids give no slope."""
    table = torch.tensor([0.0, 1.0, 5.0, 2.0])
    model = lambda x: table[x[:, 0].long()] + x[:, 1:].sum(1)  # noqa: E731
    x = torch.tensor([[2.0, 0.25, 0.25], [1.0, 6.0, 6.0]])
    assert StochasticGates(model).explain(x).selected.tolist() == [[True, False, False], [False, True, True]]


def test_places_of_a_layer_behind_a_threshold():
    embedding = torch.nn.Embedding.from_pretrained(torch.tensor([[0.0, 0], [1, 0], [0, 1]]))

    def model(ids):
        shown = embedding(ids)
        return 4.0 * (shown[:, :, 0].sum(1) > 0.5) + shown[:, :, 1].sum(1)

    found = LayerStochasticGates(model, embedding).explain(torch.tensor([[1, 2, 0]]))
    assert found.selected.tolist() == [[True, True, False]]


def test_what_cannot_be_learned_is_named():
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1]  # noqa: E731
    found = StochasticGates(model).explain(X, n_steps=2)
    assert found.status == (Status.UNSEEN,)
    assert "n_steps" in found.describe(0)
    assert "Features without slopes: 1." in found.describe(0)


def test_it_costs_one_evaluation_and_only_where_a_feature_without_slopes_differs_from_the_baseline():
    model = lambda x: x[:, 0] + 2 * x[:, 1] + 0 * x[:, 2]  # noqa: E731
    cost = [
        int(StochasticGates(model).explain(torch.tensor([[1.0, 1.0, last]])).n_evaluations) for last in (0, 1)
    ]
    assert cost[1] == cost[0] + 1


def test_an_example_is_explained_alone_as_in_a_batch_of_others():
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1] * x[:, 2]  # noqa: E731
    x = torch.tensor([[3.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.5, -1.0, 2.0]])
    together = StochasticGates(model).attribute(x)
    for i in range(3):
        torch.testing.assert_close(StochasticGates(model).attribute(x[i : i + 1])[0], together[i])


def test_a_solve_goes_on_with_its_coins():
    model = lambda x: 4.0 * (x[:, 0] > 2) + x[:, 1]  # noqa: E731
    first = StochasticGates(model).explain(X, n_steps=4)
    assert first.learned.blind.tolist() == [[True, False]]
    found = StochasticGates(model).explain(X, n_steps=8, resume=first)
    assert found.selected.tolist() == [[True, True]]
    assert found.learned.blind.tolist() == [[True, False]]


def early_exit(x):
    """Rows whose sum is large leave before the part with a graph."""
    if bool((x.sum(1) > 2.5).all()):
        return x.detach().sum(1)
    return x.sum(1)


def test_calls_without_a_graph_have_slopes_of_zero():
    x = torch.tensor([[1.0, 1, 1], [2.0, 0.5, 0.1]])
    for options in ({}, {"perturbations_per_eval": 1}, {"perturbations_per_eval": 16}):
        found = StochasticGates(early_exit).explain(x, **options)
        assert found.selected.tolist() == [[True, True, True], [True, True, False]]


def exits_confident(x):
    """Rows of a call leave before the part with a graph where the first column of all of them is small."""
    return (x.square() if bool((x[:, 0] > 4).any()) else x.detach().square()).sum(1)


def found_only(x):
    """A detector: the sum of rows in which something is large; without any, zeros without a graph."""
    large = (x > 0.5).any(1)
    return torch.where(large, x.sum(1), 0 * x.sum(1)) if bool(large.any()) else torch.zeros(len(x))


EXITS = {
    "early": (early_exit, [[1.0, 1, 1], [2.0, 0.5, 0.1], [3, 3, 3]], [[1, 1, 1], [1, 1, 0], [1, 1, 1]]),
    "one part has no graph": (
        exits_confident,
        [[0.1, 2, 0.1], [2, 0, 1], [5, 1, 1]],
        [[0, 1, 0], [1, 0, 1], [1, 0, 0]],
    ),
    "nothing in one part": (
        found_only,
        [[1.0, 1, 1], [0.1, 0.1, 0.1], [2, 0, 0]],
        [[1] * 3, [0] * 3, [1, 0, 0]],
    ),
}


@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("size", [None, 1, 2])
@pytest.mark.parametrize("run", ["explain", "attribute"])
def test_parts_without_a_graph_are_explained_as_well(name, size, run):
    model, x, expected = EXITS[name]
    counted = CountedByExample(model, 3)
    found = getattr(StochasticGates(counted), run)(
        torch.tensor(x), internal_batch_size=size, additional_forward_args=torch.arange(3)
    )
    selected = found.selected if run == "explain" else found > 0.5
    assert selected.int().tolist() == expected
    if run == "explain":
        assert torch.equal(found.n_evaluations, counted.rows)
        nothing = [Status.NOTHING_TO_EXPLAIN if not any(row) else Status.CONVERGED for row in expected]
        assert list(found.status) == nothing


def test_a_model_without_any_graph_is_refused_in_its_first_part():
    counted = Counted(lambda x: x.detach().sum(1))
    with pytest.raises(ValueError, match=r"gradient.*ScoreFunction\(\)"):
        StochasticGates(counted).attribute(torch.rand(8, 3) + 1, internal_batch_size=1, n_samples=4)
    assert sum(counted.rows) < 60


def test_nothing_found_is_nothing_to_explain():
    """A detector that finds nothing returns zeros without a graph."""
    found = StochasticGates(lambda x: torch.zeros(len(x))).explain(torch.ones(2, 3))
    assert found.status == (Status.NOTHING_TO_EXPLAIN,) * 2


@pytest.mark.parametrize("classes", [1, 3])
def test_a_squeezed_output_of_one_row_is_that_row(classes):
    weight = torch.arange(1.0, 1 + 4 * classes).reshape(4, classes)
    x = torch.ones(3, 4)
    target = None if classes == 1 else 1
    whole = StochasticGates(lambda x: x @ weight).attribute(x, target=0 if classes == 1 else 1)
    for options in ({}, {"perturbations_per_eval": 1}):
        squeezed = StochasticGates(lambda x: (x @ weight).squeeze())
        torch.testing.assert_close(squeezed.attribute(x, target=target, **options), whole)
    if classes == 1:
        torch.testing.assert_close(squeezed.attribute(x[:1]), whole[:1])


@st.composite
def mixtures(draw):
    """Weights of smooth terms, of steps, and of products of a step and a smooth term, of 6 columns."""
    worth = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0])
    kinds = draw(st.lists(st.sampled_from(["smooth", "step", "dead"]), min_size=6, max_size=6))
    weights = draw(st.lists(worth, min_size=6, max_size=6))
    gated = draw(st.sampled_from([0.0, 3.0]))
    return kinds, weights, gated


def mixture(kinds, weights, gated):
    weight = torch.tensor(weights)
    step = torch.tensor([kind == "step" for kind in kinds])
    alive = torch.tensor([kind != "dead" for kind in kinds])

    def model(x):
        terms = torch.where(step, (x > 0.5).to(x.dtype), x) * weight * alive
        return terms.sum(1) + gated * (x[:, 0] > 0.5) * x[:, 5]

    return model


@given(mixtures())
@examples(40)
def test_the_smallest_set_is_found_or_the_status_says_it_was_not(drawn):
    model, x = mixture(*drawn), torch.ones(1, 6)
    full = float(model(x))
    found = StochasticGates(model).explain(x)
    if full == 0:
        return
    masks = torch.tensor(list(product([0.0, 1.0], repeat=6)))
    enough = model(masks * x) >= 0.9 * full - 1e-5
    smallest = int(masks.sum(1)[enough].min())
    if found.status == (Status.CONVERGED,):
        assert float(found.retained) >= 0.9 - 1e-5
        assert int(found.n_selected) == smallest
    else:
        assert found.status[0] in (Status.NOT_CONVERGED, Status.UNSEEN)


@pytest.mark.parametrize("claim", [OnAverage(), OnMost(), None], ids=["mean", "most", "none"])
@pytest.mark.parametrize("n", [5, 20])
def test_a_set_that_keeps_too_little_is_never_converged_whatever_the_references(n, claim):
    """One reference in five has the one category that matters, which lies between others."""
    rows = torch.zeros(n, 2)
    rows[:, 1] = torch.arange(n) % 2 * 9.0
    rows[::5, 1] = 4.0
    stg = StochasticGates(lambda x: 10 * x[:, 0] - 8 * (x[:, 1] == 4), sparsity=Sweep(claim=claim))
    found = stg.explain(torch.tensor([[1.0, 5.0]]), baselines=ReferenceSet(rows))
    assert found.selected.tolist() == [[True, False]]
    assert float(found.retained) == pytest.approx(10 / 11.6, abs=1e-4)
    assert found.status == (Status.NOT_SUFFICIENT,)
