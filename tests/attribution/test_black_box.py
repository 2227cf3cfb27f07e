"""Models without gradients: what they may be and return, how often they are run, and what if they fail."""

import contextlib
import itertools
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.blackbox import switch, switch_found
from stg_attr import (
    ArgumentError,
    Bernoulli,
    BinaryConcrete,
    Budget,
    Delete,
    FixedWeight,
    Gaussian,
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    ScoreFunction,
    Status,
    StochasticGates,
    Sweep,
)
from tests.examples import examples
from tests.models import CountedByExample

ONES = torch.ones(3, 6)
ESTIMATORS = [Reparameterized(), ScoreFunction()]


def both(x):
    """1 where the first two columns are above 0, [rows]."""
    return ((x[:, 0] > 0) & (x[:, 1] > 0)).float()


def explain(forward, inputs=ONES, estimator=None, arguments=None, **parts):
    stg = StochasticGates(forward, estimator=estimator or ScoreFunction(), **parts)
    return stg.explain(inputs, **(arguments or {}))


FIRST_TWO = [[True, True, False, False, False, False]] * 3

# ---------------------------------------------------------------- what a model may return

OUTPUTS = {
    "tensor": both,
    "float64": lambda x: both(x).double(),
    "flags": lambda x: both(x) > 0,
    "whole numbers": lambda x: both(x).long(),
    "array": lambda x: both(x).numpy(),
    "array of float64": lambda x: both(x).double().numpy(),
    "list of floats": lambda x: both(x).tolist(),
    "list of numpy numbers": lambda x: list(both(x).numpy()),
    "list of tensors": lambda x: list(both(x)),
    "column": lambda x: both(x)[:, None].numpy(),
}


@pytest.mark.parametrize("forward", OUTPUTS.values(), ids=OUTPUTS)
def test_a_model_returns_numbers_of_any_kind(forward, untouched):
    with untouched(None, ONES):
        explanation = explain(forward)
    assert explanation.selected.tolist() == FIRST_TWO
    assert torch.equal(explanation.attributions, explain(both).attributions)


@pytest.mark.parametrize(
    "number",
    [float, int, bool, np.float32, torch.as_tensor],
    ids=["float", "int", "bool", "float32", "tensor"],
)
def test_a_function_of_a_single_row_returns_a_number(number):
    """Examples one at a time; batches by internal_batch_size."""

    def forward(x):
        assert len(x) == 1
        return number(both(x)[0])

    assert explain(forward, ONES[:1]).selected.tolist() == FIRST_TWO[:1]
    assert explain(forward, arguments={"internal_batch_size": 1}).selected.tolist() == FIRST_TWO
    with pytest.raises(
        ArgumentError, match=r"one row for each of 3.*found shape \(\).*internal_batch_size=1"
    ):
        explain(lambda x: number(both(x)[0]))


def test_a_table_of_outputs_has_a_target():
    def forward(x):
        return np.stack([both(x).numpy(), 1 - both(x).numpy()], 1)

    assert explain(forward).target.tolist() == [[0], [0], [0]]  # each example's own prediction
    assert explain(forward, arguments={"target": 1}).scores.full.tolist() == [0, 0, 0]


@pytest.mark.parametrize("output", [["a"] * 3, [[1.0], [1.0, 2.0], [3.0]], [None] * 3, np.array(["a"] * 3)])
def test_what_is_no_number_is_refused(output):
    with pytest.raises(ArgumentError, match=r"forward_func: expected a tensor of real numbers"):
        explain(lambda x: output)


@pytest.mark.parametrize("method", ["predict_proba", "predict"])
def test_gradient_boosting_of_scikit_learn_as_it_is(method):
    """Its own method, without a wrapper; labels depend on columns 1 and 4 of 6. `predict` warns of labels."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1500, 6))
    y = (x[:, 1] * x[:, 4] > 0).astype(int)
    model = ensemble.GradientBoostingClassifier(n_estimators=60, max_depth=4, random_state=0).fit(x, y)
    rows, data = torch.tensor(x[:24]), torch.tensor(x[:200])
    stg = StochasticGates(
        getattr(model, method), objective=Preserve(OutputMatch()), estimator=ScoreFunction()
    )
    labels = method == "predict"
    with pytest.warns(UserWarning, match="whole numbers") if labels else contextlib.nullcontext():
        explanation = stg.explain(rows, baselines=ReferenceSet(data))
    found = explanation.log_alpha.topk(2).indices.sort().values
    assert float((found == torch.tensor([1, 4])).all(1).double().mean()) >= 0.95  # 1.0 of four models


# ---------------------------------------------------------------- what a model may be given


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64])
def test_whole_numbers_and_flags(dtype):
    seen = set()

    def forward(x):
        seen.add(x.dtype)
        return both(x)

    explanation = explain(forward, ONES.to(dtype))
    assert explanation.selected.tolist() == FIRST_TWO
    assert explanation.attributions.dtype == torch.float32
    assert seen == {dtype}


def test_whole_numbers_with_reference_rows():
    rows = torch.tensor([[0] * 6, [-1] * 6])
    explanation = explain(both, ONES.long(), arguments={"baselines": ReferenceSet(rows)})
    assert explanation.selected.tolist() == FIRST_TWO
    assert explanation.baselines[0].tolist() == [[-0.5] * 6]


@pytest.mark.parametrize(
    ("dtype", "baseline"),
    [
        (torch.int64, 0.5),
        (torch.int64, torch.full((1, 6), 0.5)),
        (torch.int64, lambda x: x / 3),
        (torch.uint8, -1),
        (torch.uint8, 256.0),
        (torch.bool, 0.5),
        (torch.bool, 2),
    ],
)
def test_a_baseline_that_the_input_cannot_hold_is_refused(dtype, baseline):
    with pytest.raises(ArgumentError, match=r"baseline of input 0: .*float\(\)"):
        explain(both, ONES.to(dtype), arguments={"baselines": baseline})


@pytest.mark.parametrize(("dtype", "baseline"), [(torch.int64, 2.0), (torch.bool, 0), (torch.bool, True)])
def test_a_baseline_of_another_dtype_that_fits_is_taken(dtype, baseline):
    explanation = explain(lambda x: x.float().sum(1), ONES.to(dtype), arguments={"baselines": baseline})
    assert explanation.baselines[0].dtype == dtype


# ---------------------------------------------------------------- gates


def test_gates_and_estimators_that_go_together():
    assert StochasticGates(both, estimator=ScoreFunction()).gates == Bernoulli()
    assert StochasticGates(both, estimator=ScoreFunction(), gates=Bernoulli()).gates == Bernoulli()
    assert isinstance(StochasticGates(both).gates, BinaryConcrete)
    for gates in (BinaryConcrete(), Gaussian()):
        with pytest.raises(ArgumentError, match=r"gates: expected gates that ScoreFunction can learn"):
            StochasticGates(both, estimator=ScoreFunction(), gates=gates)
    with pytest.raises(
        ArgumentError, match=r"gates: expected gates that Reparameterized can learn.*Bernoulli"
    ):
        StochasticGates(both, gates=Bernoulli())


def test_the_model_is_shown_features_whole_or_not_at_all():
    def forward(x):
        assert bool(((x == 0) | (x == 1)).all())
        assert not torch.is_grad_enabled()
        return both(x)

    assert explain(forward).selected.tolist() == FIRST_TWO


@pytest.mark.parametrize("sparsity", [Sweep(), FixedWeight(0.0), Budget(1.0), Budget(0.5)], ids=repr)
@pytest.mark.parametrize("objective", [Preserve(), Delete(), Hybrid(OutputMatch())], ids=repr)
def test_of_many_features_only_those_that_move_a_score_are_reported(objective, sparsity):
    """Five of 40 columns count, two of them only while another is hidden or shown."""

    def forward(x):
        return torch.maximum(x[:, 3], x[:, 8]) + x[:, 11] * x[:, 19] + 0.5 * x[:, 30]

    x = 1 + torch.rand(4, 40, generator=torch.Generator().manual_seed(0))
    used = torch.zeros(40, dtype=torch.bool)
    used[[3, 8, 11, 19, 30]] = True
    explanation = explain(forward, x, objective=objective, sparsity=sparsity)
    assert not bool((explanation.selected & ~used).any())
    assert bool(explanation.selected.any(1).all())
    assert not bool((explanation.at(budget=1.0).selected & ~used & explanation.influence.eq(0)).any())


def test_the_switch_of_a_hard_where_is_found_that_slopes_do_not_show():
    """A column that decides which others count: among the top 5 of 10 for at least 95 % of 200 examples."""
    for seed in range(3):
        stg = StochasticGates(switch, objective=Preserve(OutputMatch()), estimator=ScoreFunction())
        assert switch_found(stg, seed, n_steps=24)["switch"] >= 0.95
    mixed = StochasticGates(switch, objective=Preserve(OutputMatch()))
    assert switch_found(mixed, 0, n_steps=24)["switch"] >= 0.9


# ---------------------------------------------------------------- max_evals


def smooth(x):
    return torch.tanh(x @ torch.linspace(-1, 2, x.shape[1])) + x[:, 0] * x[:, 1]


@st.composite
def budgeted(draw):
    objective = draw(st.sampled_from([Preserve(), Delete(OutputMatch()), Hybrid()]))
    return {
        "max_evals": draw(st.integers(1, 400)),
        "n_steps": draw(st.sampled_from([None, 1, 5, 40])),
        "n_samples": draw(st.sampled_from([None, 1, 7, 64])),
        "internal_batch_size": draw(st.sampled_from([None, 1, 2])),
        "perturbations_per_eval": draw(st.sampled_from([None, 1, 5])),
        "baselines": draw(st.sampled_from([None, 3])),
        "parts": {
            "objective": objective,
            "sparsity": draw(st.sampled_from([Sweep(), FixedWeight(), Budget(0.4)])),
            "estimator": draw(st.sampled_from(ESTIMATORS)),
        },
        "run": draw(st.sampled_from(["attribute", "explain"])),
    }


@given(setting=budgeted(), n=st.integers(2, 20), seed=st.integers(0, 99))
@examples(150)
def test_no_example_is_ever_run_more_often_than_max_evals_and_a_number_too_small_is_refused(setting, n, seed):
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(seed))
    parts, run, references = setting.pop("parts"), setting.pop("run"), setting["baselines"] or 1
    setting["baselines"] = ReferenceSet(torch.randn(3, n)) if references == 3 else None
    model, allowed = CountedByExample(smooth, 3), setting["max_evals"]
    references = min(references, max(1, allowed // 70))  # with few evaluations, sets are measured with few
    checks = 1 if run == "explain" or references > 1 else 2
    least = (
        1 + references + parts["objective"].n_views + (26 * references if run == "explain" else 0) + checks
    )
    solve = getattr(StochasticGates(model, **parts), run)
    arguments = {"additional_forward_args": torch.arange(3), "seed": seed, **setting}
    if allowed < least:
        with pytest.raises(ArgumentError, match=rf"max_evals: expected at least {least}; found {allowed}"):
            solve(x, **arguments)
        assert not bool(model.rows.any())
        return
    found = solve(x, **arguments)
    assert int(model.rows.max()) <= allowed
    if run == "explain":
        assert torch.equal(found.n_evaluations, model.rows)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("max_evals", [60, 300])
def test_with_max_evals_too_an_example_gets_the_same_alone_and_in_a_batch(estimator, max_evals):
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    stg = StochasticGates(CountedByExample(smooth, 5), estimator=estimator)
    together = stg.explain(x, additional_forward_args=torch.arange(5), max_evals=max_evals)
    for i in range(5):
        name = torch.full((1,), i)
        alone = stg.explain(x[i : i + 1], additional_forward_args=name, max_evals=max_evals)
        torch.testing.assert_close(together.attributions[i], alone.attributions[0], rtol=0, atol=1e-4)
        # the first and the last example are also scored without the others
        assert together.n_evaluations[i] - int(i in (0, 4)) == alone.n_evaluations[0]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_more_evaluations_are_used_where_they_are_allowed(estimator):
    x = torch.randn(2, 30, generator=torch.Generator().manual_seed(2))
    weight = torch.randn(30, 40, generator=torch.Generator().manual_seed(3))
    used = []
    for allowed in (100, 400, 1600):
        stg = StochasticGates(lambda y: torch.tanh(y @ weight).square().sum(1), estimator=estimator)
        used.append(float(stg.explain(x, max_evals=allowed).n_evaluations.float().mean()))
    assert used[0] > 60
    assert used[1] > 200
    assert used[2] > used[1]


def test_sets_are_measured_with_as_many_references_as_there_are_evaluations_for():
    x, rows = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(4))
    model, asked = torch.nn.Linear(12, 1), []
    for allowed in (69, 140, 350, 5000):
        given = ReferenceSet(rows.repeat(3, 1))  # nine
        found = StochasticGates(model).explain(x, given, max_evals=allowed)
        few = min(5, max(1, allowed // 70))
        asked.append(few)
        shown = model(given.rows[found.question.blend.reference_order[:few]]).mean()
        torch.testing.assert_close(found.scores.baseline, shown.expand(3).detach())
        assert int(found.n_evaluations.max()) <= allowed
    assert asked == [1, 2, 5, 5]


def test_without_an_evaluation_to_spare_for_the_reading_everything_is_reported():
    explanation = explain(lambda x: x.sum(1), arguments={"max_evals": 1 + 1 + 2 + 26 + 2})
    assert bool(explanation.selected.all())
    assert explanation.n_evaluations.tolist() == [31, 30, 31]  # two were also scored alone


# ---------------------------------------------------------------- a model that fails


class Failing:
    """Raises at some of its calls."""

    def __init__(self, *calls, failure=None):
        self.failure = failure or ConnectionError("the line is dead")
        self.calls, self.numbers = calls, itertools.count()

    def __call__(self, x):
        if next(self.numbers) in self.calls:
            raise self.failure
        return torch.tanh(x @ torch.tensor([2.0, -1.0, 0.5, 1.0, 0.2, 3.0]))


DEAD = range(10**6)
LEARNED = pytest.warns(UserWarning, match=r"ConnectionError: the line is dead")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("call", [5, 7])
@pytest.mark.parametrize("for_good", [False, True])
def test_what_was_learned_before_a_failure_is_kept(estimator, call, for_good, untouched):
    """Three calls come before the first step; a model that answers again is measured."""
    failing = Failing(*(DEAD[call:] if for_good else [call]))
    with untouched(None, ONES), LEARNED:
        explanation = explain(failing, estimator=estimator)
    assert explanation.status == (Status.FAILED,) * 3
    assert len(explanation.loss_trace) == call - 3
    assert bool(((explanation.attributions >= 0) & (explanation.attributions <= 1)).all())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fewer = explain(Failing(), estimator=estimator, arguments={"n_steps": call - 3})
    if for_good:
        assert bool(explanation.scores.kept.isnan().all())
        assert torch.equal(explanation.loss_trace, fewer.loss_trace)
    else:
        torch.testing.assert_close(explanation.attributions, fewer.attributions)
        assert torch.equal(explanation.scores.kept, fewer.scores.kept)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_failure_while_the_result_is_measured_leaves_what_was_measured(estimator):
    whole = Failing()
    explain(whole, estimator=estimator)
    last = next(whole.numbers) - 1
    with LEARNED:
        explanation = explain(Failing(last), estimator=estimator)
    assert explanation.status == (Status.FAILED,) * 3
    assert bool(explanation.scores.kept.isfinite().all())
    assert bool(explanation.scores.removed.isnan().all())
    assert bool(explanation.contributions.isfinite().all())
    with LEARNED:
        explanation = explain(Failing(last - 1), estimator=estimator)
    assert explanation.status == (Status.FAILED,) * 3
    assert bool(explanation.scores.kept.isnan().all())
    assert bool(explanation.contributions.isfinite().all())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_a_failure_before_anything_is_learned_is_raised_as_it_is(estimator, call, untouched):
    failing = Failing(call)
    with untouched(None, ONES), pytest.raises(ConnectionError) as raised:
        explain(failing, estimator=estimator)
    assert raised.value is failing.failure


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_examples_that_nothing_is_known_of_say_so_and_the_others_stand(estimator):
    whole = explain(Failing(), estimator=estimator, arguments={"internal_batch_size": 1})
    first = Failing()
    explain(first, ONES[:1], estimator)
    n = next(first.numbers)
    with LEARNED:
        part = explain(Failing(n), estimator=estimator, arguments={"internal_batch_size": 1})
    assert part.status == (whole.status[0], Status.FAILED, whole.status[2])
    assert torch.equal(part.attributions[[0, 2]], whole.attributions[[0, 2]])
    assert not bool(part.attributions[1].any())
    assert bool(part.scores.full[1].isnan())
    assert not bool(part.selected[1].any())
    assert part.describe(1)
    with LEARNED:
        dead = explain(Failing(*DEAD[n:]), estimator=estimator, arguments={"internal_batch_size": 1})
    assert dead.status == (whole.status[0], Status.FAILED, Status.FAILED)


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_ctrl_c_while_nothing_is_known_of_later_examples(estimator):
    first = Failing()
    explain(first, ONES[:1], estimator)
    stopping = Failing(next(first.numbers), failure=KeyboardInterrupt())
    part = explain(stopping, estimator=estimator, arguments={"internal_batch_size": 1})
    assert [status is Status.INTERRUPTED for status in part.status] == [False, True, True]


def test_an_error_of_an_argument_in_mid_run_is_raised():
    calls = itertools.count()

    def forward(x):
        return x.sum(1) if next(calls) < 5 else x.sum(1)[:-1]

    with pytest.raises(ArgumentError, match="one row for each"):
        explain(forward)


def test_class_labels_as_scores_are_warned_about():
    def labels(rows):
        return (rows.sum(1) > 0).long() * 2

    with pytest.warns(UserWarning, match=r"whole numbers up to 2.*predict_proba"):
        StochasticGates(labels, estimator=ScoreFunction()).explain(torch.ones(1, 3), n_steps=2)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([False, True], "returns True and False"),
        ([0, 3], "whole numbers up to 3"),
        ([-1, 1], "up to 1"),
        ([0.0, 1.0], "up to 1"),
    ],
)
def test_labels_of_every_kind_of_a_classifier_are_warned_about(labels, found):
    x = np.random.default_rng(0).normal(size=(60, 3))
    linear_model = pytest.importorskip("sklearn.linear_model")
    classifier = linear_model.LogisticRegression().fit(x, np.take(labels, x[:, 0] > 0))
    with pytest.warns(UserWarning, match=found):
        StochasticGates(classifier.predict).explain(x[:2], x[10:20])
    names = classifier.fit(x, np.where(x[:, 0] > 0, "yes", "no")).predict
    for model in (names, lambda rows: names(rows)[:, None]):  # catboost returns a column
        with pytest.raises(ArgumentError, match=r"Labels are no scores: pass predict_proba"):
            StochasticGates(model).explain(x[:2], x[10:20])


def test_a_regressor_with_several_outputs_asks_for_one():
    x = np.random.default_rng(0).normal(size=(30, 3))
    linear_model = pytest.importorskip("sklearn.linear_model")
    regressor = linear_model.LinearRegression().fit(x, x[:, :2])
    stg = StochasticGates(regressor.predict, estimator=ScoreFunction())
    inputs = torch.tensor(x[:2])
    with pytest.raises(ArgumentError, match=r"target: expected the number of an output.*returns 2"):
        StochasticGates(partial(partial(regressor.predict)), estimator=ScoreFunction()).explain(inputs)
    with pytest.raises(ArgumentError, match=r"target: expected the number of an output.*returns 2"):
        stg.explain(inputs, n_steps=2)
    assert stg.explain(inputs, target=1, n_steps=2).scores.full.tolist() == pytest.approx(x[:2, 1].tolist())
