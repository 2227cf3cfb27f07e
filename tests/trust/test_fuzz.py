"""Thousands of calls with arguments good and bad: an answer that holds, or the library's own error."""

import contextlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stg_attr import (
    ArgumentError,
    BinaryConcrete,
    Budget,
    Delete,
    FixedWeight,
    Gaussian,
    Hybrid,
    OutputMatch,
    Preserve,
    ReferenceSet,
    StochasticGates,
    Sweep,
)
from stg_attr.metrics import agreement, budget_curves

SHAPES = [(3,), (1,), (2, 2), (1, 2, 3), (0,), (2, 0), (1, 1, 1, 2)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ODD_DTYPES = [torch.int64, torch.bool, torch.uint8, torch.complex64]
OBJECTIVES = [
    None,
    Preserve(),
    Delete(),
    Hybrid(),
    Preserve(OutputMatch()),
    Delete(OutputMatch()),
    Hybrid(OutputMatch()),
]
SPARSITIES = [None, Sweep(1.0, 1.0), Sweep(0.1), FixedWeight(0), FixedWeight(10.0), Budget(1.0), Budget(0.01)]
GATES = [
    None,
    BinaryConcrete(),
    BinaryConcrete(0.1),
    BinaryConcrete(9.0, -1e-3, 1.001),
    Gaussian(),
    Gaussian(5.0),
]


def many(examples):
    """Repeatable, without the search for smaller failures, which would take the time of more cases."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )


class Net(nn.Module):
    """Three smooth scores of whatever it is given."""

    def __init__(self, seed):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 3, generator=torch.Generator().manual_seed(seed)))

    def forward(self, *inputs):
        rows = [x.flatten(1).real.to(self.weight.dtype) for x in inputs if isinstance(x, Tensor)]
        flat = torch.cat([x if len(x) == len(rows[0]) else x[:1].expand(len(rows[0]), -1) for x in rows], 1)
        wide = nn.functional.pad(flat, (0, max(0, 7 - flat.shape[1])))[:, :7]
        return torch.tanh(wide) @ self.weight


#: What becomes of the three scores, [rows, 3].
HEADS = [
    lambda s: s,
    lambda s: s[:, 0],
    lambda s: s.unsqueeze(2) * torch.ones(2),
    lambda s: s.softmax(1),
    lambda s: 1e30 * s,
    lambda s: 1e-30 * s,
    lambda s: 1e38 * s,
    lambda s: 1e-44 * s,
    lambda s: s + 1e8,
    lambda s: 0 * s,
    lambda s: 0 * s + 5,
    lambda s: s.double() * 1e300,
    lambda s: s.half(),
    lambda s: s.abs().sqrt(),  # infinite slope at 0
    lambda s: torch.where(s > 0.5, torch.nan, s),
    lambda s: torch.where(s < 0, torch.inf, s),
    lambda s: s.log(),
    lambda s: 1 / s,
    lambda s: s.relu(),
    lambda s: s.round(),
    lambda s: (s > 0).float(),
    lambda s: s.detach(),
    lambda s: s.argmax(1),
    lambda s: s.sum(),
    lambda s: s.sum(0),
    lambda s: s[:0],
    lambda s: s[:, :0],
    lambda s: (s, s),
    lambda s: s.tolist(),
    lambda s: s.detach().numpy(),
    lambda s: None,
    lambda s: s.to(torch.complex64),
    lambda s: s.to_sparse(),
    lambda s: s.to("meta"),
    lambda s: s.to(torch.float8_e4m3fn),
]


def some(good, bad):
    """Mostly what works, so that the wrong argument is usually the only one."""
    return st.integers(0, 19).flatmap(lambda i: st.sampled_from(bad if i == 0 else good))


BAD_NUMBERS = [0, -1, 1.5, "3", True, float("nan"), 10**30, [2]]
effort = {
    "n_steps": some([1, 2, 3], [0, -1, 1.5, "3", None, True]),
    "n_samples": some([None, 1, 2, 3], [0, -1, 1.5, "3", True]),
    "perturbations_per_eval": some([None, 1, 2], [0, -1, 1.5, "3", True]),
    "internal_batch_size": some([None, 1, 2], [0, -1, 1.5, "3", True]),
    "seed": some([0, 1, -5, 10**30, 2**63], [1.5, "3", None, True]),
}


@st.composite
def calls(draw):
    """Settings, a model, inputs and arguments, of which a few are wrong."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    batch = draw(some([1, 2, 3], [0]))
    n_inputs = draw(st.sampled_from([1, 1, 1, 2]))
    xs = [draw(an_input(batch, generator)) for _ in range(n_inputs)]
    inputs = xs[0] if n_inputs == 1 else tuple(xs)
    if draw(st.integers(0, 30)) == 0:
        inputs = draw(
            st.sampled_from(
                [
                    None,
                    [1.0],
                    "text",
                    np.ones((2, 2)),
                    (),
                    [torch.ones(1, 2)],
                    torch.ones(()),
                    torch.eye(2).to_sparse(),
                    torch.ones(2, 2, device="meta"),
                    (torch.ones(1, 2), None),
                    torch.ones(2, 3).to(torch.float8_e4m3fn),
                ]
            )
        )
    tensors = [x for x in xs if isinstance(x, Tensor)]
    arguments = {name: draw(strategy) for name, strategy in effort.items()}
    arguments["baselines"] = _structured(draw, [draw(a_baseline(x, generator)) for x in xs])
    arguments["feature_mask"] = _structured(draw, [draw(a_mask(x, generator)) for x in xs])
    arguments["target"] = draw(a_target(batch, generator))
    arguments["additional_forward_args"] = draw(
        st.sampled_from([None, None, None, torch.ones(max(batch, 1), 1), (torch.ones(3, 1), "text", None)])
    )
    head = draw(st.one_of(st.sampled_from(HEADS[:8]), st.sampled_from(HEADS[:19]), st.sampled_from(HEADS)))
    return Net(draw(st.integers(0, 3))), head, inputs, tensors, arguments


@st.composite
def an_input(draw, batch, generator):
    shape = (batch, *draw(some(SHAPES[:4], SHAPES)))
    x = torch.randn(shape, generator=generator)
    scale = draw(some([1.0], [0.0, 1e30, 1e-30, 1e38, torch.nan, torch.inf]))
    x = x * scale if draw(st.booleans()) or scale != scale else torch.full_like(x, scale)
    return x.to(draw(some(DTYPES, ODD_DTYPES)))


@st.composite
def a_baseline(draw, x, generator):
    row = tuple(x.shape[1:])
    good = [
        None,
        None,
        0,
        0.5,
        torch.zeros(()),
        torch.ones(1, *row),
        torch.zeros_like(x),
        torch.randn(4, *row, generator=generator),
        ReferenceSet(torch.randn(5, *row, generator=generator)),
        lambda x: x.flip(0),
        lambda x: x.unsqueeze(0).expand(3, *x.shape),
    ]
    bad = [
        1e39,
        float("nan"),
        "zero",
        [0.0],
        torch.zeros(2, 5, 5),
        torch.full((1, *row), torch.inf),
        ReferenceSet(None),
        torch.ones(0, *row),
        lambda x: None,
        lambda x: x[:, :0],
        lambda x: x.sum(),
        torch.ones(1, *row) * 1j,
        torch.ones(1, *row).to_sparse(),
        torch.ones(1, *row, device="meta"),
        torch.ones(0),
        np.ones((1, *row)),
    ]
    return draw(some(good, bad))


@st.composite
def a_mask(draw, x, generator):
    row = tuple(x.shape[1:])
    good = [
        None,
        None,
        torch.zeros(1, *row).long(),
        torch.randint(-1, 3, (1, *row), generator=generator),
        torch.randint(0, 9, x.shape, generator=generator),
        torch.tensor(0),
        torch.tensor(2**62),
        torch.randint(0, 2, row, generator=generator).int(),
    ]
    bad = [
        torch.full((1, *row), -1),
        torch.full((1, *row), -2),
        torch.zeros(1, *row),
        torch.zeros(5, 5, 5).long(),
        "mask",
        [0],
        torch.zeros(7, *row).long(),
        torch.ones(1, *row).bool(),
        torch.ones(1, *row).long().to_sparse(),
        torch.ones(1, *row, device="meta").long(),
        torch.ones(0, *row).long(),
    ]
    return draw(some(good, bad))


@st.composite
def a_target(draw, batch, generator):
    good = [
        None,
        None,
        0,
        -1,
        (1,),
        [0] * batch,
        torch.zeros(batch).long(),
        torch.tensor(1),
        (1, 1),
        [(0, 1)] * batch,
        np.int64(1),
    ]
    bad = [
        3,
        -4,
        "cat",
        1.0,
        True,
        torch.zeros(batch),
        [0] * (batch + 1),
        [[0]],
        {},
        (),
        [(0,), (0, 1)],
        10**30,
        torch.zeros(2, 2, 2).long(),
        torch.zeros(batch).long().to_sparse(),
        torch.zeros(batch, device="meta").long(),
    ]
    return draw(some(good, bad))


def _structured(draw, parts):
    """One for each input, or now and then a wrong number of them."""
    if draw(st.integers(0, 30)) == 0:
        return (*parts, None)
    return parts[0] if len(parts) == 1 else tuple(parts)


def _state(model, tensors):
    return [
        torch.get_rng_state(),
        *(p.detach().clone() for p in model.parameters()),
        *(t.clone() for t in tensors),
    ]


def _same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bool((torch.eq(a, b) | (a != a)).all())


@contextlib.contextmanager
def untouched(model, tensors):
    before, versions = _state(model, tensors), [t._version for t in tensors]
    yield
    assert all(_same(a, b) for a, b in zip(before, _state(model, tensors), strict=True))
    assert versions == [t._version for t in tensors]
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


outcomes = {"answers": 0, "refusals": 0}


def _check(call, checked):
    """An answer that holds, or the library's own error with all four parts."""
    try:
        found = call()
    except ArgumentError as error:
        outcomes["refusals"] += 1
        message = str(error)
    else:
        outcomes["answers"] += 1
        checked(found)
        return
    assert ": expected " in message
    assert "; found " in message


def _holds(attributions, inputs):
    parts = attributions if isinstance(attributions, tuple) else (attributions,)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    assert isinstance(attributions, tuple) == isinstance(inputs, tuple)
    parts, given = ([x for x in some if x is not None] for some in (parts, given))
    for part, x in zip(parts, given, strict=True):
        assert part.shape == x.shape
        assert bool(((part >= 0) & (part <= 1)).all())


def _explanation_holds(explanation, inputs):
    _holds(explanation.attributions, inputs)
    assert not bool(explanation.log_alpha.isnan().any())
    assert bool((explanation.influence >= 0).all())
    assert torch.equal(explanation.selected, explanation.active_probabilities > 0.5)
    assert len(explanation.status) == len(explanation.selected)
    assert explanation.describe()
    for other in (explanation.at(budget=0.5), explanation.minimal(0.5)):
        _holds(other.attributions, inputs)
        assert not bool(other.log_alpha.isnan().any())


@given(calls(), st.sampled_from(OBJECTIVES), st.sampled_from(SPARSITIES), st.sampled_from(GATES))
@many(1500)
@pytest.mark.slow
def test_attribute(call, objective, sparsity, gates):
    model, head, inputs, tensors, arguments = call
    stg = StochasticGates(lambda *x: head(model(*x)), objective=objective, sparsity=sparsity, gates=gates)
    with untouched(model, tensors):
        _check(lambda: stg.attribute(inputs, **arguments), lambda found: _holds(found, inputs))


@given(calls(), st.sampled_from(OBJECTIVES), st.sampled_from(SPARSITIES), st.sampled_from([1, 2]))
@many(350)
@pytest.mark.slow
def test_explain(call, objective, sparsity, n_restarts):
    model, head, inputs, tensors, arguments = call
    stg = StochasticGates(lambda *x: head(model(*x)), objective=objective, sparsity=sparsity)
    with untouched(model, tensors):
        _check(
            lambda: stg.explain(inputs, **arguments, n_restarts=n_restarts),
            lambda found: _explanation_holds(found, inputs),
        )


@given(calls())
@many(400)
@pytest.mark.slow
def test_metrics(call):
    model, head, inputs, tensors, arguments = call
    known = (
        "baselines",
        "target",
        "additional_forward_args",
        "feature_mask",
        "perturbations_per_eval",
        "seed",
    )

    def measured():
        attributions = inputs
        curves = budget_curves(
            lambda *x: head(model(*x)), inputs, attributions, **{name: arguments[name] for name in known}
        )
        agreement([attributions, attributions], feature_mask=arguments["feature_mask"])
        return curves

    def holds(curves):
        assert bool((curves.n_features.diff(dim=1) >= 0).all())
        assert bool(curves.full.isfinite().all())
        assert bool(curves.baseline.isfinite().all())

    with untouched(model, tensors):
        _check(measured, holds)


def test_the_cases_are_of_both_kinds():
    """Runs last: neither nearly all answers nor nearly all refusals."""
    total = sum(outcomes.values())
    assert total == 0 or 0.15 < outcomes["answers"] / total < 0.85, outcomes


@pytest.mark.filterwarnings("ignore:forward_func returns whole numbers")
def test_every_head_meets_every_objective():
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for head, objective in itertools.product(HEADS, OBJECTIVES[1:]):
        model = Net(0)
        stg = StochasticGates(lambda *x, model=model, head=head: head(model(*x)), objective=objective)
        with untouched(model, [x]):
            _check(lambda stg=stg: stg.explain(x, n_steps=2, n_samples=2), lambda e: _explanation_holds(e, x))


@pytest.mark.parametrize(
    "name", ["n_steps", "n_samples", "perturbations_per_eval", "internal_batch_size", "n_restarts"]
)
@pytest.mark.parametrize("value", BAD_NUMBERS[:6])
def test_numbers_that_are_none(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected"):
        StochasticGates(lambda x: x).explain(torch.ones(1, 2), **{name: value})
