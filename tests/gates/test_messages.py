"""What is refused: each message names the argument, what was found, and what to do; the wording is free."""

import re

import numpy as np
import pytest
import torch

from stg_attr import references
from stg_attr.errors import ArgumentError
from stg_attr.gates import (
    BinaryConcrete,
    BinaryConcreteStochasticGates,
    FeatureGroups,
    Gaussian,
    GaussianStochasticGates,
    ReferenceSet,
    as_references,
    column_mask,
    grid_mask,
    position_mask,
    superpixel_mask,
)
from stg_attr.gates.tensors import unusual

pytestmark = pytest.mark.quick_cases  # they take milliseconds
X = torch.zeros(2, 3)
IDS = torch.tensor([[0, 1, 2]])
SPARSE = torch.zeros(1, 3).to_sparse()
IMAGE = torch.zeros(1, 8, 8)
SIGNS = torch.tensor([[1.0], [1.0], [-1.0]])


def masks(mask, *inputs):
    return FeatureGroups.from_mask(mask, inputs or (X,))


def baselines(baseline, *inputs):
    return as_references(baseline, inputs or (X,))


def refused(cases):
    """Cases: an id, a call, the argument that is named, what was found, and a word of how to mend it."""
    rows = [pytest.param(*case[1:], id=case[0]) for case in cases]
    return pytest.mark.parametrize(("call", "what", "found", "mend"), rows)


def check(call, what, found, mend):
    with pytest.raises(ArgumentError) as caught:
        call()
    message = re.fullmatch(r"(?s)(.+?): expected .+; found (.+?)\. (.+)", str(caught.value))
    assert message is not None, caught.value
    assert message[1] == what
    assert re.match(rf"{re.escape(found)}(?![\w.])", message[2])
    assert mend in message[3]


@refused(
    [
        ("two for one input", lambda: baselines((0, 0)), "baselines", "2", "tuple"),
        ("one for two inputs", lambda: baselines((0,), X, X), "baselines", "1", "tuple"),
        ("a tensor for two inputs", lambda: baselines(X, X, X), "baselines", "1 tensor", "tuple"),
        (
            "sets of two lengths",
            lambda: baselines((torch.zeros(7, 3), torch.zeros(5, 3), 0), X, X, X),
            *("baselines", "[5, 7]", "one length"),
        ),
        ("a string", lambda: baselines("black"), "baseline of input 0", "str", "as_tensor"),
        ("a list", lambda: baselines((0, [1.0]), X, X), "baseline of input 1", "list", "as_tensor"),
        (
            "a function that gives nothing",
            lambda: baselines(lambda x: None),
            *("baseline of input 0", "NoneType", "as_tensor"),
        ),
        ("sparse", lambda: baselines(SPARSE), "baseline of input 0", "a tensor of layout", ".to_dense()"),
        ("complex", lambda: baselines(X + 1j), "baseline of input 0", "torch.complex64", ".abs()"),
        ("not a number", lambda: baselines(torch.nan), "baseline of input 0", "NaN", "nan_to_num"),
        ("too large", lambda: baselines(1e5, X.half()), "baseline of input 0", "NaN or inf", "nan_to_num"),
        ("a fraction", lambda: baselines(0.5, X.long()), "baseline of input 0", "torch.float64", ".float()"),
        (
            "out of range",
            lambda: baselines(torch.full((1, 3), 300), X.byte()),
            *("baseline of input 0", "torch.int64", ".float()"),
        ),
        (
            "too many dimensions",
            lambda: baselines(torch.zeros(4, 2, 3)),
            *("baseline of input 0", "(4, 2, 3)", "leading dimension"),
        ),
        (
            "a set of lists",
            lambda: baselines(ReferenceSet([[0.0] * 3])),
            *("baseline of input 0", "list", "leading dimension"),
        ),
        (
            "an empty set",
            lambda: baselines(ReferenceSet(torch.empty(0, 3))),
            *("baseline of input 0", "(0, 3)", "leading dimension"),
        ),
        (
            "another width",
            lambda: baselines(torch.zeros(1, 4)),
            *("baseline of input 0", "(1, 4)", "shape of the input"),
        ),
        *(
            (
                f"a function that gives {shape}",
                lambda shape=shape: baselines(lambda x: torch.zeros(shape)),
                *("baseline of input 0", str(shape), "shape of the input"),
            )
            for shape in ((5, 2, 4), (0, 2, 3), (5, 3, 3), (3,))
        ),
    ]
)
def test_baselines(call, what, found, mend):
    check(call, what, found, mend)


@refused(
    [
        ("two for one input", lambda: masks((IDS, IDS)), "feature_mask", "2", "tuple"),
        ("a list", lambda: masks([[0, 1, 2]]), "feature_mask of input 0", "list", "torch.as_tensor"),
        ("nothing", lambda: masks((None,)), "feature_mask of input 0", "NoneType", "torch.as_tensor"),
        ("floats", lambda: masks((IDS, X), X, X), "feature_mask of input 1", "torch.float32", ".long()"),
        ("flags", lambda: masks(X > 0), "feature_mask of input 0", "torch.bool", ".long()"),
        ("complex", lambda: masks(X + 1j), "feature_mask of input 0", "torch.complex64", ".long()"),
        (
            "sparse",
            lambda: masks(SPARSE.long()),
            "feature_mask of input 0",
            "a tensor of layout",
            ".to_dense()",
        ),
        (
            "an id below -1",
            lambda: masks(torch.tensor([[0, -2, 1]])),
            *("feature_mask of input 0", "id -2", "torch.unique"),
        ),
        ("too narrow", lambda: masks(IDS[:, :2]), "feature_mask of input 0", "(1, 2)", "full length or 1"),
        ("too deep", lambda: masks(IDS[None]), "feature_mask of input 0", "(1, 1, 3)", "full length or 1"),
        (
            "half the rows, as captum's metrics give them",
            lambda: masks(IDS.repeat(2, 1), torch.zeros(4, 3)),
            *("feature_mask of input 0", "(2, 3)", "sensitivity_max"),
        ),
        (
            "rows that do not repeat",
            lambda: masks(IDS.repeat(3, 1), torch.zeros(4, 3)),
            *("feature_mask of input 0", "(3, 3)", "full length or 1"),
        ),
        ("nothing to gate", lambda: masks(torch.tensor([[-1]])), "feature_mask", "only -1", "an id"),
    ]
)
def test_feature_masks(call, what, found, mend):
    check(call, what, found, mend)


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:.*nested")  # torch's own, of making such tensors
def test_tensors_that_cannot_be_computed_with():
    for x, found in (
        (IDS.to_sparse(), "torch.sparse_coo"),
        (IDS.to("meta"), "meta device"),
        (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "torch.qint8"),
        (torch.nested.nested_tensor([X[0]]), "nested"),
        (X.to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
    ):
        assert found in unusual(x)
    for x in (X.half(), X > 0, IDS.byte()):
        assert unusual(x) is None


@refused(
    [
        ("columns of a list", lambda: column_mask(["age", "income"]), "x", "list", "feature_mask"),
        ("columns of an array", lambda: column_mask(np.zeros((2, 3))), "x", "ndarray", "as_tensor(rows)"),
        ("positions of a list", lambda: position_mask([[1.0]]), "x", "list", "as_tensor(rows)"),
        ("a grid on an array", lambda: grid_mask(np.zeros((1, 8, 8)), 2), "x", "ndarray", "as_tensor(rows)"),
        ("superpixels of a number", lambda: superpixel_mask(3), "x", "int", "as_tensor(rows)"),
        ("positions", lambda: position_mask(torch.zeros(8)), "x", "(8,)", "unsqueeze(0)"),
        ("columns", lambda: column_mask(torch.zeros(8)), "x", "(8,)", "unsqueeze(0)"),
        ("a grid on two dimensions", lambda: grid_mask(IMAGE[0], 2), "x", "(8, 8)", "unsqueeze(0)"),
        ("a grid without rows", lambda: grid_mask(IMAGE[:, :0], 2), "x", "(1, 0, 8)", "unsqueeze(0)"),
        ("a grid without columns", lambda: grid_mask(IMAGE[..., :0], 2), "x", "(1, 8, 0)", "unsqueeze(0)"),
        ("cells of no size", lambda: grid_mask(IMAGE, 0), "cell", "0", "8 or 16"),
        ("cells of no width", lambda: grid_mask(IMAGE, (2, 0)), "cell", "(2, 0)", "8 or 16"),
        ("cells of no height", lambda: grid_mask(IMAGE, (0, 2)), "cell", "(0, 2)", "8 or 16"),
        (
            "superpixels of two channels",
            lambda: superpixel_mask(torch.zeros(1, 2, 8, 8)),
            *("x", "(1, 2, 8, 8)", "x[:, :1]"),
        ),
    ]
)
def test_masks_of_common_inputs(call, what, found, mend):
    check(call, what, found, mend)


@refused(
    [
        ("a blur of no width", lambda: references.blur(0), "sigma", "0", "10"),
        ("a blur without end", lambda: references.blur(torch.inf), "sigma", "inf", "10"),
        (
            "a blur of columns",
            lambda: references.blur(1.0)(X),
            "baselines",
            "shape (2, 3)",
            "references.mean",
        ),
        ("the mean of a list", lambda: references.mean([1, 2]), "data", "list", "as_tensor"),
        ("a sample of a list", lambda: references.sample([1, 2]), "data", "list", "as_tensor"),
        ("a permuted list", lambda: references.permuted([1, 2]), "data", "list", "as_tensor"),
        ("the opposite of a list", lambda: references.opposite([1, 2], None), "data", "list", "as_tensor"),
        ("a sample of no rows", lambda: references.sample(X[:0]), "data", "(0, 3)", "as_tensor"),
        ("the mean of a number", lambda: references.mean(torch.tensor(1.0)), "data", "()", "as_tensor"),
        (
            "too few rows of another class",
            lambda: references.opposite(SIGNS, lambda x: x[:, 0], n=2)(SIGNS),
            *("baselines", "1", "smaller n"),
        ),
    ]
)
def test_references(call, what, found, mend):
    check(call, what, found, mend)


BOUNDS = "lower_bound and upper_bound"


@refused(
    [
        ("temperature 0", lambda: BinaryConcrete(0), "temperature", "0", "2/3"),
        ("temperature without end", lambda: BinaryConcrete(torch.inf), "temperature", "inf", "2/3"),
        ("temperature of a flag", lambda: BinaryConcrete(True), "temperature", "True", "2/3"),
        ("lower bound", lambda: BinaryConcrete(lower_bound=0), BOUNDS, "0 and 1.1", "-0.1 and 1.1"),
        ("upper bound", lambda: BinaryConcrete(upper_bound=1), BOUNDS, "-0.1 and 1", "-0.1 and 1.1"),
        ("a letter below", lambda: BinaryConcrete(lower_bound="a"), BOUNDS, "'a' and 1.1", "-0.1 and 1.1"),
        ("a letter above", lambda: BinaryConcrete(upper_bound="2"), BOUNDS, "-0.1 and '2'", "-0.1 and 1.1"),
        ("no deviation", lambda: Gaussian(0), "std", "0", "0.5"),
        ("a string as deviation", lambda: Gaussian("1"), "std", "'1'", "0.5"),
    ]
)
def test_gates(call, what, found, mend):
    check(call, what, found, mend)


coins, normal = BinaryConcreteStochasticGates, GaussianStochasticGates


@refused(
    [
        ("no gates", lambda: coins(0), "n_gates", "0", "elements of one example"),
        ("reduction", lambda: normal(3, reg_reduction="max"), "reg_reduction", "'max'", "'sum'"),
        ("eps", lambda: coins(3, eps=0.5), "eps", "0.5", "1e-8"),
        ("temperature", lambda: coins(3, temperature=1.0), "temperature", "1.0", "2/3"),
        ("one dimension", lambda: coins(3)(X[0]), "input_tensor", "shape (3,)", "unsqueeze(0)"),
        ("four columns", lambda: coins(3)(torch.zeros(2, 4)), "input_tensor", "shape (2, 4)", "n_gates"),
        ("another device", lambda: coins(3)(X.to("meta")), "input_tensor", "shape (2, 3) on meta", ".to("),
        (
            "a narrow mask",
            lambda: coins(3, mask=IDS[0])(torch.zeros(2, 4)),
            "mask",
            "(3,)",
            "full length or 1",
        ),
        (
            "a wide baseline",
            lambda: normal(3, baseline=torch.zeros(4))(X),
            "baseline",
            "(4,)",
            "full length or 1",
        ),
        ("rows of mu", lambda: normal.from_pretrained(X), "mu", "shape (2, 3)", "Flatten"),
        ("rows of log_alpha", lambda: coins.from_pretrained(X), "log_alpha_param", "shape (2, 3)", "Flatten"),
        ("baseline", lambda: normal(3, baseline=torch.inf), "baseline", "NaN or inf", "nan_to_num"),
        (
            "an id is left out",
            lambda: coins(3, torch.tensor([0, 2, 2])),
            "mask",
            "no element with id 1",
            "torch.unique",
        ),
        ("an id too high", lambda: coins(3, torch.tensor([0, 1, 3])), "mask", "id 3", "torch.unique"),
        ("an id too low", lambda: coins(3, torch.tensor([-1, 0, 1, 2])), "mask", "id -1", "torch.unique"),
        ("a list as mask", lambda: coins(3, [0, 1, 2]), "mask", "list", "as_tensor"),
        ("fractions as mask", lambda: coins(3, X[0]), "mask", "torch.float32", ".long()"),
        (
            "a mask without values",
            lambda: coins(3, IDS[0].to("meta")),
            "mask",
            "a tensor on the meta device",
            "device",
        ),
    ]
)
def test_gate_modules(call, what, found, mend):
    check(call, what, found, mend)
