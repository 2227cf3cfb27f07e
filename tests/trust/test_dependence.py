"""Scores that depend on more than their row are named, and those that do not never are."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from stg_attr import (
    ArgumentError,
    Delete,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ReferenceSet,
    ScoreFunction,
    Status,
    StochasticGates,
)
from tests.models import Counted, mlp, seeded
from tests.test_laws import few

UNLIKE = Status.NOT_REPRODUCIBLE
SEEDS = st.integers(0, 2**16)
SHAPES = {"columns": (12,), "tokens": (4, 8), "image": (3, 6, 6), "series": (10, 4)}


def _rows(kind, batch, seed, dtype=torch.float32):
    return torch.randn(batch, *SHAPES[kind], generator=torch.Generator().manual_seed(seed)).to(dtype)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(4, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


def _attention():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(encoder, nn.Flatten(), nn.Linear(32, 3))


def _convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8),
        nn.GELU(), nn.Flatten(), nn.Linear(128, 3),
    )  # fmt: skip


def _wide():
    return nn.Sequential(nn.Linear(12, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 3))


ROW_BY_ROW = {
    "columns": [
        _wide,
        lambda: nn.Sequential(
            nn.Linear(12, 16), nn.Dropout(0.5), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 3)
        ),
        lambda: nn.Sequential(nn.Unflatten(1, (3, 4)), nn.InstanceNorm1d(3), nn.Flatten(), nn.Linear(12, 3)),
    ],
    "tokens": [_attention],
    "image": [_convolutional],
    "series": [Recurrent],
}
KINDS = [(kind, i) for kind, makers in ROW_BY_ROW.items() for i in range(len(makers))]
READ = {
    "logit": lambda x: x,
    "probability": lambda x: x.softmax(1),
    "log": lambda x: x.log_softmax(1),
    "shifted": lambda x: 1e-3 * x + 7,
}


@pytest.mark.parametrize(("kind", "which"), KINDS)
@given(seed=SEEDS, batch=st.integers(1, 7), read=st.sampled_from([*READ]), method=st.integers(0, 4))
@few(4)
def test_models_of_one_row_are_never_called_irreproducible(kind, which, seed, batch, read, method):
    methods = (
        {},
        {"objective": Preserve(OutputMatch())},
        {"objective": Delete()},
        {"estimator": ScoreFunction()},
        {"objective": Preserve()},
    )
    with seeded(seed):
        net = ROW_BY_ROW[kind][which]().eval()
    forward = lambda x: READ[read](net(x))  # noqa: E731
    x = _rows(kind, batch, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stg = StochasticGates(forward, **methods[method])
        assert UNLIKE not in stg.explain(x, n_steps=2).status
        stg.attribute(x, n_steps=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_nor_are_models_of_other_precisions(dtype, batch):
    with seeded():
        nets = [("columns", _wide()), ("tokens", _attention())]
    for kind, net in nets:
        found = StochasticGates(net.eval().to(dtype)).explain(_rows(kind, batch, 1, dtype), n_steps=2)
        assert UNLIKE not in found.status


def test_nor_is_a_model_under_autocast():
    with seeded():
        net = _wide().eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = StochasticGates(lambda x: net(x).float()).explain(_rows("columns", 5, 1), n_steps=2)
    assert UNLIKE not in found.status


# ---------------------------------------------------------------- dependence of each kind

NET = mlp(6, 16, 3)


class Stateful(nn.Module):
    """Its score is moved by what it was asked before."""

    def __init__(self):
        super().__init__()
        self.level = 0.0

    def forward(self, x):
        self.level = 0.5 * self.level + float(x.detach().mean())
        return NET(x + self.level)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return NET(x) * (1 + 0.1 * self.calls)


def _fixed_noise(x):
    """The same noise in every call, another in every row."""
    return NET(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))


DEPENDENT = {
    "noise": lambda: lambda x: NET(x + 0.5 * torch.randn_like(x)),
    "functional dropout": lambda: lambda x: NET(functional.dropout(x, 0.3)),
    "noise on the score": lambda: lambda x: NET(x) + 0.3 * torch.randn(len(x), 1),
    "mean over the batch": lambda: lambda x: NET(x - x.mean(0)),
    "attention over the batch": lambda: lambda x: NET(torch.softmax(x @ x.T, 1) @ x),
    "rank in the batch": lambda: lambda x: NET(x) * (1 + x.sum(1).argsort().argsort()).unsqueeze(1),
    "over the largest of the call": lambda: lambda x: NET(x).exp() / NET(x).exp().amax(0),
    "less the largest of the call": lambda: lambda x: NET(x) - NET(x).amax(0),
    "state between calls": Stateful,
    "counter": Counting,
}
METHODS = {
    "default": {},
    "match": {"objective": Preserve(OutputMatch())},
    "delete": {"objective": Delete()},
    "scores": {"estimator": ScoreFunction()},
}


def _differ_alone(forward, x):
    """Whether a row has another score alone, by more than the tolerance: 2 % of the difference to zero."""
    whole, zero = forward(x)[:, 1], forward(torch.zeros_like(x))[:, 1]
    alone = torch.cat([forward(row.unsqueeze(0))[:, 1] for row in x])
    return bool(((whole - alone).abs() > 0.02 * (whole - zero).abs()).any())


@pytest.mark.parametrize("name", DEPENDENT)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@given(seed=SEEDS, batch=st.integers(1, 6))
@few(3)
def test_each_kind_of_dependence_is_named(name, method, seed, batch):
    x = _rows("columns", batch, seed)[:, :6]
    with pytest.warns(UserWarning, match="Not reproducible"):
        found = StochasticGates(DEPENDENT[name](), **method).explain(x, target=1, n_steps=3)
    assert UNLIKE in found.status
    assert batch == 1 or set(found.status) == {UNLIKE}
    unlike = torch.tensor([status is UNLIKE for status in found.status])
    assert not bool(found.certificate.holds[unlike].any())
    assert bool(found.certificate.mean[unlike].isnan().all())
    which = found.status.index(UNLIKE)
    says_so = "not certified to" in found.describe(which)
    assert says_so == bool(found.selected[which].any())  # nothing is said of no features
    assert "% of the score, exactly" not in found.describe(which)
    if name == "rank in the batch" and batch == 1:
        return  # of one row without a curve, two scores are compared, and a rank may leave both as they are
    if name == "attention over the batch" and batch == 2 and not _differ_alone(DEPENDENT[name](), x):
        return  # of two rows without a curve, each is scored alone, and attention may leave both as they are
    with pytest.warns(UserWarning, match="Not reproducible"):
        StochasticGates(DEPENDENT[name](), **method).attribute(x, target=1, n_steps=3)


def test_one_example_with_noise_that_is_the_same_in_every_call_is_seen_at_another_place():
    with pytest.warns(UserWarning, match="Not reproducible"):
        StochasticGates(_fixed_noise).attribute(torch.ones(1, 6), target=1, n_steps=3)


NEXT_TO_LAST = torch.tensor([1.0, 2.0, 0.5, 0.0])


@pytest.mark.parametrize(
    "score",
    [
        lambda x: (x - x[:1] / 2) @ NEXT_TO_LAST,
        lambda x: x @ NEXT_TO_LAST + 0.3 * torch.arange(len(x)).clamp(max=1),
        lambda x: (x @ NEXT_TO_LAST).cumsum(0),
    ],
    ids=["first row", "place", "sum so far"],
)
def test_one_example_is_measured_again_in_another_place_though_a_feature_changes_nothing(score):
    """The last weight is 0: then no set of the curve has all features, and only what is removed is none."""
    with pytest.warns(UserWarning, match="Not reproducible"):
        found = StochasticGates(score).explain(torch.tensor([[1.2, -0.5, 0.8, 1.0]]))
    assert found.status == (Status.NOT_REPRODUCIBLE,)


@pytest.mark.parametrize("method", ["attribute", "explain"])
def test_a_sum_over_earlier_rows_is_seen_of_one_example_whose_baseline_scores_0(method):
    with pytest.warns(UserWarning, match="Not reproducible"):
        getattr(StochasticGates(lambda x: x.sum(1).cumsum(0)), method)(torch.tensor([[1.0, 2, 3, 4]]))


def test_with_held_out_references_nothing_is_certified():
    x, rows = _rows("columns", 3, 0)[:, :6], _rows("columns", 80, 1)[:, :6]
    with pytest.warns(UserWarning, match="Not reproducible"):
        found = StochasticGates(DEPENDENT["noise"]()).explain(x, ReferenceSet(rows), target=1)
    assert not bool(found.certificate.holds.any())
    assert not bool(found.minimal().certificate.holds.any())


def test_in_training_mode_one_warning_says_it():
    net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    with pytest.warns(UserWarning, match="training mode") as caught:
        found = StochasticGates(net).explain(torch.ones(2, 6))
    assert len(caught) == 1
    assert set(found.status) == {UNLIKE}


def test_the_calls_of_the_checks():
    """One call with two of the examples; without a curve, one with an input or baseline of each other one."""
    x = _rows("columns", 4, 0)[:, :6]
    for run in ("explain", "attribute"):
        counted = Counted(NET)
        found = getattr(StochasticGates(counted), run)(x, n_steps=1)
        assert counted.rows[:3] == [4, 4, 2]
        if run == "explain":
            assert int(found.n_evaluations.sum()) == sum(counted.rows)
        else:
            assert counted.rows[-1] == 2


def test_every_part_of_a_batch_is_compared():
    """Only rows of the last part depend on each other, and a function of the last part only is refused."""
    x = _rows("columns", 6, 0)[:, :6]
    x[4, 0], x[:4, 0], x[5, 0] = 9.0, 1.0, 1.0

    def far(rows):
        return NET(rows - rows.mean(0) * bool((rows[:, 0] > 5).any()))

    with pytest.warns(UserWarning, match="^2 of 6 examples: Not reproducible"):
        found = StochasticGates(far).explain(x, target=1, internal_batch_size=2)
    assert [status is UNLIKE for status in found.status] == [False] * 4 + [True] * 2
    whole = lambda rows: NET(rows)[:, 0] - (Y[:2] if bool((rows[:, 0] > 5).any()) else 0)  # noqa: E731
    with pytest.raises(ValueError, match="one example at a time"):
        StochasticGates(whole).attribute(x, internal_batch_size=2)


# ---------------------------------------------------------------- functions of a whole batch

X = _rows("columns", 5, 3)[:, :6]
Y = torch.tensor([0, 2, 1, 2, 0])
LENGTHS = [6, 5, 3, 2, 1]
GRAPH = (torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()


class Streaming(nn.Module):
    """Keeps a state with a row for each row of the first call."""

    def __init__(self):
        super().__init__()
        self.state = None

    def forward(self, x):
        self.state = torch.zeros(len(x), 6) if self.state is None else self.state
        self.state = 0.5 * self.state + 0.5 * x.detach()
        return NET(self.state + x)


def _packed(x):
    cut = [row[:n] for row, n in zip(x, LENGTHS, strict=True)]
    return torch.stack([row.sum() for row in cut])


TOGETHER = {
    "loss with labels": lambda: lambda x: -functional.cross_entropy(NET(x), Y, reduction="none"),
    "labels that broadcast": lambda: (
        lambda x: NET(x)[:, 0] - Y.unsqueeze(1) if len(x) != 5 else NET(x)[:, 0] - Y
    ),
    "first labels": lambda: lambda x: NET(x)[torch.arange(len(x)), Y[: len(x)]],
    "repeated labels": lambda: lambda x: NET(x)[torch.arange(len(x)), Y.repeat(1 + len(x) // 5)[: len(x)]],
    "whole multiples": lambda: lambda x: NET(x)[torch.arange(len(x)), Y.repeat(len(x) // 5)],
    "lengths": lambda: _packed,
    "nodes of a graph": lambda: lambda x: NET(GRAPH @ x),
    "state of rows": Streaming,
    "noise by place": lambda: _fixed_noise,
}


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("run", ["attribute", "explain"])
def test_a_function_of_a_whole_batch_is_refused_at_once(name, run, untouched):
    target = 1 if name in ("nodes of a graph", "state of rows", "noise by place") else None
    counted = Counted(TOGETHER[name]())
    said = r"any examples of the batch.*target.*additional_forward_args.*time with perturbations_per_eval=1"
    with untouched(counted, X), pytest.raises(ValueError, match=said):
        getattr(StochasticGates(counted), run)(X, target=target)
    assert counted.calls <= 5


def test_it_is_refused_where_a_call_holds_some_of_the_rows_only():
    """A large input: four rows go into a call on a CPU, without a word of the user."""
    images = torch.ones(6, 3, 300, 300) * torch.rand(6, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    scores = lambda x: x.mean((2, 3))  # noqa: E731
    for forward in (
        lambda x: functional.nll_loss(scores(x), labels, reduction="none"),
        lambda x: scores(x)[torch.arange(len(x)), labels[: len(x)]],
    ):
        with pytest.raises(ValueError, match="one example at a time"):
            StochasticGates(forward).attribute(images)


def test_one_example_at_a_time_works_as_the_error_says():
    for i in range(2):
        label = Y[i : i + 1]
        own = lambda x, y=label: -functional.cross_entropy(NET(x), y, reduction="none")  # noqa: E731
        found = StochasticGates(own).explain(X[i : i + 1], perturbations_per_eval=1)
        along = StochasticGates(lambda x, y: -functional.cross_entropy(NET(x), y, reduction="none")).explain(
            X[i : i + 1], additional_forward_args=(label,)
        )
        torch.testing.assert_close(found.attributions, along.attributions, rtol=0, atol=1e-5)
        assert found.status == along.status


ALONE = {
    "label": lambda x: -functional.cross_entropy(NET(x), Y[:1], reduction="none"),
    "fixed row beside it": lambda x: NET(torch.cat([x[:, :3], X[:1, 3:]], dim=1))[:, 0],
    "shape": lambda x: NET(x.reshape(1, -1))[:, 0],
}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("run", ["attribute", "explain"])
@pytest.mark.parametrize("references", [1, 7])
def test_a_function_of_one_row_is_refused_at_once(name, run, references):
    """Its own error would not say that many masked inputs are scored in one call."""
    counted, baselines = Counted(ALONE[name]), torch.zeros(references, X.shape[1])
    said = (
        r"any number of rows.*Error for \d+ rows, though a single one works.*target.*additional_forward_args"
    )
    with pytest.raises(ArgumentError, match=said) as raised:
        getattr(StochasticGates(counted), run)(X[:1], baselines)
    assert raised.value.__cause__ is not None
    assert counted.calls <= 5
    assert getattr(StochasticGates(counted), run)(X[:1], baselines, perturbations_per_eval=1) is not None


def test_a_function_that_fails_from_its_second_call_on_has_its_own_error():
    calls = []

    def broken(x):
        calls.append(len(x))
        if len(calls) > 1:
            raise ValueError("out of order")
        return x[:, 0]

    with pytest.raises(ValueError, match=r"^out of order"):
        StochasticGates(broken).attribute(X[:1])


def test_what_is_passed_along_is_paired_as_it_should_be():
    found = StochasticGates(NET).explain(X, target=Y)
    along = StochasticGates(lambda x, y: NET(x)[torch.arange(len(x)), y]).explain(
        X, additional_forward_args=(Y,)
    )
    torch.testing.assert_close(along.attributions, found.attributions, rtol=0, atol=1e-5)
    assert UNLIKE not in along.status


def test_an_error_of_the_model_itself_is_passed_on():
    class DownError(RuntimeError):
        pass

    calls = []

    def down(x):
        calls.append(len(x))
        if len(calls) > 2:
            raise DownError("the service is down")
        return NET(x)

    with pytest.raises(DownError):
        StochasticGates(down).attribute(X)


def test_gates_on_a_layer_are_checked_too():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.first(x)
            return self.last(h - h.mean(0))

    with seeded():
        net = Mixed().eval()
    with pytest.warns(UserWarning, match="Not reproducible"):
        found = LayerStochasticGates(net, net.first).explain(X, target=1)
    assert set(found.status) == {UNLIKE}
