"""Ctrl-C ends a call at once, with a warning; a second one raises; other signals are the user's own."""

import functools
import os
import signal
import sys
import time

import pytest
import torch

from stg_attr import Status, StochasticGates
from stg_attr.model import raised_by_handler
from tests.models import Counted, mlp

NET = mlp(6, 16, 3)
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Pressing:
    """A model in whose calls, at some numbers, the user presses Ctrl-C."""

    def __init__(self, *at):
        self.at, self.calls = at, 0

    def __call__(self, x):
        self.calls += 1
        if self.calls in self.at:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return NET(x)


@pytest.mark.parametrize("method", ["attribute", "explain"])
@pytest.mark.parametrize("at", [6, 9, 12, 17])
def test_the_call_returns_at_once_and_warns(method, at):
    model = Pressing(at)
    with pytest.warns(UserWarning, match="^4 of 4 examples are returned") as said:
        found = getattr(StochasticGates(model), method)(X, target=0)
    assert model.calls == at
    assert said[0].filename == __file__
    attributions = found if method == "attribute" else found.attributions
    assert bool(((attributions >= 0) & (attributions <= 1)).all())
    assert bool(attributions.any())


def test_of_twelve_shards_those_after_it_are_not_touched():
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
    first = Pressing()
    alone = StochasticGates(first).explain(x[:1], target=0)
    model = Pressing(first.calls + 4)
    with pytest.warns(UserWarning, match="^11 of 12 examples are returned"):
        found = StochasticGates(model).explain(x, target=0, internal_batch_size=1)
    assert model.calls == first.calls + 4
    assert torch.equal(found.attributions[:1], alone.attributions)
    assert found.status[1:] == (Status.INTERRUPTED,) * 11
    whole = StochasticGates(NET).explain(x, target=0, internal_batch_size=1)
    rest = StochasticGates(NET).explain(x, target=0, internal_batch_size=1, resume=found)
    assert torch.equal(rest.attributions, whole.attributions)


def test_before_anything_is_learned_it_raises():
    for at in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            StochasticGates(Pressing(at)).attribute(X, target=0)


def test_a_second_one_raises(monkeypatch):
    """The first comes in the solve, the second while what was learned is read."""
    from stg_attr.attribution.reading import Reading

    def read(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Reading, "read", read)
    with pytest.raises(KeyboardInterrupt):
        StochasticGates(Pressing(6)).attribute(X, target=0)


@pytest.mark.parametrize("call", ["minimal", "sufficient_sets"])
def test_certified_sets_are_not_half_measured(call):
    model = Pressing()
    explanation = StochasticGates(model).explain(X, target=0)
    model.at = (model.calls + 2,)
    with pytest.raises(KeyboardInterrupt):
        getattr(explanation, call)()


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_ctrl_c_while_a_watcher_measures_is_not_lost():
    counted = Counted(NET)

    def look(done, n_steps, so_far):
        if done == 3:
            counted.fail_at, counted.failure = counted.calls + 1, KeyboardInterrupt()
        so_far()

    found = StochasticGates(counted).explain(X, target=0, on_step=look)
    assert found.status == (Status.INTERRUPTED,) * 4
    assert counted.calls == counted.fail_at + 1
    assert len(found.loss_trace) == 3


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
@pytest.mark.parametrize("where", ["update", "unsettled", "enter", "_without_settled", "_step"])
@pytest.mark.quick_cases(1)
def test_between_any_two_lines_of_the_bookkeeping(where):
    """What is returned is a number of whole steps, or nothing."""
    outcomes = set()
    for at in range(4, 400, 7):
        lines = [0]

        def count(frame, event, arg, at=at, lines=lines):
            lines[0] += event == "line"
            if event == "line" and lines[0] == at:
                raise KeyboardInterrupt
            return count

        sys.settrace(lambda frame, event, arg, count=count: count if frame.f_code.co_name == where else None)
        try:
            part = StochasticGates(NET).explain(X, target=0, n_steps=9)
        except KeyboardInterrupt:
            outcomes.add("raised")
            continue
        finally:
            sys.settrace(None)
        if lines[0] < at:
            break
        taken = part.learned.n_steps
        outcomes.add("kept")
        assert part.status == (Status.INTERRUPTED,) * 4
        assert torch.equal(taken, (~part.loss_trace.isnan()).sum(0))
        steps = int(taken.max())
        fewer = StochasticGates(NET).explain(X, target=0, n_steps=steps)
        assert torch.equal(part.learned.total, fewer.learned.total)
        assert torch.equal(part.learned.squares, fewer.learned.squares)
    assert "kept" in outcomes


# ---- other signals ------------------------------------------------------------------------------


class OutOfTimeError(Exception):
    """The user's own error of a time limit."""


def _limit(number, frame):
    raise OutOfTimeError


class Limit:
    def __call__(self, number, frame):
        _raise()


def _raise():
    raise OutOfTimeError


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms on this system")
@pytest.mark.parametrize(
    "handler",
    [_limit, Limit(), functools.partial(_limit), Limit().__call__],
    ids=["function", "object", "partial", "method"],
)
@pytest.mark.parametrize("internal_batch_size", [None, 1])
def test_a_time_limit_of_the_users_is_not_an_error_of_the_model(handler, internal_batch_size):
    calls = [0]

    def slow(x):
        calls[0] += 1
        if calls[0] == 8 + 60 * (internal_batch_size or 0):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            time.sleep(1)
        return NET(x)

    old = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(OutOfTimeError):
            StochasticGates(slow).explain(X, target=0, internal_batch_size=internal_batch_size)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_the_models_own_error_is_no_signal():
    with pytest.raises(OutOfTimeError) as caught:
        _raise()
    assert not raised_by_handler(caught.value)
