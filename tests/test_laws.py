"""What must be true of every solve, for every objective, every sparsity and every estimator."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import stg_attr.solve
from stg_attr import (
    Budget,
    Delete,
    Explanation,
    FixedWeight,
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    Reparameterized,
    RetainedScore,
    ScoreFunction,
    Status,
    StochasticGates,
    Sweep,
)
from stg_attr.objective import Anchors, Fidelity, Objective
from stg_attr.solve import Estimator
from tests.measured import OPTIMUM_SHARES, ROWS_OF_FIRST_CALLS
from tests.models import Counted, CountedByExample, TanhNet

from .solve.reference import all_masks, smallest_faithful_size

# ---- what the laws run through: one line each ---------------------------------------------------
ESTIMATORS: dict[str, dict[str, Any]] = {  # name -> keyword arguments of StochasticGates
    "Reparameterized": {"estimator": Reparameterized()},
    "ScoreFunction": {"estimator": ScoreFunction()},
}
FIDELITIES: list[Fidelity] = [RetainedScore(), OutputMatch()]
OBJECTIVES: list[Objective] = [
    kind(fidelity) for kind in (Preserve, Delete, Hybrid) for fidelity in FIDELITIES
]
SPARSITIES = [Sweep(), FixedWeight(), Budget(0.4)]


def _short(setting: Any) -> str:
    fidelity = getattr(setting, "fidelity", None)
    return type(setting).__name__ + (f"({type(fidelity).__name__})" if fidelity else "")


def _is_quick(objective: int, sparsity: int, estimator: int) -> bool:
    """One combination for each objective; among them, every sparsity has every estimator."""
    return sparsity == objective % len(SPARSITIES) and estimator == objective % len(ESTIMATORS)


METHODS = [
    pytest.param(
        {"objective": OBJECTIVES[o], "sparsity": SPARSITIES[s], **ESTIMATORS[name]},
        id=f"{_short(OBJECTIVES[o])}-{_short(SPARSITIES[s])}-{name}",
        marks=pytest.mark.quick_cases(6) if _is_quick(o, s, e) else pytest.mark.slow,
    )
    for o, s, (e, name) in itertools.product(
        range(len(OBJECTIVES)), range(len(SPARSITIES)), enumerate(ESTIMATORS)
    )
]
every_method = pytest.mark.parametrize("method", METHODS)
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=_short)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]

QUICK = {"n_steps": 9, "n_samples": 4}  # enough for laws that hold after any number of steps
SEEDS = st.integers(0, 10**6)


def few(examples: int) -> settings:
    """So many examples, the same ones every time; seeds cannot be shrunk to anything simpler."""
    return settings(max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate])


def test_every_exported_estimator_runs_through_the_laws():
    exported = {getattr(stg_attr.solve, name) for name in stg_attr.solve.__all__}
    estimators = {
        x for x in exported if isinstance(x, type) and issubclass(x, Estimator) and x is not Estimator
    }
    assert {type(settings["estimator"]) for settings in ESTIMATORS.values()} == estimators


def test_the_quick_tests_have_every_objective_and_every_sparsity_with_every_estimator():
    quick = [m.values[0] for m in METHODS if all(mark.name != "slow" for mark in m.marks)]
    assert {repr(method["objective"]) for method in quick} == {repr(objective) for objective in OBJECTIVES}
    pairs = itertools.product(SPARSITIES, (settings["estimator"] for settings in ESTIMATORS.values()))
    found = {(repr(method["sparsity"]), repr(method["estimator"])) for method in quick}
    assert found == {(repr(sparsity), repr(estimator)) for sparsity, estimator in pairs}


# ---- problems -----------------------------------------------------------------------------------


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass
class Problem:
    """A model, inputs, and keyword arguments of `attribute`."""

    forward: Callable[..., Tensor]
    inputs: Tensor | tuple[Tensor, ...]
    arguments: dict[str, Any] = field(default_factory=dict)

    def attribute(self, method: dict[str, Any], **changes: Any) -> Any:
        return StochasticGates(self.forward, **method).attribute(self.inputs, **{**self.arguments, **changes})

    def explain(self, method: dict[str, Any], **changes: Any) -> Explanation:
        return StochasticGates(self.forward, **method).explain(self.inputs, **{**self.arguments, **changes})


def _network(seed: int, batch: int = 3, n: int = 6, dtype: torch.dtype = torch.float32) -> Problem:
    x = torch.randn(batch, n, generator=_generator(seed + 1)).to(dtype)
    return Problem(TanhNet(n, seed, dtype), x, dict(QUICK))


@st.composite
def any_problem(draw: st.DrawFn) -> Problem:
    """Any shapes, dtype, structure, mask and baseline."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    shapes = draw(st.lists(st.sampled_from([(3,), (2, 2), (1, 2, 3), (1,)]), min_size=1, max_size=2))
    batch, seed = draw(st.integers(1, 3)), draw(SEEDS)
    generator = _generator(seed)
    inputs = tuple(torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes)
    arguments: dict[str, Any] = dict(QUICK)
    if draw(st.booleans()):
        arguments["feature_mask"] = tuple(
            torch.randint(-1, 4, (1, *x.shape[1:]), generator=generator).index_fill_(1, torch.tensor(0), 7)
            for x in inputs
        )
    baselines = [None, 0.5, torch.ones(()), lambda x: x.flip(0) / 2]
    baselines += [ReferenceSet(torch.randn(4, *shapes[0], generator=generator))] if len(inputs) == 1 else []
    arguments["baselines"] = draw(st.sampled_from(baselines))
    if len(inputs) > 1 and arguments["baselines"] is not None:
        arguments["baselines"] = (arguments["baselines"],) * len(inputs)
    if len(inputs) == 1 and draw(st.booleans()):
        if "feature_mask" in arguments:
            arguments["feature_mask"] = arguments["feature_mask"][0]
        return Problem(TanhNet(inputs[0][0].numel(), seed, dtype), inputs[0], arguments)
    return Problem(TanhNet(sum(x[0].numel() for x in inputs), seed, dtype), inputs, arguments)


# ---- attributions -------------------------------------------------------------------------------


@every_method
@given(problem=any_problem())
@few(6)
def test_attributions_are_in_the_unit_interval_and_mirror_the_inputs(method, problem):
    attributions = problem.attribute(method)
    assert type(attributions) is type(problem.inputs)
    given_ = problem.inputs if isinstance(problem.inputs, tuple) else (problem.inputs,)
    got = attributions if isinstance(attributions, tuple) else (attributions,)
    assert len(given_) == len(got)
    for x, a in zip(given_, got, strict=True):
        assert a.shape == x.shape
        assert a.device == x.device
        assert a.dtype == (torch.float64 if x.dtype == torch.float64 else torch.float32)
        assert not a.requires_grad
        assert bool(((a >= 0) & (a <= 1)).all()), a  # and no NaN


@pytest.mark.parametrize("device", DEVICES)
@every_estimator
def test_results_come_back_on_the_device_of_the_inputs(estimator, device):
    problem = _network(0)
    problem.forward.to(device)
    here = problem.explain(estimator)
    assert here.attributions.device.type == "cpu"
    assert torch.equal(here.attributions, problem.attribute(estimator))
    problem.inputs = problem.inputs.to(device)
    assert problem.attribute(estimator).device.type == device


@every_method
def test_an_example_alone_is_the_same_in_a_batch_and_on_a_shard(method):
    """At default settings: matrix products of 24 rows, of 23 and of one differ in the last digits only."""
    problem = Problem(TanhNet(6), torch.randn(24, 6, generator=_generator(8)), {"target": 0})
    whole, sharded = problem.explain(method), problem.explain(method, internal_batch_size=23)
    off = (sharded.attributions - whole.attributions).abs().amax(1)
    assert float(off.max()) <= 1e-4, (
        f"{int((off > 1e-4).sum())} of 24 differ, by up to {float(off.max()):.0e}"
    )
    assert torch.equal(sharded.selected, whole.selected)
    assert sharded.status == whole.status
    torch.testing.assert_close(sharded.influence, whole.influence, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(vars(sharded.scores), vars(whole.scores), rtol=1e-4, atol=1e-4)


@every_method
@given(seed=SEEDS)
@few(2)
def test_batch_mates_with_more_groups_change_nothing(method, seed):
    """Columns of the gates are padded to the example with the most groups."""
    problem = _network(seed, batch=3, n=8)
    generator = _generator(seed)
    mask = torch.stack([torch.randint(0, groups, (8,), generator=generator) for groups in (2, 4, 30)])
    together = problem.attribute(method, feature_mask=mask)
    for i in range(3):
        alone = Problem(problem.forward, problem.inputs[i : i + 1], problem.arguments)
        mine = alone.attribute(method, feature_mask=mask[i : i + 1])
        torch.testing.assert_close(mine, together[i : i + 1], rtol=0, atol=1e-4)


@every_method
@given(seed=SEEDS)
@few(3)
def test_renumbering_the_ids_of_a_feature_mask_changes_nothing(method, seed):
    """Exactly where the ids keep their order, gaps or not; else sums over gates run in another order."""
    problem = _network(seed, n=8)
    generator = _generator(seed)
    mask = torch.randint(0, 5, (1, 8), generator=generator)
    numbers = torch.randperm(1000, generator=generator)[:5]
    plain = problem.attribute(method, feature_mask=mask)
    assert torch.equal(problem.attribute(method, feature_mask=numbers.sort().values[mask]), plain)
    renumbered = problem.attribute(method, feature_mask=numbers[mask])
    torch.testing.assert_close(renumbered, plain, rtol=0, atol=1e-5)


# ---- permutation: noise is keyed by the position of a feature, so permuted features meet other noise ----


def _clear(batch: int, n: int) -> tuple[Callable[..., Tensor], Tensor, Tensor]:
    """Additive scores whose features are worth 1, 1/2, 1/4, ... in an order of their own per example."""
    worth = 0.5 ** torch.stack([torch.randperm(n, generator=_generator(i)) for i in range(batch)]).float()
    return lambda x, worth: (x * worth).sum(1), torch.ones(batch, n), worth


@every_method
def test_permuting_features_permutes_selections(method):
    """Exactly, where features differ by a factor of two: the noise of a solve does not hide that."""
    forward, x, worth = _clear(16, 5)
    order = torch.tensor([3, 0, 4, 2, 1])
    stg = StochasticGates(forward, **method)
    plain = stg.explain(x, additional_forward_args=worth)
    permuted = stg.explain(x, additional_forward_args=worth[:, order])
    assert torch.equal(permuted.selected, plain.selected[:, order])


@every_method
def test_permuting_features_permutes_attributions_as_well_as_another_seed_repeats_them(method):
    """The noise of a solve is drawn anew for a permuted input, as it is for another seed.

    So the two may differ as much as two seeds do, and no more: mean absolute differences over 64 random
    examples and over the pairs of four seeds each agree within a factor of 1.3. One pair would not do: two
    seeds differ twice as much as two others where few samples are at the level that is read.
    """
    n = 6
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    x = torch.randn(64, n, generator=_generator(1))
    net = TanhNet(n)

    def backwards(y: Tensor) -> Tensor:
        return net(y[:, order.argsort()])

    def solved(forward: Callable[..., Tensor], y: Tensor) -> list[Tensor]:
        return [StochasticGates(forward, **method).attribute(y, n_steps=20, seed=seed) for seed in range(4)]

    plain = solved(net, x)
    permuted = [a[:, order.argsort()] for a in solved(backwards, x[:, order])]
    by_order = _mean_difference(itertools.product(plain, permuted))
    by_seed = _mean_difference([*itertools.combinations(plain, 2), *itertools.combinations(permuted, 2)])
    assert by_order <= 1.3 * by_seed + 0.01


def _mean_difference(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return float(torch.stack([(a - b).abs().mean() for a, b in pairs]).mean())


# ---- side effects -------------------------------------------------------------------------------


@every_method
def test_one_seed_gives_the_same_bits_and_another_seed_other_noise(method):
    problem = _network(3)
    first, second = problem.explain(method, seed=5), problem.explain(method, seed=5)
    for name in ("attributions", "log_alpha", "influence", "selected"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    torch.testing.assert_close(first.loss_trace, second.loss_trace, rtol=0, atol=0, equal_nan=True)
    for name in ("n_open", "kept", "removed", "retained"):
        assert torch.equal(getattr(first.curve, name), getattr(second.curve, name)), name
    assert not torch.equal(problem.explain(method, seed=6).loss_trace, first.loss_trace)


class Watched(nn.Module):
    """A model with everything that a solve could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TanhNet(6)
        self.drop = nn.Dropout().eval()
        self.norm = nn.Identity()
        self.train(True)
        self.drop.eval()
        self.net.out.requires_grad_(False)
        self.net.bias.grad = torch.full_like(self.net.bias, 3.0)
        self.norm.register_forward_hook(lambda *_: None)
        self.norm.register_full_backward_hook(lambda *_: None)
        self.net.register_forward_pre_hook(lambda *_: None)
        self.fail: Callable[[], None] = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        self.fail()
        return self.net(self.norm(self.drop(x)))


def _state(model: nn.Module, x: Tensor) -> list[Any]:
    hooks = [
        [list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks)]
        for part in model.modules()
    ]
    flags = [part.training for part in model.modules()]
    parameters = [
        (p.requires_grad, p._version, None if p.grad is None else p.grad.tolist(), p.tolist())
        for p in model.parameters()
    ]
    mine = [x.tolist(), x._version, x.requires_grad, x.grad, x.is_leaf]
    randomness = [torch.random.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]
    modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()]
    return [hooks, flags, parameters, mine, randomness, modes]


@every_method
@pytest.mark.parametrize("failure", [None, ZeroDivisionError("model"), KeyboardInterrupt()], ids=repr)
def test_nothing_of_the_callers_is_touched(method, failure):
    """Not even when the model fails in its first call, in the first step, later, or while it is measured."""
    x = torch.randn(2, 6, generator=_generator(0)).requires_grad_()
    x.grad = None
    whole, total = Watched(), itertools.count()
    whole.fail = lambda: next(total)
    StochasticGates(whole, **method).explain(x, **QUICK)
    for fail_at in (-1,) if failure is None else (0, 6, next(total) - 1):
        model, calls = Watched(), itertools.count()

        def fail(calls=calls, fail_at=fail_at) -> None:
            if next(calls) == fail_at:
                raise failure

        model.fail = fail
        torch.rand(3), random.random(), np.random.rand()  # a state that no seed starts from
        before = _state(model, x)
        caught = None
        try:
            with warnings.catch_warnings(record=True, action="always") as said:
                StochasticGates(model, **method).explain(x, **QUICK)
        except (ZeroDivisionError, KeyboardInterrupt) as error:
            caught = error
        assert caught is (failure if fail_at == 0 else None)  # what was learned is kept
        error = isinstance(failure, ZeroDivisionError)
        words = "forward_func raised ZeroDivisionError: " if error else "since the solve was interrupted. "
        assert [words in str(w.message) for w in said] == [True] * (fail_at > 0)
        assert _state(model, x) == before


interruptions = pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")


@interruptions
@every_method
def test_an_interrupted_solve_returns_what_was_learned_and_raises_before_its_first_step(method):
    """Ctrl-C at every call of the model in turn: first a few that raise, then one more step each."""
    problem = _network(0)
    problem.arguments["n_steps"] = 5
    whole = problem.explain(method)
    steps = []
    for call in range(8):
        counted = Counted(problem.forward, KeyboardInterrupt(), fail_at=call)
        try:
            part = Problem(counted, problem.inputs, problem.arguments).explain(method)
        except KeyboardInterrupt:
            steps.append(0)
            continue
        steps.append(len(part.loss_trace))
        assert counted.calls == call + 1  # the model is not run again
        assert part.status == (Status.INTERRUPTED,) * 3
        assert torch.equal(part.loss_trace, whole.loss_trace[: steps[-1]])
        assert bool(((part.attributions >= 0) & (part.attributions <= 1)).all())
        assert torch.equal(part.scores.full, whole.scores.full)
        if steps[-1] < 5:  # else the reading was interrupted
            fewer = problem.explain(method, n_steps=steps[-1])
            assert torch.equal(part.learned.total, fewer.learned.total)
            assert torch.equal(part.learned.squares, fewer.learned.squares)
            assert bool(part.scores.kept.isnan().all())
            assert "was not measured" in part.describe()
    first = steps.index(1)
    assert steps[: first + 4] == [0] * first + [1, 2, 3, 4]


@interruptions
@every_method
def test_after_an_interruption_no_other_shard_is_solved(method):
    """Call 6 is in the fifth step of the first shard; steps that were left out have no loss."""
    counted = Counted(TanhNet(6), KeyboardInterrupt(), fail_at=6)
    x = _network(0).inputs
    part = Problem(counted, x, {**QUICK, "internal_batch_size": 1}).explain(method)
    assert counted.calls == 7
    assert part.status == (Status.INTERRUPTED,) * 3
    assert bool(((part.attributions >= 0) & (part.attributions <= 1)).all())
    assert not bool(part.attributions[1:].any())
    assert part.n_evaluations[1:].tolist() == [0, 0]
    assert (~part.loss_trace.isnan()).int().T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    fewer = Problem(TanhNet(6), x[:1], {**QUICK, "n_steps": 4}).explain(method)
    assert torch.equal(part.learned.total[:1], fewer.learned.total)
    assert torch.equal(part.loss_trace[:, 0], fewer.loss_trace[:, 0])


@interruptions
@every_method
def test_a_shard_that_is_interrupted_later_leaves_the_earlier_ones_alone(method):
    """The losses of the interrupted shard and of those after it are padded to the steps of the first."""
    x = _network(0).inputs
    arguments = {**QUICK, "internal_batch_size": 1}
    whole = Problem(TanhNet(6), x, arguments).explain(method)
    first = Counted(TanhNet(6))
    Problem(first, x[:1], QUICK).explain(method)
    counted = Counted(TanhNet(6), KeyboardInterrupt(), first.calls + 5)
    part = Problem(counted, x, arguments).explain(method)
    assert counted.calls == first.calls + 6
    assert part.status == (whole.status[0], Status.INTERRUPTED, Status.INTERRUPTED)
    assert torch.equal(part.attributions[0], whole.attributions[0])
    n_whole = int((~whole.loss_trace[:, 0].isnan()).sum())
    assert (~part.loss_trace.isnan()).sum(0).tolist() == [n_whole, 3, 0]
    for row, n_steps in enumerate((n_whole, 3, 0)):
        assert torch.equal(part.loss_trace[:n_steps, row], whole.loss_trace[:n_steps, row])


@every_method
def test_it_works_in_every_gradient_mode(method):
    problem = _network(2)

    def solve() -> Tensor:
        return problem.explain(method, baselines=0.1 * torch.ones(3, 6)).attributions

    expected = solve()
    with torch.no_grad():
        assert torch.equal(solve(), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inside = solve()
        assert torch.is_inference_mode_enabled()
    assert torch.equal(inside, expected)


@every_estimator
def test_tensors_made_in_inference_mode_can_be_used(estimator):
    """Inputs, baselines, masks, targets and further arguments, inside the mode and after it."""
    problem = _network(4)
    arguments = {
        "baselines": torch.full((3, 6), 0.2),
        "feature_mask": torch.tensor([[0, 0, 1, 2, 2, 3]]),
        "additional_forward_args": torch.tensor([1.0, 2.0, 3.0]),
        "target": torch.tensor([0, 1, 2]),
    }

    def forward(x: Tensor, factor: Tensor) -> Tensor:
        return factor.unsqueeze(1) * problem.forward(x)

    expected = Problem(forward, problem.inputs, QUICK).attribute(estimator, **arguments)
    with torch.inference_mode():
        made = {name: value.clone() for name, value in arguments.items()}
        again = Problem(forward, problem.inputs.clone(), QUICK)
        assert torch.equal(again.attribute(estimator, **made), expected)
    assert torch.equal(again.attribute(estimator, **made), expected)


# ---- what is selected ---------------------------------------------------------------------------


@every_method
@given(seed=SEEDS)
@few(4)
def test_a_feature_that_the_model_cannot_see_is_never_selected(method, seed):
    """It has no weight, or its value is the baseline's."""
    net = TanhNet(6, seed)
    x = torch.randn(4, 8, generator=_generator(seed))
    x[:, 3] = 0.25
    problem = Problem(lambda y: net(y[:, [0, 1, 2, 3, 4, 5]]), x, {**QUICK, "baselines": 0.25})
    explanation = problem.explain(method)
    unseen = torch.tensor([3, 6, 7])
    assert not bool(explanation.selected[:, unseen].any())
    assert bool((explanation.attributions[:, unseen] <= 0.5).all())
    for row in range(4):
        selected = explanation.attributions[row, explanation.selected[row]]
        assert bool((selected.unsqueeze(1) > explanation.attributions[row, unseen]).all())


@every_method
def test_the_selected_features_are_those_more_likely_open_than_closed(method):
    explanation = _network(7, batch=8).explain(method)
    assert torch.equal(explanation.active_probabilities > 0.5, explanation.selected)


@every_method
@pytest.mark.parametrize("constant", [0.0, 3.0, -1e6])
def test_a_constant_model_leaves_nothing_to_explain(method, constant):
    explanation = Problem(lambda x: constant + 0 * x.sum(1), torch.ones(2, 4), QUICK).explain(method)
    assert explanation.status == (Status.NOTHING_TO_EXPLAIN,) * 2
    assert torch.equal(explanation.attributions, torch.zeros(2, 4))
    assert not bool(explanation.selected.any())


@every_method
def test_one_example_without_anything_to_explain_does_not_change_the_others(method):
    problem = _network(5)
    x = problem.inputs.clone()
    x[1] = 0
    explanation = Problem(problem.forward, x, problem.arguments).explain(method)
    assert explanation.status[1] is Status.NOTHING_TO_EXPLAIN
    assert torch.equal(explanation.attributions[1], torch.zeros(6))
    others = problem.explain(method).attributions[[0, 2]]
    torch.testing.assert_close(explanation.attributions[[0, 2]], others, rtol=0, atol=1e-5)


# ---- the optimum of small problems, by enumerating all 2^n selections ------------------------------


def _additive(n: int, seed: int, batch: int) -> tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]:
    worth = torch.rand(batch, n, generator=_generator(seed)) + 0.01
    return lambda x, worth: (x * worth).sum(1), torch.ones(batch, n), (worth,)


def _product(n: int, seed: int, batch: int) -> tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]:
    """Three features that only count together."""
    used = torch.rand(batch, n, generator=_generator(seed)).argsort(1) < 3
    return lambda x, used: torch.where(used, x, torch.ones(())).prod(1), torch.ones(batch, n), (used,)


def _parity(n: int, seed: int, batch: int) -> tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]:
    """Exclusive or of three features: one of them alone scores as all three do, two score 0."""
    used = torch.rand(batch, n, generator=_generator(seed)).argsort(1) < 3

    def forward(x: Tensor, used: Tensor) -> Tensor:
        return (1 - torch.where(used, 1 - 2 * x, torch.ones(())).prod(1)) / 2

    return forward, torch.ones(batch, n), (used,)


def _pairs(n: int, seed: int, batch: int) -> tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]:
    """A weighted sum of three products of two features."""
    generator = _generator(seed)
    used = torch.rand(batch, 3, n, generator=generator).argsort(2) < 2
    worth = torch.rand(batch, 3, generator=generator) + 0.2

    def forward(x: Tensor, used: Tensor, worth: Tensor) -> Tensor:
        return (torch.where(used, x.unsqueeze(1), torch.ones(())).prod(2) * worth).sum(1)

    return forward, torch.ones(batch, n), (used, worth)


def _networks(n: int, seed: int, batch: int) -> tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]:
    """A random tanh network of its own for every example."""
    generator = _generator(seed)
    into = 1.5 * torch.randn(batch, 8, n, generator=generator) / n**0.5
    bias = 0.5 * torch.randn(batch, 8, generator=generator)
    out = torch.randn(batch, 8, generator=generator)

    def forward(x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        return (torch.tanh((into @ x.unsqueeze(2)).squeeze(2) + bias) * out).sum(1)

    return forward, torch.randn(batch, n, generator=generator), (into, bias, out)


def _achieved(objective: Objective, kept: Tensor, removed: Tensor, anchors: Anchors) -> Tensor:
    """What a set keeps on its own, or with `Delete` takes away, from the scores with it and without it."""
    if isinstance(objective, Delete):
        return 1 - objective.fidelity.remaining(removed, anchors)
    return objective.fidelity.retained(kept, anchors)


@dataclass
class Solved:
    """The selections of a small problem beside its optimum; all tensors [batch]."""

    sizes: Tensor
    best: Tensor  # size of the smallest of all 2^n sets that achieves 90 %
    achieved: Tensor  # by the selection
    without: Tensor  # by the selection less the member that is missed least, -inf where there is none


def _enough(method: dict[str, Any]) -> dict[str, Any]:
    """Effort at which no noise is left that hides the optimum: coins need more samples than slopes do."""
    return {"n_samples": 256} if isinstance(method["estimator"], ScoreFunction) else {}


def _solved(
    small: tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]],
    method: dict[str, Any],
    **effort: int,
) -> Solved:
    forward, x, arguments = small
    masks = all_masks(x.shape[1])
    scores = torch.stack([forward(x * mask, *arguments) for mask in masks])
    anchors = Anchors.measure(scores[-1], scores[:1])
    achieved = _achieved(method["objective"], scores, scores.flip(0), anchors)  # flipped: the complements
    stg = StochasticGates(forward, **method)
    explanation = stg.explain(x, additional_forward_args=arguments, **effort)
    chosen = explanation.selected
    rows, place = torch.arange(len(x)), 2 ** torch.arange(x.shape[1]).flip(0)  # of a set among all masks
    index = (chosen * place).sum(1)
    less = [
        torch.where(member, achieved[index - bit * member, rows], -torch.inf)
        for member, bit in zip(chosen.unbind(1), place, strict=True)
    ]
    best = smallest_faithful_size(achieved, masks.sum(1), 0.9)
    return Solved(chosen.sum(1), best, achieved[index, rows], torch.stack(less).amax(0))


EXACT = {"additive": _additive, "product": _product, "parity": _parity, "pairs": _pairs}


@every_estimator
@every_objective
@pytest.mark.parametrize("family", EXACT.values(), ids=EXACT)
def test_the_selected_set_is_the_optimum_of_small_problems(family, objective, estimator):
    solved = _solved(family(8, 0, 200), {"objective": objective, **estimator}, **_enough(estimator))
    assert bool((solved.achieved >= 0.9 - 1e-5).all())
    off = solved.sizes - solved.best
    assert off.tolist() == [0] * 200, f"{int((off != 0).sum())} of 200 problems are not at the optimum"


# 2,000 other networks were solved to the optimum as often, but for up to 0.046.
SPREAD_OF_SHARES = 0.05


@every_estimator
@every_objective
def test_the_selected_set_of_random_networks_is_sufficient_minimal_and_mostly_the_optimum(
    objective, estimator
):
    solved = _solved(_networks(8, 0, 400), {"objective": objective, **estimator})
    assert bool((solved.achieved >= 0.9 - 1e-4).all())
    assert bool((solved.without < 0.9 + 1e-4)[solved.sizes > 1].all())
    assert bool((solved.sizes >= solved.best).all())
    share = float((solved.sizes == solved.best).double().mean())
    assert share >= OPTIMUM_SHARES[_short(objective)] - SPREAD_OF_SHARES


@every_estimator
@every_objective
@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_budget_selects_the_best_set_of_its_size(k, objective, estimator):
    """The k features worth most, where a score is a sum and features differ by a factor of 1.5."""
    worth = 1.5 ** -torch.stack([torch.randperm(8, generator=_generator(i)) for i in range(32)]).float()
    method = {"objective": objective, "sparsity": Budget(k / 8), **estimator}
    stg = StochasticGates(lambda x, worth: (x * worth).sum(1), **method)
    explanation = stg.explain(torch.ones(32, 8), additional_forward_args=worth, **_enough(method))
    best = worth.argsort(1, descending=True).argsort(1) < k
    wrong = int((explanation.selected != best).any(1).sum())
    assert wrong == 0, f"{wrong} of 32 selections are not the best"


@every_estimator
@every_objective
def test_a_fixed_weight_opens_the_gates_that_are_worth_more(objective, estimator):
    """Features worth 2, 10, 20 and 68 % of the score, at a price of 5 %: three stay open."""
    worth = torch.tensor([0.02, 0.1, 0.2, 0.68])
    method = {"objective": objective, "sparsity": FixedWeight(0.05), **estimator}
    explanation = StochasticGates(lambda x: 7 * (x * worth).sum(1), **method).explain(torch.ones(1, 4))
    assert explanation.selected.tolist() == [[False, True, True, True]]


# ---- scale and rank -----------------------------------------------------------------------------


def _scaled(problem: Problem, factor: float, shift: float) -> Problem:
    return Problem(lambda x: problem.forward(x) * factor + shift, problem.inputs, problem.arguments)


@every_method
@pytest.mark.parametrize(
    ("factor", "shift", "tolerance"),
    [
        (2.0**-20, 0.0, 0.0),  # exact in binary numbers
        (1e-6, 0.0, 1e-4),
        (1e6, 0.0, 1e-4),
        (1.0, 100.0, 1e-2),  # 100 + s keeps five of the seven digits of s
    ],
)
def test_scale_and_shift_of_the_score_change_nothing(method, factor, shift, tolerance):
    problem = _network(11, batch=4)
    problem.arguments["target"] = 1
    plain, moved = problem.explain(method), _scaled(problem, factor, shift).explain(method)
    assert torch.equal(moved.selected, plain.selected)
    torch.testing.assert_close(moved.attributions, plain.attributions, rtol=0, atol=tolerance)


@every_method
def test_scale_and_shift_change_nothing_in_double_precision(method):
    problem = _network(12, batch=4, dtype=torch.float64)
    problem.arguments["target"] = 0
    plain, moved = (p.attribute(method) for p in (problem, _scaled(problem, 1e-6, 100.0)))
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-5)


@every_method
def test_the_order_of_attributions_is_the_order_of_log_alphas(method):
    """Without inversions, without saturation, with ties only where float32 cannot tell two apart."""
    explanation = Problem(TanhNet(8), torch.randn(64, 8, generator=_generator(3))).explain(method)
    a, p = explanation.log_alpha, explanation.attributions
    assert bool(((p > 0) & (p < 1)).all())
    difference, higher = a.unsqueeze(2) - a.unsqueeze(1), p.unsqueeze(2) > p.unsqueeze(1)
    assert not bool((higher & (difference <= 0)).any())
    resolution = 2.0**-23 / (p * (1 - p)).unsqueeze(2)
    assert bool((higher | (difference <= resolution)).all())


# ---- evidence -----------------------------------------------------------------------------------

BASELINES = {
    "zero": None,
    "tensor": torch.full((1, 6), 0.3),
    "references": ReferenceSet(torch.linspace(-1, 1, 18).reshape(3, 6)),
}


def _plain_scores(forward: Callable[..., Tensor], x: Tensor, keep: Tensor, target: Tensor, baseline: Any):
    """Score of x where `keep`, of each reference elsewhere, [references, batch]."""
    rows = baseline.rows if isinstance(baseline, ReferenceSet) else baseline
    rows = torch.zeros(1, x.shape[1]) if rows is None else rows
    outputs = [forward(torch.where(keep, x, row)) for row in rows]
    return torch.stack([output.gather(1, target)[:, 0] for output in outputs])


@every_method
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_what_an_explanation_claims_can_be_recomputed(method, baseline):
    problem = _network(9, batch=4)
    x, e = problem.inputs, problem.explain(method, baselines=baseline)
    with torch.no_grad():
        target = problem.forward(x).argmax(1, keepdim=True)
        scores_of = lambda keep: _plain_scores(problem.forward, x, keep, target, baseline)  # noqa: E731
        full, empty = scores_of(torch.ones_like(x).bool()), scores_of(torch.zeros_like(x).bool())
        close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
        assert torch.equal(e.target, target)
        close(e.scores.full, full[0])
        close(e.scores.baseline, empty.mean(0))
        kept, removed = scores_of(e.selected).mean(0), scores_of(~e.selected).mean(0)
        close(e.scores.kept, kept)
        close(e.scores.removed, removed)
        close(e.sufficiency, full[0] - kept)
        close(e.comprehensiveness, full[0] - removed)
        close(e.retained, (kept - empty.mean(0)) / (full[0] - empty.mean(0)))
        assert torch.equal(e.n_selected, e.selected.sum(1))
        anchors = Anchors.measure(full[0], empty)
        assert bool((e.curve.n_open.diff(dim=1) >= 0).all())
        ranks = e.log_alpha.argsort(dim=1, descending=True, stable=True).argsort(1)
        for point, k in enumerate(e.curve.n_open.unbind(1)):
            top = ranks < k.unsqueeze(1)
            close(e.curve.kept[:, point], scores_of(top).mean(0))
            close(e.curve.removed[:, point], scores_of(~top).mean(0))
            achieved = _achieved(method["objective"], scores_of(top), scores_of(~top), anchors).mean(0)
            close(e.curve.retained[:, point], achieved)


@every_method
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"perturbations_per_eval": 1},
        {"perturbations_per_eval": 3},
        {"n_samples": 5},
        {"internal_batch_size": 3},
    ],
    ids=str,
)
def test_evaluations_are_the_rows_the_model_was_run_on_for_each_example(method, changes):
    problem = _network(9, batch=4)
    counted = CountedByExample(problem.forward, 4)
    named = Problem(counted, problem.inputs, {**problem.arguments, **changes})
    e = named.explain(method, additional_forward_args=torch.arange(4))
    assert e.n_evaluations.dtype == torch.long
    assert e.n_evaluations.tolist() == counted.rows.tolist()


def rows_of_a_default_solve(method: dict[str, Any], run: str = "attribute") -> list[int]:
    """Rows of each call of the model, for one example."""
    counted = Counted(TanhNet(6))
    getattr(StochasticGates(counted, **method), run)(torch.ones(1, 6), target=0)
    return counted.rows


@every_method
def test_by_default_a_solve_takes_at_most_twelve_updates_of_32_evaluations(method):
    """The input and the baseline are run first; five updates pass before anything can have settled."""
    for run in ("attribute", "explain"):
        rows = rows_of_a_default_solve(method, run)
        assert rows[:7] == ROWS_OF_FIRST_CALLS
        assert rows.count(32) <= 12


@every_method
@given(problem=any_problem())
@few(3)
def test_attribute_is_the_attributions_of_explain_bit_for_bit(method, problem):
    attributions, explained = problem.attribute(method), problem.explain(method).attributions
    assert type(attributions) is type(explained)
    pairs = zip(*[(a,) if isinstance(a, Tensor) else a for a in (attributions, explained)], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@every_method
@given(seed=SEEDS)
@few(3)
def test_reading_a_solve_again_keeps_its_promises_and_does_not_call_the_model(method, seed):
    problem = _network(seed, batch=4, n=7)
    counted = Counted(problem.forward)
    e = Problem(counted, problem.inputs, problem.arguments).explain(method)
    calls = counted.calls
    for budget in (0.0, 0.1, 0.3, 0.5, 1.0):
        read = e.at(budget=budget)
        assert bool((read.n_selected <= budget * 7 + 1e-6).all())
        _check_reading(read, problem)
    for retain in (0.0, 0.3, 0.9, 0.99, 1.0):
        read = e.at(retain=retain)
        possible = (e.curve.retained >= retain).any(1)
        assert bool((_achieved_by(read, method["objective"]) >= retain - 1e-4)[possible].all())
        _check_reading(read, problem)
    assert counted.calls == calls


def _achieved_by(e: Explanation, objective: Objective) -> Tensor:
    """What the selection achieves by the scores that were measured, against a single baseline."""
    scores = e.scores
    anchors = Anchors.measure(scores.full, scores.baseline.unsqueeze(0))
    return _achieved(objective, scores.kept.unsqueeze(0), scores.removed.unsqueeze(0), anchors)[0]


def _check_reading(read: Explanation, problem: Problem) -> None:
    """Its scores are those of its selection, and its attributions say what is selected."""
    assert torch.equal(read.active_probabilities > 0.5, read.selected)
    with torch.no_grad():
        for score, shown in ((read.scores.kept, read.selected), (read.scores.removed, ~read.selected)):
            output = problem.forward(torch.where(shown, problem.inputs, torch.zeros(())))
            expected = output.gather(1, read.target)[:, 0]
            torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-5)


@every_estimator
@every_objective
def test_reading_a_sweep_again_at_its_own_share_selects_no_more(objective, estimator):
    """It achieves the share too, and is the same where it is as large.

    Where a curve is not monotone, as for an output to be matched, it can have a smaller set that the
    search did not try.
    """
    problem = _network(13, batch=64, n=10)
    e = problem.explain({"objective": objective, **estimator}, n_steps=50)
    again = e.at(retain=0.9)
    assert bool((again.n_selected <= e.n_selected).all())
    assert bool((_achieved_by(again, objective) >= 0.9 - 1e-4).all())
    smaller = e.curve.n_open < again.n_selected.unsqueeze(1)
    assert bool((e.curve.retained < 0.9)[smaller].all())
    same = again.n_selected == e.n_selected
    assert bool(same.all()) or isinstance(objective.fidelity, OutputMatch)
    assert torch.equal(again.selected[same], e.selected[same])
    torch.testing.assert_close(again.attributions[same], e.attributions[same], rtol=0, atol=1e-6)


# ---- rows ---------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_example_on_which_the_model_fails_does_not_change_its_batch_mates(method, value):
    """The model fails on every blend of example 1 but on the input and the baseline themselves."""
    problem = _network(6, batch=4)
    names = torch.arange(4)

    def failing(x: Tensor, name: Tensor) -> Tensor:
        blended = (x != problem.inputs[name]).any(1) & (x != 0).any(1)
        return problem.forward(x) * torch.where((name == 1) & blended, value, 1.0).unsqueeze(1)

    def fine(x: Tensor, name: Tensor) -> Tensor:
        return problem.forward(x) * torch.ones(len(x), 1)

    broken, whole = (
        Problem(forward, problem.inputs, QUICK).explain(method, additional_forward_args=names)
        for forward in (failing, fine)
    )
    mates = [0, 2, 3]
    assert broken.status[1] is Status.NOT_FINITE
    assert bool(((broken.attributions >= 0) & (broken.attributions <= 1)).all())
    close = {"rtol": 0, "atol": 1e-5, "equal_nan": True}  # the sizes of the model's matrix products differ
    torch.testing.assert_close(broken.attributions[mates], whole.attributions[mates], **close)
    n_steps = len(whole.loss_trace)  # the failing one never settles
    torch.testing.assert_close(broken.loss_trace[:n_steps, mates], whole.loss_trace[:, mates], **close)
    assert bool(broken.loss_trace[n_steps:, mates].isnan().all())
    assert [broken.status[i] for i in mates] == [whole.status[i] for i in mates]
