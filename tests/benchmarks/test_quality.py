"""The quality benchmarks: measures against values worked out by hand, generators against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.quality import (
    clusters,
    clutter,
    columns,
    digits,
    main,
    measures,
    metrics,
    nets,
    ours,
    pairs,
    rows,
    series,
    switching,
    tables,
    tabular,
    tetromino,
)
from benchmarks.quality.method import Method, run
from benchmarks.quality.problem import Problem, Variant
from benchmarks.quality.rows import Row
from benchmarks.quality.targets import Target, against_peers


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear_problem(**changes: object) -> Problem:
    """Score 2 x0 - x1 + 0 x2 on two rows; the first two features are the true ones."""
    weights = torch.tensor([2.0, -1.0, 0.0])
    problem = Problem(
        "linear",
        0,
        lambda rows: rows @ weights,
        torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 2.0]]),
        (measures.true_positive_rate,),
        "match",
        truth=torch.tensor([[True, True, False]] * 2),
    )
    return replace(problem, **changes)


# --- metrics


def test_ranks_are_one_for_the_highest() -> None:
    assert metrics.ranks(torch.tensor([[0.1, 0.9, 0.5]])).tolist() == [[3, 1, 2]]


def test_ties_are_broken_at_random_and_the_same_way_twice() -> None:
    found = metrics.ranks(torch.zeros(4000, 5))
    assert (found.sort(1).values == torch.arange(1, 6)).all()
    # the mean of 4000 uniform ranks has a standard error of sqrt(2 / 4000) = 0.022
    assert (found.double().mean(0) - 3).abs().max() < 0.1
    assert (metrics.ranks(torch.zeros(4000, 5)) == found).all()


def test_true_positive_rate_takes_as_many_as_are_true() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    truth = torch.tensor([[True, False, True, False], [True, False, False, False]])
    assert metrics.true_positive_rate(scores, truth) == pytest.approx((1 / 2 + 1) / 2)


def test_median_rank_of_an_even_number_lies_between() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    truth = torch.tensor([[True, True, False, False]] * 2)
    assert metrics.median_rank(scores, truth) == pytest.approx((1.5 + 3.5) / 2)


def test_average_precision_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    from sklearn.metrics import average_precision_score

    scores = torch.rand(20, 30, generator=generator)
    truth = torch.rand(20, 30, generator=generator) < 0.3
    expected = average_precision_score(truth.numpy(), scores.numpy(), average="samples")
    assert metrics.average_precision(scores, truth) == pytest.approx(float(expected), abs=1e-12)


def test_selection_counts_found_and_false() -> None:
    truth = torch.tensor([[True, True, False, False], [True, True, False, False]])
    selected = torch.tensor([[True, False, True, False], [False, False, False, False]])
    assert metrics.selection(selected, truth) == pytest.approx((0.25, 0.25))


def test_areas_of_a_perfect_mask_are_one_at_any_scale() -> None:
    truth = torch.tensor([[True, False, True], [False, True, False]])
    assert metrics.areas(7.0 * truth + 3, truth) == pytest.approx((1, 1, 1))


def test_areas_by_hand() -> None:
    # thresholds in (0, .5] select two features, precision 1/2, recall 1/2; those in (.5, 1] one, 1 and 1/2
    found = metrics.areas(torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[True, False, True]]))
    assert found == pytest.approx((0.75, 0.5, (1 + 2 / 3) / 2))


def additive_curves(scores: list[float], worth: list[float]) -> metrics.Curves:
    """Curves of the score sum(worth of what is kept)."""
    value = torch.tensor(worth)
    return metrics.curves(torch.tensor([scores]), lambda kept, which: kept.float() @ value)


def test_curves_insert_and_remove_in_order() -> None:
    found = additive_curves([0.2, 0.9, 0.5], [1.0, 4.0, 2.0])
    assert found.kept.tolist() == [[0, 4, 6, 7]]
    assert found.removed.tolist() == [[7, 3, 1, 0]]


def test_curves_do_not_depend_on_the_chunk(generator: torch.Generator) -> None:
    scores, value = torch.rand(5, 7, generator=generator), torch.rand(5, 7, generator=generator)
    whole, parts = (
        metrics.curves(scores, lambda kept, which: (kept * value[which]).sum(1), chunk) for chunk in (999, 3)
    )
    assert torch.equal(whole.kept, parts.kept)
    assert torch.equal(whole.removed, parts.removed)


@pytest.mark.parametrize(("worth", "sizes"), [([10.0, 0.0, 0.0], (1, 1)), ([5.0, 4.0, 1.0], (2, 2)),
                                              ([4.0, 3.0, 3.0], (3, 3))])  # fmt: skip
def test_smallest_sets_keep_and_leave_a_tenth(worth: list[float], sizes: tuple[int, int]) -> None:
    assert metrics.smallest_sets(additive_curves([3.0, 2.0, 1.0], worth)) == sizes


def test_jaccard_of_pairs_of_runs() -> None:
    runs = torch.tensor([[[True, True, False]], [[True, False, False]], [[True, True, True]]])
    assert metrics.jaccard(runs) == pytest.approx((1 / 2 + 2 / 3 + 1 / 3) / 3)
    assert metrics.jaccard(torch.zeros(2, 1, 3, dtype=torch.bool)) == 1


def test_rank_correlation_agrees_with_scipy(generator: torch.Generator) -> None:
    from scipy.stats import spearmanr

    first, second = torch.randperm(9, generator=generator), torch.randperm(9, generator=generator)
    found = metrics.rank_correlation(torch.stack([first, second]).unsqueeze(1).double())
    assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


# --- problems and their measures


def test_features_are_means_over_their_elements() -> None:
    problem = linear_problem(feature_mask=torch.tensor([[0, 1, 1]]))
    assert problem.n_features == 2
    assert problem.per_feature(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[1, 3]]
    kept = problem.masked(torch.tensor([[True, False]]), torch.tensor([1]))
    assert kept.tolist() == [[1, 0, 0]]


def test_true_features_are_found_by_influence_of_either_sign() -> None:
    problem = linear_problem()
    assert measures.true_positive_rate(problem, torch.tensor([[2.0, -1.0, 0.5]] * 2)) == {"TPR@k": 100}


def test_insertion_goes_by_the_sign() -> None:
    problem = linear_problem(target=None, truth=None).first(
        1
    )  # scores 2, -1, 0 in this order, mean of 4 steps
    found = measures.insertion_deletion(problem, torch.tensor([[2.0, -1.0, 0.5]]))
    assert found == pytest.approx({"ins": (0 + 2 + 2 + 1) / 4, "del": (1 - 1 - 1 + 0) / 4, "ins-del": 1.5})


def test_the_explained_class_is_scored() -> None:
    problem = linear_problem(
        forward=lambda rows: torch.stack([rows[:, 0], rows[:, 2]], 1), target=torch.tensor([0, 1])
    )
    assert problem.score(problem.inputs, torch.tensor([0, 1])).tolist() == [1, 2]


def test_data_is_the_reference_only_where_the_output_is_matched() -> None:
    data = torch.zeros(4, 3)
    assert linear_problem(data=data).references is data
    assert linear_problem(data=data, question="score").references is None


def test_unknown_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="has no known true features"):
        measures.average_precision(linear_problem(truth=None), torch.zeros(2, 3))


def test_a_run_counts_rows_and_leaves_random_states_alone() -> None:
    def attribute(problem: Problem, forward: object, seed: int) -> torch.Tensor:
        forward(torch.cat([problem.inputs] * 3))
        return torch.rand(problem.inputs.shape)

    state = torch.get_rng_state()
    outcome = run(Method("random", attribute), linear_problem(), seed=5)
    assert outcome.evaluations == 3
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(
        outcome.attributions, run(Method("random", attribute), linear_problem(), 5).attributions
    )


# --- generators


def test_syn_logits_by_hand() -> None:
    x = torch.tensor([[2.0, 3.0, 1.0, 1.0, 2.0, 0.0, 0.5, -2.0, 1.0, 0.3, 1.0]])
    product, squares = 6.0, 1 + 1 + 4 + 0 - 4
    third = -10 * math.sin(0.1) + 2 + 1 + math.exp(-0.3) - 2.4
    found = [float(tabular.logit(name, x)) for name in ("syn1", "syn2", "syn3", "syn4", "syn5", "syn6")]
    assert found == pytest.approx([product, squares, third, squares, third, third], abs=1e-5)
    x[0, 10] = -1
    found = [float(tabular.logit(name, x)) for name in ("syn4", "syn5", "syn6")]
    assert found == pytest.approx([product, product, squares], abs=1e-5)
    assert float(tabular.logit("xor", x)) == product
    assert float(tabular.logit("orange", x)) == 4 + 9 + 1 + 1 - 4


@pytest.mark.parametrize("name", ["syn1", "syn2", "syn3", "syn4", "syn5", "syn6", "xor", "orange"])
def test_the_label_depends_on_the_true_features_and_no_others(name: str, generator: torch.Generator) -> None:
    width = tabular.WIDTH.get(name, 11)
    x = torch.randn(50, width, generator=generator)
    truth = tabular.truth(name, x)
    for column in range(width):
        moved = x.clone()
        moved[:, column] = -x[:, column] - 0.37 * x[:, column].sign()  # crosses zero: x10 changes the branch
        changed = tabular.logit(name, moved) != tabular.logit(name, x)
        assert torch.equal(changed, truth[:, column]), column


def test_syn4_to_6_have_the_true_features_of_their_branch() -> None:
    x = torch.zeros(2, 11)
    x[0, 10], x[1, 10] = -1, 1
    found = {name: tabular.truth(name, x).sum(1).tolist() for name in ("syn4", "syn5", "syn6")}
    assert found == {"syn4": [3, 5], "syn5": [3, 5], "syn6": [5, 5]}


def test_tetrominoes_stand_where_they_should() -> None:
    t, el = (pattern.reshape(8, 8) for pattern in tetromino.patterns())
    assert t.nonzero().tolist() == [[1, 1], [2, 1], [2, 2], [3, 1]]
    assert el.nonzero().tolist() == [[4, 5], [5, 5], [6, 5], [6, 6]]


@pytest.mark.parametrize("kind", ["linear", "multiplicative", "xor"])
def test_tetromino_images_follow_their_formula(kind: str, generator: torch.Generator) -> None:
    images, label = tetromino.sample(kind, 20_000, generator)
    t, el = tetromino.patterns()
    assert images.abs().max() == 1
    assert label.sum() == 10_000
    on_t, on_el = images[:, t > 0], images[:, el > 0]
    elsewhere = float(images[:, (t + el) == 0].std())
    if kind == "linear":  # a pattern of 4 of 64 pixels at norm 1 is 4 standard deviations of the noise high
        expected = 0.18 * 4 / 0.82 * elsewhere
        assert float(on_t[label == 0].mean()) == pytest.approx(expected, rel=0.05)
        assert float(on_el[label == 1].mean()) == pytest.approx(expected, rel=0.05)
        assert on_t[label == 1].mean().abs() < 0.02 * expected
    elif kind == "multiplicative":
        assert float(on_t[label == 0].std()) / elsewhere == pytest.approx(0.3, rel=0.05)
        assert float(on_el[label == 0].std()) / elsewhere == pytest.approx(1, rel=0.05)
    else:
        agree = on_t.mean(1) * on_el.mean(1) > 0
        assert (agree == (label == 0)).double().mean() > 0.99


def test_series_satisfy_their_recursion() -> None:
    x = series.arma(2, torch.Generator().manual_seed(3)).double()
    noise = torch.randn(2, 50, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    left = 2 * x[:, 3:] + 0.5 * x[:, 2:-1] + 0.2 * x[:, 1:-2] + 0.1 * x[:, :-3]
    assert torch.allclose(left, 2 * noise[:, 3:], atol=1e-5)  # x was rounded to float32


@pytest.mark.parametrize("name", ["rare_features", "rare_times"])
def test_white_box_sees_its_block_and_nothing_else(name: str, generator: torch.Generator) -> None:
    block = series.blocks(name, 10, generator)
    assert (block.flatten(1).sum(1) == 125).all()
    times, features = block.any(2).sum(1), block.any(1).sum(1)
    assert (times == (25 if name == "rare_features" else 5)).all()
    assert (features == (5 if name == "rare_features" else 25)).all()
    x = series.arma(10, generator).requires_grad_()
    series.energy(x, block.float()).sum().backward()
    assert torch.equal(x.grad != 0, block)


def test_a_canvas_shows_its_digit_in_the_box_and_clutter_elsewhere(generator: torch.Generator) -> None:
    pool = torch.rand(12, 1, 8, 8, generator=generator) + 1  # no digit has a black pixel
    x, label, corner = clutter.draw(pool, torch.arange(12), 30, generator)
    assert x.shape == (30, 1, 32, 32)
    assert (corner % 4 == 0).all()
    for canvas, which, (line, column) in zip(x[:, 0], label, corner.tolist(), strict=True):
        digit = canvas[line : line + 16, column : column + 16]
        assert torch.equal(digit[::2, ::2], pool[which, 0])
        assert torch.equal(digit[1::2, 1::2], pool[which, 0])
        outside = canvas.clone()
        outside[line : line + 16, column : column + 16] = 0
        assert 0 < (outside > 0).sum() <= 6 * 36


def test_cells_inside_the_box() -> None:
    ids = clutter.cells()
    assert ids.shape == (1, 1, 32, 32)
    assert (torch.bincount(ids.flatten()) == 16).all()
    found = clutter.inside(torch.tensor([[4, 12]])).reshape(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:5, 3:7] = True
    assert torch.equal(found, expected)
    assert found.flatten()[ids[0, 0, 4:20, 12:28]].all()


def test_log_odds_are_those_of_the_class_probability() -> None:
    net = clutter.DigitLogOdds((2, 3)).eval()
    x = torch.rand(4, 1, 32, 32)
    probability = net.logits(x).softmax(1)
    assert torch.allclose(net(x), torch.log(probability) - torch.log1p(-probability), atol=1e-4)
    assert digits.DigitProbabilities()(torch.rand(4, 1, 8, 8)).sum(1).tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_ten_columns_decide_and_no_others(seed: int, generator: torch.Generator) -> None:
    deciding = columns.places(30, seed)
    x = torch.randn(50, 30, generator=generator)
    for column in range(30):
        moved = x.clone()
        moved[:, column] += 1
        changed = columns.logit(moved, deciding) != columns.logit(x, deciding)
        assert changed.all() == (column in deciding.tolist())
        assert changed.any() == (column in deciding.tolist())


def test_columns_follow_their_formula() -> None:
    d = torch.tensor([[3.0, 2.0, 0.0, 0.0, 0.0, 1.0, 5.0, 0.0, 0.0, 4.0]])
    assert columns.logit(d, torch.arange(10)) == 3 + 2 - 1 - 5 - 4 + 1.5 * (3 * 1 - 2 * 5)


@pytest.mark.parametrize("kind", ["each", "accumulated"])
def test_the_state_says_which_channel_decides(kind: str, generator: torch.Generator) -> None:
    drawn = switching.sample(kind, 6, generator)
    for time in (
        0,
        switching.INNER,
    ):  # the decision at a time depends on the true cells up to it and no others
        truth = switching.truth(drawn, time)
        if kind == "each":
            truth[:, :time] = False
        for cell in ((0, 1), (0, 2), (time, 0), (time, 1), (time, 2), (49, 1), (49, 2)):
            moved = drawn.x.clone()
            moved[:, cell[0], cell[1]] += 1
            other = switching.log_odds(kind, switching.Series(moved, drawn.channel))
            changed = (other != switching.log_odds(kind, drawn))[:, time]
            assert torch.equal(changed, truth[:, cell[0], cell[1]]), cell


def test_states_stay_as_often_as_they_should(generator: torch.Generator) -> None:
    channel = switching.sample("each", 2000, generator).channel
    stayed = (channel[:, 1:] == channel[:, :-1]).double().mean()
    assert stayed == pytest.approx(0.9, abs=0.005)  # 98,000 draws have a standard error of .001
    told = switching.sample("accumulated", 2000, generator)
    right = (told.x[:, :, 0] > 0) == (told.channel == 2)
    assert right.double().mean() == pytest.approx(0.977, abs=0.003)  # two standard deviations from zero


def test_the_net_of_an_inner_time_does_not_see_later_ones(generator: torch.Generator) -> None:
    net = switching.Read(switching.Decisions(switching.Recipe("accumulated", hidden=4)), 10)
    x = torch.randn(2, 50, 3, generator=generator).requires_grad_()
    net(x).sum().backward()
    seen = (x.grad != 0).any(2).all(0)
    assert seen.tolist() == [True] * 11 + [False] * 39


def test_unseen_features_above_true_ones_are_counted() -> None:
    problem = linear_problem(
        truth=torch.tensor([[True, True, False, False, False]] * 2), inputs=torch.ones(2, 5)
    )
    scores = torch.tensor([[5.0, 3.0, 1.0, 4.0, 2.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    unseen = torch.tensor([False, False, False, True, True])
    found = measures.unseen_above(problem, scores, unseen)
    assert found == {"unseen first": (1 / 4 + 0) / 2, "any unseen": 1 / 2}


@pytest.mark.parametrize("ordered", [False, True])
def test_two_words_decide_only_together(ordered: bool, generator: torch.Generator) -> None:
    ids = pairs.sample(ordered, 4000, generator)
    is_a, is_b = ids == pairs.A, ids == pairs.B
    assert (is_a.sum(1) <= 1).all()
    assert (is_b.sum(1) <= 1).all()
    both = is_a.any(1) & is_b.any(1)
    label = pairs.label(ordered, ids)
    in_order = is_a.long().argmax(1) < is_b.long().argmax(1)
    assert torch.equal(label, both & in_order if ordered else both)
    assert label.double().mean() == pytest.approx(0.5, abs=0.03)
    for others in (is_a.any(1) & ~is_b.any(1), is_b.any(1) & ~is_a.any(1)):  # one of the two does not tell
        assert others.double().mean() > 0.1
    assert (both & ~label).double().mean() == pytest.approx(0.125 if ordered else 0, abs=0.02)
    for word in (pairs.A, pairs.B):
        assert not pairs.label(ordered, ids.masked_fill(ids == word, pairs.PAD)).any()


def test_half_of_the_sentences_lose_words(generator: torch.Generator) -> None:
    ids = pairs.sample(False, 400, generator)
    left = (pairs.padded(ids, generator) == pairs.PAD).double().mean(1)
    assert (left[::2] == 0).all()
    assert left[1::2].mean() == pytest.approx(0.5, abs=0.1)


def test_each_cluster_has_features_of_its_own(generator: torch.Generator) -> None:
    rules = clusters.Rules.draw(0)
    assert ((rules.weights != 0).sum(1) == 4).all()
    assert ((rules.weights != 0).sum(0) == 1).all()
    x, cluster = rules.sample(2000, generator)
    for which in range(5):
        at = cluster == which
        assert (x[at].mean(0) - rules.centres[which]).abs().max() < 0.25  # some 400 rows: five errors of .05
        moved = x[at] + (rules.weights[which] == 0)
        assert torch.equal(rules.log_odds(moved, cluster[at]), rules.log_odds(x[at], cluster[at]))
    assert (rules.log_odds(x, cluster) > 0).double().mean() == pytest.approx(0.5, abs=0.05)


# --- nets on disk


def test_a_net_is_trained_once_for_each_recipe_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nets, "CACHE", tmp_path)
    trainings = []

    def train(net: nn.Module) -> None:
        trainings.append(net)
        nn.init.constant_(net.weight, len(trainings))

    def weight(seed: int, recipe: str) -> float:
        return float(nets.trained("line", seed, recipe, lambda: nn.Linear(1, 1), train).weight)

    state = torch.get_rng_state()
    assert [weight(0, "a"), weight(0, "a"), weight(1, "a"), weight(0, "b"), weight(0, "a")] == [1, 1, 2, 3, 1]
    assert torch.equal(torch.get_rng_state(), state)


def test_fit_learns_a_line(generator: torch.Generator) -> None:
    net = nn.Linear(2, 1)
    x = torch.randn(64, 2, generator=generator)
    y = x @ torch.tensor([[3.0], [-2.0]]) + 1
    seen: list[int] = []
    nets.fit(net, lambda step: (net(x) - y).square().mean(), 300, lr=0.1, after=seen.append)
    assert net.weight.flatten().tolist() == pytest.approx([3, -2], abs=1e-2)
    assert seen == list(range(300))


def test_batches_use_every_row_once_an_epoch() -> None:
    steps = nets.batches(10, 5, 3, seed=0)
    assert [len(step) for step in steps] == [5] * 6
    assert torch.cat(steps[:2]).sort().values.tolist() == list(range(10))


# --- the project


def weighted(x: torch.Tensor) -> torch.Tensor:
    """Score 3 x0 - 3 x1, and 0 for the four other columns."""
    return 3 * x[:, 0] - 3 * x[:, 1]


def test_every_reading_of_a_variant_is_measured() -> None:
    x = torch.tensor([[1.0, 1.5, 1.0, 1.0, 1.0, 1.0], [2.0, -1.0, 1.0, 1.0, 1.0, 1.0]])
    problem = linear_problem(
        forward=weighted,
        inputs=x,
        measures=(measures.precision_at_k,),
        truth=torch.tensor([[True, True, False, False, False, False]] * 2),
        variants=(Variant("", "match", "zero"), Variant("Hybrid, few", "score", "zero", 40)),
    )
    default, few = ours.methods_of(problem)
    assert [default.name, few.name] == ["stg_attr", "stg_attr: Hybrid, few"]
    answer = run(default, problem, seed=0).answer
    found = rows.measured(problem, default, answer)
    assert {name: found[name] for name in ("P@2", "P@2, averaged", "P@2, influence", "P@2, effect")} == {
        "P@2": 1, "P@2, averaged": 1, "P@2, influence": 1, "P@2, effect": 1,
    }  # fmt: skip
    assert found["precision"] == found["recall"] == 1
    assert found["selected"] == 2
    assert sum(value for name, value in found.items() if name.startswith("status ")) == 1
    assert run(few, problem, seed=0).evaluations <= 40


def test_words_are_explained_at_the_embedding() -> None:
    recipe = pairs.Recipe(False, True, width=4, hidden=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = pairs.Sentence(recipe).eval().requires_grad_(False)
    ids = pairs.sample(False, 3, torch.Generator().manual_seed(0))
    problem = linear_problem(
        forward=nets.TwoClasses(net),
        inputs=ids,
        target=torch.ones(3, dtype=torch.long),
        truth=torch.ones_like(ids, dtype=torch.bool),
        layer=net.embedding,
        window=(2,),
        evaluations=30,
        peers=pairs.PEERS,
        variants=(Variant("", "score", "zero", 60),),
    )
    found = {method.name: run(method, problem, seed=0) for method in rows.methods(problem)}
    assert set(found) == {"stg_attr", *pairs.PEERS}
    assert all(outcome.attributions.shape == ids.shape for outcome in found.values())
    whole, nothing = problem.forward(ids)[:, 1], problem.forward(0 * ids)[:, 1]
    total = found["LayerIntegratedGradients"].attributions.sum(1)
    assert torch.allclose(total, whole - nothing, atol=1e-3)
    without_first = ids.clone()
    without_first[:, 0] = 0
    first = found["FeatureAblation"].attributions[:, 0]
    assert torch.allclose(first, whole - problem.forward(without_first)[:, 1], atol=1e-6)


def test_only_ours_measures_every_variant(called: list[str]) -> None:
    job = rows.Job("xor", 0, (0,), None, ("stg_attr",))
    names = ("stg_attr", "stg_attr: Hybrid", "Saliency")
    assert [job.wants(Method(name, lambda *_: torch.zeros(1))) for name in names] == [True, True, False]


# --- peers


def test_peers_give_the_shape_of_the_inputs_and_count_their_evaluations() -> None:
    from benchmarks.quality.peers import PEERS

    problem = linear_problem(evaluations=40, window=(1,))
    expected = {
        "Saliency": 1, "InputXGradient": 1, "IntegratedGradients": 50,
        "GradientShap": 250, "FeatureAblation": 4, "Occlusion": 4,
        "ShapleyValueSampling": 13 * 3 + 1, "KernelShap": 40, "Lime": 40,
    }  # fmt: skip
    found = {}
    for peer in filter(lambda peer: peer.fits(problem), PEERS):
        outcome = run(peer, problem, seed=0)
        assert outcome.attributions.shape == problem.inputs.shape, peer.name
        found[peer.name] = outcome.evaluations
        if peer.name in (
            "InputXGradient",
            "IntegratedGradients",
            "FeatureAblation",
            "ShapleyValueSampling",
            "KernelShap",
        ):
            assert torch.allclose(
                outcome.attributions, problem.inputs * torch.tensor([2.0, -1.0, 0]), atol=1e-3
            )
    # captum evaluates an input once more for the size of its output, and KernelShap the two ends
    assert found == pytest.approx(expected, abs=4)


# --- runs


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods called by jobs on the linear problem, more than for their first row."""
    calls: list[str] = []

    def method(name: str, *, random: bool, gates: bool = False) -> Method:
        def attribute(problem: Problem, forward: object, seed: int) -> torch.Tensor:
            if len(problem.inputs) > 1:
                calls.append(name)
            return torch.tensor([0.9, 0.8, 0.1]).expand(len(problem.inputs), -1)

        return Method(name, attribute, random=random, gates=gates)

    found = (method("stg_attr", random=True, gates=True), method("fixed", random=False))
    monkeypatch.setattr(rows, "methods", lambda problem: found)
    monkeypatch.setattr(rows, "load", lambda name, seed: linear_problem())
    monkeypatch.setattr(rows, "CACHE", tmp_path)
    return calls


def test_a_job_runs_each_seed_that_matters(called: list[str]) -> None:
    found = rows.run_job(rows.Job("xor", 0, (0, 1, 2), None, None))
    assert called == ["stg_attr"] * 3 + ["fixed"]
    assert [row.solver_seed for row in found] == [0, 1, 2, 0]
    assert found[0].values == {"TPR@k": 100, "TPR": 100, "FDR": 0}
    assert found[3].values == {"TPR@k": 100}


def test_methods_that_are_not_wanted_come_from_the_cache(called: list[str]) -> None:
    first = rows.run_job(rows.Job("xor", 0, (0, 1), None, None))
    called.clear()
    again = rows.run_job(rows.Job("xor", 0, (0, 1), None, ("stg_attr",)))
    assert called == ["stg_attr"] * 2
    assert [row.values for row in again] == [row.values for row in first]
    other_rows = rows.run_job(rows.Job("xor", 0, (0, 1), 2, ("stg_attr",)))
    assert {row.method for row in other_rows} == {"stg_attr"}


def test_stability_compares_the_sets_of_several_seeds(called: list[str]) -> None:
    found = rows.run_job(rows.Job("stability", 0, (0,), None, None))
    assert called == ["stg_attr"] * 4 + ["fixed"] * 2
    assert [row.values for row in found] == [{"Jaccard": 1, "rank correlation": 1}] * 2


# --- reports


def row(
    method: str, value: float, *, problem: str = "xor", measure: str = "median rank", seed: int = 0
) -> Row:
    return Row(problem, method, 0, seed, 0.98, 100, 2.0, {measure: value})


def test_a_table_says_mean_spread_and_best() -> None:
    text = tables.report([row("stg_attr", 1.6), row("stg_attr", 1.4, seed=1), row("Lime", 1.9)])
    assert "| stg_attr | 100 | 2.0 | **1.50** ± 0.14 |" in text
    assert "| Lime | 100 | 2.0 | 1.90 |" in text
    assert "median rank <= 1.52 on xor: 1.5, met" in text
    assert "no peer does better in any of 1 columns" in text


def test_a_better_peer_is_named() -> None:
    found = [row("stg_attr", 1.6), row("Lime", 1.5), row("Saliency", 1.9)]
    assert against_peers("P2", found) == ["xor median rank: Lime does better, 1.5 against 1.6"]
    assert against_peers("P2", found, but=("Lime",)) == ["no peer but Lime does better in any of 1 columns"]


def test_variants_have_a_column_for_each_reading_and_peers_compare_with_all() -> None:
    def columns_row(method: str, **values: float) -> Row:
        named = {name.replace("_at_", "@").replace("__", ", "): value for name, value in values.items()}
        return Row("columns_100", method, 0, 0, 0.97, 100, 2.0, named)

    found = [
        columns_row("stg_attr", P_at_10=0.8, P_at_10__influence=1.0, selected=12.0, precision=0.5)
        for _ in range(2)
    ]
    found[0].values["status CONVERGED"] = found[1].values["status NOT_CONVERGED"] = 1.0
    found.append(columns_row("stg_attr: Hybrid, zero", P_at_10=0.6, P_at_10__influence=0.9, selected=2.0))
    found.append(columns_row("Saliency", P_at_10=0.9))
    lines = tables.report(found).splitlines()
    assert "| method | evals | CPU ms | P@10 | P@10, influence | selected | precision |" in lines
    assert "| stg_attr: Hybrid, zero | 100 | 2.0 | 0.600 | 0.900 | 2.0 | - |" in lines
    assert "| Saliency | 100 | 2.0 | 0.900 | - | - | - |" in lines  # the best of all readings is in bold
    assert "- stg_attr: 50 % NOT_CONVERGED, 50 % CONVERGED" in lines
    assert [line for line in lines if "does better" in line] == [
        "- columns_100 P@10: Saliency does better, 0.9 against 0.8"
    ]


def test_a_target_over_a_table_waits_for_all_its_problems() -> None:
    target = Target("P2", ("xor", "orange"), "median rank", 2.0, at_most=True)
    found = [row("stg_attr", 1.6)]
    assert target.verdict(found) is None
    found += [row("stg_attr", 2.6, problem="orange")]
    assert target.verdict(found) == "median rank <= 2 on all of P2: 2.1, **missed**"


def test_names_are_tables_or_problems() -> None:
    assert main.problem_names(["p2", "digits", "xor"]) == ["xor", "orange", "digits"]
    assert len(main.problem_names([])) == 27
    with pytest.raises(SystemExit, match="no table or problem P0"):
        main.problem_names(["P0"])
