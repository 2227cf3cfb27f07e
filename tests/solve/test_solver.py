"""The loop: examples leave it when they have settled, and no example notices the others."""

import itertools
from dataclasses import replace

import pytest
import torch

from stg_attr.gates import Bernoulli, BinaryConcrete, FeatureGroups
from stg_attr.select import Budget, FixedWeight, Sweep
from stg_attr.solve import Reparameterized, ScoreFunction, Solver, SolverSettings, draws
from stg_attr.solve import solver as solvers

from . import reference

SOLVER = Solver(BinaryConcrete(), Sweep(), Reparameterized(), 0.0, 12, 16, 0)


def _solve(worth, noise, n_steps=12):
    """Solve -sum(z worth), with per-sample slopes shaken by `noise`; the rows asked for in every step."""
    asked = []
    batch, n = worth.shape

    def loss(z, draws, examples):
        asked.append(examples.tolist())
        shaken = torch.randn(len(z), 1, n, generator=torch.Generator().manual_seed(len(asked)))
        return -(z * (worth[examples] + noise[examples].unsqueeze(1) * shaken)).sum(2)

    groups = FeatureGroups.from_mask(None, (torch.zeros(batch, n),))
    solver = replace(SOLVER, n_steps=n_steps)
    order = torch.zeros(1, dtype=torch.long)
    return solver.fit(reference.Problem(loss, groups, batch, order, torch.float32)), asked


def test_what_has_settled_is_not_asked_about_again():
    worth = torch.tensor([[8.0, 4.0, 2.0, 1.0]]).repeat(2, 1)
    solution, asked = _solve(worth, torch.tensor([0.0, 600.0]))
    assert solution.n_steps.tolist() == [sum(row in step for step in asked) for row in range(2)]
    assert 5 <= solution.n_steps[0] < solution.n_steps[1] == 12
    assert solution.loss_trace.isfinite().sum(0).tolist() == solution.n_steps.tolist()


def test_leaving_does_not_change_who_stays():
    worth = torch.tensor([[8.0, 4.0, 2.0, 1.0], [1.0, 2.0, 3.0, 9.0]])
    noise = torch.tensor([0.0, 60.0])
    together, _ = _solve(worth, noise)
    alone, _ = _solve(worth[1:], noise[1:])
    torch.testing.assert_close(together.parameter[1:], alone.parameter)
    assert together.n_steps[1] == alone.n_steps[0]


def test_a_solve_too_short_to_settle_takes_all_its_steps():
    solution, asked = _solve(torch.tensor([[8.0, 4.0, 2.0, 1.0]]), torch.tensor([0.0]), n_steps=4)
    assert solution.n_steps.tolist() == [4]
    assert len(asked) == 4


# Examples with different groups of pixels; the last elements of the third are never gated.
MASKS = torch.tensor(
    [
        [[[0, 1, 2, 3, 4, 5]] * 2],
        [[[7, 7, 2, 2, 1, 1]] * 2],
        [[[0, 1, 2, 2, -1, -1]] * 2],
        [[[3, 2, 1, 0, 0, 0]] * 2],
    ]
)
ORDER = torch.tensor([2, 0, 1])  # of three references
WORTH = torch.tensor(
    [[9.0, 5, 3, 2, 1, -1], [2, 3, -1, 0, 0, 0], [1, -2, 0.5, 0, 0, 0], [6, 3, 1, -1, 0, 0]],
    dtype=torch.float64,
)
SHAKEN = torch.tensor([0.0, 25.0, -30.0, 0.1], dtype=torch.float64)  # how much the references disagree
PARTS = Solver(BinaryConcrete(), Sweep(reg_weight=0.1), Reparameterized(), 0.0, 14, 5, 0)


def _value(z, shown, example):
    """Of gate values [..., gates], references [...] and examples [...]: a sum, a bend, and a disagreement."""
    worth = WORTH[example, : z.shape[-1]]
    return 3 - (z * worth).sum(-1) + z[..., :2].prod(-1) + SHAKEN[example] * (shown - 1) * z[..., 0]


def _drawn_loss(z, shown, examples):
    assert examples.device.type == "cpu"
    return _value(z, shown.unsqueeze(1).expand(z.shape[:2]), (examples % 4).expand(z.shape[:2]))


def _fit(solver, examples=range(4), loss=_drawn_loss, **arguments):
    mask = MASKS[list(examples)].repeat(solver.n_restarts, 1, 1, 1)
    groups = FeatureGroups.from_mask(mask, (torch.zeros(mask.shape),))
    return solver.fit(reference.Problem(loss, groups, len(mask), ORDER, torch.float64), **arguments)


def _equal(found, expected, rows=slice(None)):
    """Solutions of the same examples, or of some of the first one's."""
    for name in ("parameter", "earlier", "influence", "effect"):
        width = getattr(expected, name).shape[1]
        mine = getattr(found, name)[rows][:, :width]
        torch.testing.assert_close(mine, getattr(expected, name), rtol=1e-9, atol=1e-9, msg=name)
    trace = found.loss_trace[: len(expected.loss_trace), rows]
    torch.testing.assert_close(trace, expected.loss_trace, rtol=1e-9, atol=1e-9, equal_nan=True)
    for name in ("scale", "error"):
        torch.testing.assert_close(getattr(found.learned, name)[rows], getattr(expected.learned, name))
    for name in ("n_steps", "n_samples", "settled"):
        assert torch.equal(getattr(found.learned, name)[rows], getattr(expected.learned, name)), name


LINEAR = torch.tensor([[9.0, 5, 3, 0, -1, -4], [0.5, -0.5, 8, 2, -2, 0]], dtype=torch.float64)


@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction()], ids=repr)
@pytest.mark.parametrize("n_restarts", [1, 2])
@pytest.mark.parametrize(
    "sparsity", [FixedWeight(0.1), Budget(0.3), PARTS.sparsity, Sweep(share=1.0)], ids=repr
)
def test_of_a_sum_the_effect_is_the_worth_and_the_order_that_of_the_worths(sparsity, n_restarts, estimator):
    """The slope of a sum is known, and found exactly through the model."""
    gates, n_samples = (BinaryConcrete(), 5) if estimator.proves_slopes else (Bernoulli(), 64)
    solver = replace(
        PARTS, sparsity=sparsity, n_restarts=n_restarts, estimator=estimator, gates=gates, n_samples=n_samples
    )
    worth = LINEAR.repeat(n_restarts, 1)
    groups = FeatureGroups.from_mask(None, (torch.zeros(len(worth), 6),))

    def loss(z, shown, examples):
        return 3 - (z * worth[examples]).sum(2)

    solution = solver.fit(reference.Problem(loss, groups, len(worth), ORDER, torch.float64))
    if estimator.proves_slopes:
        torch.testing.assert_close(solution.effect, worth, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(solution.influence, worth.abs(), rtol=1e-9, atol=1e-9)
    for row, wanted in zip(solution.parameter, worth, strict=True):
        for a, b in itertools.combinations(range(6), 2):
            if abs(wanted[a] - wanted[b]) >= 1:
                assert bool(row[a] > row[b]) is bool(wanted[a] > wanted[b])


def test_a_gate_that_is_worth_less_than_its_price_closes_and_one_worth_more_opens():
    worth = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    groups = FeatureGroups.from_mask(None, (torch.zeros(1, 3),))
    solver = replace(PARTS, sparsity=FixedWeight(0.2), n_samples=32)
    problem = reference.Problem(
        lambda z, shown, examples: -(z * worth).sum(2), groups, 1, ORDER, torch.float64
    )
    parameter = solver.fit(problem).parameter[0]
    start = PARTS.gates.start
    assert float(parameter[0]) > start > float(parameter[1]) > float(parameter[2])


def test_the_trace_is_the_mean_loss_of_each_step_and_an_earlier_reading_that_of_two_thirds():
    """A loss that is its number of calls, with slopes that are noise; nothing may settle."""
    calls, solver = [], replace(PARTS, settings=SolverSettings(settled=0.0))
    groups = FeatureGroups.from_mask(None, (torch.zeros(1, 6),))

    def loss(z, shown, examples):
        calls.append(len(z))
        shaken = torch.randn(z.shape, generator=torch.Generator().manual_seed(len(calls)), dtype=z.dtype)
        return (z * shaken - (z * shaken).detach()).sum(2) + len(calls)

    solution = solver.fit(reference.Problem(loss, groups, 1, ORDER, torch.float64))
    assert solution.loss_trace[:, 0].tolist() == list(range(1, len(calls) + 1))
    assert solution.n_steps.tolist() == [14]
    calls.clear()
    nine = replace(solver, n_steps=9).fit(reference.Problem(loss, groups, 1, ORDER, torch.float64))
    assert torch.equal(solution.earlier, nine.parameter)


@pytest.mark.parametrize(
    "solver",
    [PARTS, replace(PARTS, estimator=ScoreFunction(), gates=Bernoulli(), n_samples=8)],
    ids=["paths", "score"],
)
@pytest.mark.parametrize("smoothness", [0.0, 1.5])
@pytest.mark.parametrize("sparsity", [PARTS.sparsity, FixedWeight(0.1)], ids=repr)
def test_an_example_alone_and_among_others_is_solved_alike(solver, sparsity, smoothness):
    solver = replace(solver, sparsity=sparsity, smoothness=smoothness)
    together = _fit(solver)
    for example in range(4):

        def loss(z, shown, examples, example=example):
            return _drawn_loss(z, shown, examples + example)

        _equal(together, _fit(solver, [example], loss), rows=slice(example, example + 1))


def test_a_single_gate_is_solved_too():
    groups = FeatureGroups.from_mask(torch.zeros(1, 3, dtype=torch.long), (torch.zeros(2, 3),))
    worth = torch.tensor([2.0, -2.0], dtype=torch.float64)
    for solver in (PARTS, replace(PARTS, estimator=ScoreFunction(), gates=Bernoulli())):
        solution = solver.fit(
            reference.Problem(
                lambda z, shown, examples: -z[..., 0] * worth[examples], groups, 2, ORDER, torch.float64
            )
        )
        assert float(solution.parameter[0, 0]) > float(solution.parameter[1, 0])
        torch.testing.assert_close(solution.effect[:, 0].sign(), worth.sign())


def test_how_much_is_worked_out_at_once_changes_nothing(monkeypatch):
    whole = _fit(PARTS)
    monkeypatch.setattr(solvers, "_MOST_NUMBERS", 50)  # two samples of four examples and six gates
    monkeypatch.setattr(draws, "_MOST_NUMBERS", 1)
    _equal(_fit(PARTS), whole)


@pytest.mark.parametrize("n_restarts", [1, 2])
@pytest.mark.parametrize("first", [1, 4, 5, 6, 9])
def test_a_solve_in_two_parts_is_the_solve_in_one(first, n_restarts):
    solver = replace(PARTS, n_restarts=n_restarts)
    begun = _fit(replace(solver, n_steps=first))
    went_on = _fit(replace(solver, n_steps=14 - first), past=(begun.learned, begun.loss_trace))
    _equal(went_on, _fit(solver))


def test_what_has_settled_before_stays_as_it_is_when_a_solve_goes_on():
    begun = _fit(PARTS)
    before = [value.clone() for value in vars(begun.learned).values()]
    went_on = _fit(replace(PARTS, n_steps=3), past=(begun.learned, begun.loss_trace))
    settled = begun.learned.settled
    assert 0 < int(settled.sum()) < 4
    assert torch.equal(went_on.parameter[settled], begun.parameter[settled])
    assert torch.equal(went_on.influence[settled], begun.influence[settled])
    assert torch.equal(went_on.n_steps[settled], begun.n_steps[settled])
    assert bool((went_on.n_steps > 14)[~settled].all())
    torch.testing.assert_close(went_on.loss_trace[:14], begun.loss_trace, rtol=0, atol=0, equal_nan=True)
    assert bool(went_on.loss_trace[14:, settled].isnan().all())
    for value, old in zip(vars(begun.learned).values(), before, strict=True):
        assert torch.equal(value, old)  # what was given is not written into


def test_each_step_is_told_with_the_solution_so_far():
    told = []

    def compare(done, so_far):
        told.append(done)
        if done in (1, 4, 11):
            found, short = so_far(), _fit(replace(PARTS, n_steps=done))
            assert found.failure is None
            assert found.loss_trace.shape == short.loss_trace.shape == (done, 4)
            torch.testing.assert_close(found.parameter, short.parameter)
            torch.testing.assert_close(found.influence, short.influence)
            assert torch.equal(found.learned.n_samples, short.learned.n_samples)

    _equal(_fit(PARTS, on_step=compare), _fit(PARTS))  # looking changes nothing
    assert told == list(range(1, 15))


def test_the_steps_of_a_solve_that_went_on_are_counted_anew():
    begun, told = _fit(replace(PARTS, n_steps=3)), []
    _fit(
        replace(PARTS, n_steps=2),
        past=(begun.learned, begun.loss_trace),
        on_step=lambda done, _: told.append(done),
    )
    assert told == [1, 2]


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=repr)
def test_a_solve_that_is_stopped_keeps_the_steps_it_has_done(failure):
    calls = 0

    def failing(z, shown, examples):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise failure
        return _drawn_loss(z, shown, examples)

    stopped, whole = _fit(PARTS, loss=failing), _fit(replace(PARTS, n_steps=3))
    assert stopped.failure is failure
    torch.testing.assert_close(stopped.parameter, whole.parameter)
    assert stopped.n_steps.tolist() == [3] * 4
    calls = 3
    with pytest.raises(type(failure)):
        _fit(PARTS, loss=failing)


def test_draws_are_those_of_noise_and_sparsity_one_by_one():
    drawn = list(draws.draw(range(4, 6), Budget(0.3), range(2, 22), 3, 5, ORDER, torch.zeros(1).double()))
    assert len(drawn) == 20
    for step, one in enumerate(drawn, start=2):
        for restart, seed in enumerate((4, 5)):
            noise = draws.Noise(seed)
            assert torch.equal(one.uniform[:, restart], noise.uniform(step, 3, 5)[:, 0].double())
            assert torch.equal(one.budgets[:, restart], Budget(0.3).budgets(3 * step, 3, noise.start()))
        assert one.references.tolist() == [int(ORDER[(3 * step + i) % 3]) for i in range(3)]
        assert one.swept.tolist() == [1.0] * 3
        assert one.uniform.dtype == one.budgets.dtype == one.swept.dtype == torch.float64
        assert one.share == 1.0


def test_samples_that_are_not_swept_are_told_apart():
    (one,) = draws.draw(range(1), Sweep(), range(1), 4, 2, ORDER, torch.zeros(1))
    assert one.swept.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert one.share == 0.5
    assert one.budgets[::2].tolist() == [[0.5], [0.5]]
    part = one.samples(slice(1, 3))
    assert part.swept.tolist() == [1.0, 0.0]
    assert torch.equal(part.uniform, one.uniform[1:3])
    assert torch.equal(part.budgets, one.budgets[1:3])
    assert torch.equal(part.references, one.references[1:3])
    assert part.share == 0.5
    assert one.samples(slice(0, 2)).swept.tolist() == [0.0, 1.0]
    assert one.samples(slice(2, 4)).references.tolist() == one.references[2:].tolist()
    assert one.samples(slice(0, 4)) is one


@pytest.mark.parametrize("most", [1, 100, 250, 10**6])
def test_no_more_numbers_are_drawn_at_once_than_are_allowed(monkeypatch, most):
    """Steps of 3 samples, 5 gates and 2 restarts; one step at least, and 16 at most."""
    monkeypatch.setattr(draws, "_MOST_NUMBERS", most)
    drawn = list(draws.draw(range(2), Sweep(), range(40), 3, 5, ORDER, torch.zeros(1)))
    assert len(drawn) == 40
    sizes = {one.uniform.untyped_storage().nbytes() // 4 for one in drawn}
    assert max(sizes) == 30 * max(1, min(16, most // 30))
