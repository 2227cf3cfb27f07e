"""What cannot be used is refused with a sentence that says why, before any solve, and nothing changes."""

import contextlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from stg_attr import (
    ArgumentError,
    BinaryConcrete,
    Budget,
    FixedWeight,
    Gaussian,
    Preserve,
    ReferenceSet,
    StochasticGates,
    Sweep,
)

pytestmark = pytest.mark.quick_cases  # they take milliseconds
X = torch.linspace(-1, 2, 12).reshape(4, 3)
NAN, INF = float("nan"), float("inf")


class Counting(nn.Module):
    """A classifier that counts its calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.calls = nn.Linear(3, 2), 0
        self.eval()
        self.linear.bias.requires_grad_(False)

    def forward(self, *inputs):
        self.calls += 1
        return self.linear(sum(inputs))


@pytest.fixture
def refused(untouched):
    """`with refused(message, calls=0) as model`: an ArgumentError after so many calls, and no trace of it."""

    @contextlib.contextmanager
    def check(message, calls=0, model=None, tensors=(X,)):
        model = Counting() if model is None else model
        with untouched(model, *tensors), pytest.raises(ArgumentError, match=message) as caught:
            yield model
        assert getattr(model, "calls", calls) == calls
        assert re.fullmatch(r"(?s)[a-z].*: expected .+; found .+\. .+[.)]", str(caught.value))

    return check


def table(*rows):
    """Rows of an id, and what goes with it."""
    return pytest.mark.parametrize("case", [pytest.param(row[1:], id=row[0]) for row in rows])


def test_the_error_is_what_python_and_captum_users_catch():
    for kind in (ValueError, AssertionError):
        with pytest.raises(kind, match=r"inputs: .*found list"):
            StochasticGates(Counting()).attribute([X])


# ---------------------------------------------------------------- inputs


@table(
    ("list", [X], r"inputs: .*; found list"),
    ("numpy", X.numpy(), r"inputs: .*; found ndarray.*torch\.as_tensor"),
    ("None", None, r"inputs: .*; found NoneType"),
    ("empty tuple", (), r"inputs: .*; found \[\]"),
    ("tuple of other things", (X, 3), r"inputs: .*; found \['Tensor', 'int'\]"),
    ("no dimensions", torch.tensor(1.0), r"inputs: .*found.*\(\).*unsqueeze"),
    ("empty batch", X[:0], r"inputs: .*found.*\(0, 3\)"),
    ("no elements", X[:, :0], r"inputs: .*found.*\(4, 0\)"),
    ("different batch sizes", (X, X[:3]), r"inputs: .*; found \[4, 3\].*additional_forward"),
    ("NaN", torch.where(X > 1, NAN, X), r"input 0: .*found NaN or inf"),
    ("inf", (X, X / 0), r"input 1: .*found NaN or inf"),
    ("integers", X.long(), r"inputs: .*floating-point.*torch\.int64.*ScoreFunction"),
    ("flags", X > 0, r"inputs: .*floating-point.*torch\.bool.*ScoreFunction"),
    ("sparse", X.to_sparse(), r"input 0: .*found.*layout torch\.sparse_coo.*to_dense"),
    ("without values", X.to("meta"), r"input 0: .*found.*meta"),
    ("eight bits", (X, X.to(torch.float8_e5m2)), r"input 1: .*found.*torch\.float8_e5m2.*float\(\)"),
    ("complex", X + 0j, r"inputs: .*floating-point.*torch\.complex64"),
    ("one of two", (X, X.int()), r"floating-point.*\['torch\.float32', 'torch\.int32'\]"),
)
def test_inputs(case, refused):
    inputs, message = case
    with refused(message) as model:
        StochasticGates(model).attribute(inputs)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_inputs(refused):
    with refused(r"input 0: .*found.*nested") as model:
        StochasticGates(model).attribute(torch.nested.nested_tensor([X, X[:2]]))


# ---------------------------------------------------------------- baselines


@table(
    ("str", "black", r"baseline of input 0: .*ReferenceSet.*; found str"),
    ("list", [0, 0, 0], r"baseline of input 0: .*; found list"),
    ("numpy", np.zeros((1, 3)), r"baseline of input 0: .*; found ndarray.*as_tensor"),
    ("no batch dimension", torch.zeros(3), r"baseline of input 0: .*; found \(3,\)"),
    ("wrong width", torch.zeros(4, 2), r"baseline of input 0: .*\(3,\).*found \(4, 2\)"),
    ("to broadcast", torch.zeros(1, 1), r"baseline of input 0: .*\(3,\).*found \(1, 1\)"),
    ("no rows", torch.zeros(0, 3), r"baseline of input 0: .*found \(0, 3\)"),
    ("NaN", NAN, r"baseline of input 0: .*found NaN or inf"),
    ("inf", torch.full((1, 3), INF), r"baseline of input 0: .*found NaN or inf"),
    ("beyond single precision", torch.full((1, 3), 1e300, dtype=torch.float64), r"torch\.float32; found NaN"),
    (
        "complex",
        torch.zeros(1, 3) + 1j,
        r"baseline of input 0: .*found torch\.complex64",
    ),
    ("sparse", torch.zeros(1, 3).to_sparse(), r"baseline of input 0: .*found.*sparse_coo"),
    ("function of a number", lambda x: x.sum(), r"baseline of input 0: .*\(1, 3\).*found \(\)"),
    ("too many", (0, 0), r"baselines: .* 1; found 2"),
    ("none of them", (), r"baselines: .* 1; found 0"),
    ("set of wrong width", ReferenceSet(torch.zeros(9, 2)), r"baseline of input 0: .*\(3,\).*found"),
    ("set to broadcast", ReferenceSet(torch.zeros(9, 1)), r"baseline of input 0: .*\(3,\).*found"),
    ("set without rows", ReferenceSet(torch.zeros(0, 3)), r"baseline of input 0: .*; found \(0, 3\)"),
    ("set of a list", ReferenceSet([[0, 0, 0]]), r"baseline of input 0: .*; found list"),
    ("function of no tensor", lambda x: 0.0, r"baseline of input 0: .*function.*; found float"),
    ("function that cuts", lambda x: x[:, :2], r"baseline of input 0: .*\(3,\).*found \(4, 2\)"),
    ("function that drops rows", lambda x: x[:2], r"baseline of input 0: .*\(4, 3\).*found \(2, 3\)"),
    ("function that divides by 0", lambda x: x / 0, r"baseline of input 0: .*found NaN or inf"),
)
def test_baselines(case, refused):
    baselines, message = case
    with refused(message) as model:
        StochasticGates(model).attribute(X, baselines)


@table(
    ("one tensor", X, r"baselines: .* 2; found 1 tensor"),
    ("one too few", (X,), r"baselines: .* 2; found 1"),
    ("list", [X, X], r"baseline of input 0: .*; found list"),
    ("second is wrong", (X, X[:, :1]), r"baseline of input 1: .*\(3,\)"),
    (
        "reference sets of different length",
        (ReferenceSet(X), ReferenceSet(X[:3])),
        r"baselines: .*found \[3, 4\]",
    ),
)
def test_baselines_of_two_inputs(case, refused):
    baselines, message = case
    with refused(message) as model:
        StochasticGates(model).attribute((X, X), baselines)


# ---------------------------------------------------------------- masks


@table(
    ("number", 0, r"feature_mask of input 0: .*integers; found int"),
    ("list", [[0, 1, 2]], r"feature_mask of input 0: .*integers; found list"),
    ("numpy", np.zeros((1, 3), int), r"feature_mask of input 0: .*; found ndarray"),
    ("float", torch.zeros(1, 3), r"feature_mask of input 0: .*torch\.float32.*mask\.long\(\)"),
    ("flags", torch.zeros(1, 3).bool(), r"feature_mask of input 0: .*torch\.bool"),
    ("too many", (torch.zeros(1, 3).long(),) * 2, r"feature_mask: .* 1; found 2"),
    ("none of them", (), r"feature_mask: .* 1; found 0"),
    ("wrong width", torch.zeros(1, 2).long(), r"\(4, 3\).*; found \(1, 2\)"),
    ("wrong rows", torch.zeros(3, 3).long(), r"feature_mask of input 0: .*1 or 4.*; found \(3, 3\)"),
    ("rows of a repeated batch", torch.zeros(2, 3).long(), r"found \(2, 3\).*sensitivity_max"),
    ("too many dimensions", torch.zeros(1, 4, 3).long(), r"\(4, 3\).*; found \(1, 4, 3\)"),
    ("no rows", torch.zeros(0, 3).long(), r"feature_mask of input 0: .*1 or 4.*; found \(0, 3\)"),
    ("below -1", torch.tensor([[0, -2, 1]]), r"feature_mask of input 0: .*; found id -2"),
    (
        "sparse",
        torch.zeros(1, 3).long().to_sparse(),
        r"feature_mask of input 0: .*found.*sparse_coo",
    ),
    ("nothing gated", torch.tensor([[-1, -1, -1]]), r"feature_mask: .*found only -1"),
    ("nothing gated at all", torch.tensor(-1), r"feature_mask: .*found only -1"),
)
def test_masks(case, refused):
    mask, message = case
    with refused(message) as model:
        StochasticGates(model).attribute(X, feature_mask=mask)


@table(
    (
        "one for two inputs",
        torch.zeros(1, 3).long(),
        r"feature_mask: .* 2; found 1",
    ),
    ("second is wrong", (torch.tensor(0), torch.tensor([1.0])), r"feature_mask of input 1: .*float32"),
    ("nothing in either", (torch.tensor(-1), torch.tensor(-1)), r"feature_mask: .*found only -1"),
)
def test_masks_of_two_inputs(case, refused):
    mask, message = case
    with refused(message) as model:
        StochasticGates(model).attribute((X, X), feature_mask=mask)


# ---------------------------------------------------------------- targets


@table(
    ("bool", True, r"target: .*found bool"),
    ("float", 1.0, r"target: .*found float"),
    ("str", "1", r"target: .*found str"),
    ("set", {1}, r"target: .*found set"),
    ("numpy array", np.array([1, 0, 1, 0]), r"target: .*found ndarray"),
    ("float tensor", torch.tensor([1.0, 0.0, 1.0, 0.0]), r"target: .*found torch\.float32"),
    ("flags", torch.tensor([True] * 4), r"target: .*found torch\.bool"),
    ("list of bools", [True, False, True, False], r"target: .*found bool"),
    ("list of flags", [torch.tensor(True)] * 4, r"target: .*found bool"),
    ("list of floats", [1.0, 0.0, 1.0, 0.0], r"target: .*found float"),
    ("list of lists", [[0], [1], [0], [1]], r"target: .*found list"),
    ("tuple of bools", (True,), r"target: .*found bool"),
    ("ragged", [(0, 1), (0,), (1,), (0,)], r"target: .*tuples of different lengths \[1, 2\]"),
    ("three dimensions", torch.zeros(4, 1, 1).long(), r"target: .*shape \(4, 1, 1\).*\[batch, indices\]"),
    ("too few", [0, 1], r"target: .*each of 4; found 2"),
    ("too few in a tensor", torch.tensor([0, 1, 0]), r"target: .*each of 4; found 3"),
    ("too many", [0] * 8, r"target: .*each of 4; found 8"),
    ("sparse", torch.zeros(4).long().to_sparse(), r"target: .*found a tensor of layout torch\.sparse_coo"),
    ("beyond any tensor", 10**30, r"target: .*found 1000000000000000000000000000000. Classes count from 0"),
    ("empty", [], r"target: .*each of 4; found 0"),
    ("empty tensor", torch.tensor([], dtype=torch.long), r"target: .*each of 4; found 0"),
)
@pytest.mark.parametrize("internal_batch_size", [None, 2])
def test_targets_that_no_model_could_use(case, internal_batch_size, refused):
    target, message = case
    with refused(message) as model:
        StochasticGates(model).attribute(X, target=target, internal_batch_size=internal_batch_size)


@table(
    ("out of range", 2, r"target: .*\(2,\); found 2"),
    ("too negative", -3, r"target: .*\(2,\); found -3"),
    ("one out of range", [0, 1, 7, 1], r"target: .*found 7"),
    ("tensor out of range", torch.tensor([0, 0, 0, 2]), r"target: .*found 2"),
    ("too deep", (0, 0), r"target: .*\(4, 2\); found 2"),
    ("captum's bad target", (9999,) * 20, r"target: .*\(4, 2\); found 20"),
    ("too deep for each", [(0, 0)] * 4, r"target: .*\(4, 2\); found 2"),
    ("nothing", (), r"target: .*\(4, 2\); found 0"),
)
def test_targets_that_do_not_fit_the_output(case, refused):
    target, message = case
    with refused(message, calls=1) as model:
        StochasticGates(model).attribute(X, target=target)


def test_a_target_for_one_number_per_row(refused):
    with refused(r"target: .*\(4,\); found 1"):
        StochasticGates(lambda x: x.sum(1)).attribute(X, target=0)


def test_a_missing_target_of_a_deeper_output(refused):
    with refused(r"target: .*\(4, 3, 1\); found None"):
        StochasticGates(lambda x: x[..., None]).attribute(X)


# ---------------------------------------------------------------- effort

EFFORT = ("n_steps", "n_samples", "perturbations_per_eval", "internal_batch_size", "max_evals")


@pytest.mark.parametrize("name", EFFORT)
@pytest.mark.parametrize("value", [0, -1, 1.5, 3.0, True, "3", NAN, [3]], ids=repr)
def test_effort(name, value, refused):
    message = rf"{name}: .*at least 1; found {re.escape(repr(value))}"
    with refused(message) as model:
        StochasticGates(model).attribute(X, **{name: value})


@pytest.mark.parametrize("seed", [1.5, "a", None, True, torch.tensor(3)], ids=repr)
def test_seeds(seed, refused):
    with refused(rf"seed: .*; found {re.escape(repr(seed))}") as model:
        StochasticGates(model).attribute(X, seed=seed)


@pytest.mark.parametrize("seed", [-3, 2**70])
def test_every_whole_number_is_a_seed(seed):
    stg = StochasticGates(Counting())
    found = stg.attribute(X, n_steps=3, seed=seed)
    assert torch.equal(found, stg.attribute(X, n_steps=3, seed=seed))
    assert not torch.equal(found, stg.attribute(X, n_steps=3, seed=seed + 1))


def test_explain_refuses_what_attribute_does(refused):
    for kwargs in ({"target": True}, {"n_steps": 0}, {"feature_mask": 3}, {"baselines": "black"}):
        with refused(r"expected") as model:
            StochasticGates(model).explain(X, **kwargs)


# ---------------------------------------------------------------- models


FOREST = RandomForestClassifier(3, random_state=0).fit(X.numpy(), [0, 1, 0, 1])
PIPELINE = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.numpy(), [0, 1, 0, 1])


def numpy_score(x):
    return torch.as_tensor(x.detach().numpy().sum(1))


@table(
    ("detached", lambda x: x.detach().sum(1), r"carries a gradient.*ScoreFunction"),
    ("numpy", numpy_score, r"carries a gradient.*ScoreFunction"),
    ("numpy without detach", lambda x: np.asarray(x).sum(1), r"carries a gradient.*ScoreFunction"),
    ("scikit-learn", FOREST.predict_proba, r"carries a gradient.*ScoreFunction"),
    ("a pipeline", PIPELINE.predict_proba, r"carries a gradient.*ScoreFunction"),
    ("no_grad", torch.no_grad()(lambda x: x.sum(1)), r"carries a gradient.*ScoreFunction"),
    ("integers", lambda x: (x.sum(1) > 1).long(), r"carries a gradient.*ScoreFunction"),
    ("NaN", lambda x: x.sum(1) * NAN, r"finite scores on the inputs.*examples \[0, 1, 2, 3\]"),
    ("NaN for some", lambda x: x.sum(1).log(), r"finite scores on the inputs.*examples \[0\]"),
    ("inf at the baseline", lambda x: 1 / x.sum(1), r"finite scores on the baselines; found NaN or inf"),
    ("float", lambda x: float(x.sum()), r"each of 4 input rows; found shape \(\).*internal_batch_size=1"),
    (
        "tuple",
        lambda x: (None, x),
        r"real numbers as output.*found tuple.*model\(x\)\[1\]\. .*wrap the model",
    ),
    ("dict", lambda x: {"logits": x}, r"real numbers as output.*found dict.*model\(x\)\['logits'\]\. "),
    (
        "object",
        lambda x: SimpleNamespace(loss=None, logits=x),
        r"found SimpleNamespace.*model\(x\)\.logits\. ",
    ),
    ("nothing", lambda x: None, r"real numbers as output.*found NoneType"),
    ("text", lambda x: ["a"] * len(x), r"real numbers as output, or an array, list or number; found list"),
    ("numpy array", lambda x: x.detach().numpy(), r"carries a gradient.*ScoreFunction"),
    ("list", lambda x: x.sum(1).tolist(), r"carries a gradient.*ScoreFunction"),
    ("complex", lambda x: x.sum(1) + 1j, r"real numbers as output.*found torch\.complex64"),
    ("sparse", lambda x: x.to_sparse(), r"a tensor of real numbers as output.*found.*sparse_coo"),
    ("without values", lambda x: x.to("meta"), r"a tensor of real numbers as output.*found.*meta"),
    ("one number", lambda x: x.sum(), r"one row for each of 4 input rows; found shape \(\)"),
    ("one number, 1-D", lambda x: x.sum().reshape(1), r"each of 4 input rows; found shape \(1,\)"),
    ("too few rows", lambda x: x[:2], r"one row for each of 4 input rows; found shape \(2, 3\)"),
    ("too many rows", lambda x: x.repeat(2, 1), r"each of 4 input rows; found shape \(8, 3\)"),
    ("no classes", lambda x: x[:, :0], r"each of 4 input rows; found shape \(4, 0\)"),
)
def test_models(case, untouched):
    forward, message = case
    with untouched(None, X), pytest.raises(ArgumentError, match=f"forward_func: expected.*{message}"):
        StochasticGates(forward).attribute(X, n_steps=3)


def test_a_model_that_mixes_rows_when_there_are_more_of_them(untouched):
    def forward(x):  # right for the batch, wrong for several samples of it
        return x.sum(1)[:4]

    with untouched(None, X), pytest.raises(ArgumentError, match=r"one row .*(?!4 )\d+ input rows"):
        StochasticGates(forward).attribute(X)


class Broken(Counting):
    """Fails at its third call."""

    def forward(self, *inputs):
        if self.calls == 2:
            raise ZeroDivisionError("the model's own")
        return super().forward(*inputs)


def test_the_models_own_error_comes_through_and_nothing_has_changed(untouched):
    model = Broken()
    model.linear.register_forward_hook(lambda *_: None)
    with untouched(model, X), pytest.raises(ZeroDivisionError, match="the model's own"):
        StochasticGates(model).attribute(X)


def test_a_model_in_training_mode_is_left_in_it(untouched):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    with untouched(model, X), pytest.warns(UserWarning, match=r"training mode.*model\.eval\(\)"):
        StochasticGates(model).attribute(X, n_steps=2)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("name", ["objective", "sparsity", "gates", "estimator"])
@pytest.mark.parametrize(
    "part", ["preserve", Preserve, 0.1, lambda scores: scores], ids=["name", "class", "number", "function"]
)
def test_parts_are_objects_of_their_kind(name, part):
    with pytest.raises(ArgumentError, match=rf"{name}: .*Pass an object"):
        StochasticGates(Counting(), **{name: part})


def test_a_part_of_another_kind():
    with pytest.raises(ArgumentError, match=r"objective: .*subclass of Objective; found Sweep\("):
        StochasticGates(Counting(), objective=Sweep())


@pytest.mark.parametrize("forward", [None, 3, "model"])
def test_a_model_can_be_called(forward):
    with pytest.raises(ArgumentError, match=r"forward_func: .*function"):
        StochasticGates(forward)


@pytest.mark.parametrize("value", [0, -1.0, NAN, INF, "a", None, True, torch.tensor(0.5)], ids=repr)
@pytest.mark.parametrize("name", ["temperature", "std"])
def test_settings_of_gates_above_zero(name, value):
    gates = Gaussian if name == "std" else BinaryConcrete
    with pytest.raises(ArgumentError, match=rf"{name}: .*above 0.*; found {re.escape(repr(value))}"):
        gates(**{name: value})


@pytest.mark.parametrize(
    "bounds",
    [
        (0.0, 1.1),
        (0.1, 1.1),
        (-0.1, 1.0),
        (-0.1, 0.5),
        (NAN, 1.1),
        (-0.1, NAN),
        (-INF, 1.1),
        (-0.1, INF),
        ("a", 2),
        (-1, None),
    ],
)
def test_bounds_of_hard_concrete_gates(bounds):
    with pytest.raises(ArgumentError, match=r"lower_bound and upper_bound: .*; found"):
        BinaryConcrete(0.5, *bounds)


@pytest.mark.parametrize("value", [0, -0.1, 1.1, 50, NAN, INF])
@pytest.mark.parametrize(("sparsity", "name"), [(Budget, "fraction"), (Sweep, "retain"), (Sweep, "share")])
def test_shares_of_sparsities(sparsity, name, value):
    with pytest.raises(ArgumentError, match=rf"{name}: .*\(0, 1\]; found {value!r}"):
        sparsity(**{name: value})


@pytest.mark.parametrize("value", [-0.1, -1, NAN])
@pytest.mark.parametrize("sparsity", [FixedWeight, Sweep])
def test_weights_of_sparsities(sparsity, value):
    with pytest.raises(ArgumentError, match=rf"reg_weight: .*at least 0; found {value!r}"):
        sparsity(reg_weight=value)
