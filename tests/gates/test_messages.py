"""What is refused, and in which words: every message whole, since it is all that a user gets."""

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

X = torch.zeros(2, 3)
IDS = torch.tensor([[0, 1, 2]])


def masks(mask, *inputs):
    return FeatureGroups.from_mask(mask, inputs or (X,))


def baselines(baseline, *inputs):
    return as_references(baseline, inputs or (X,))


def check(cases):
    """Cases: how it is called, then what, expected, found and how to mend it."""
    for call, what, expected, found, mend in cases:
        with pytest.raises(ArgumentError) as caught:
            call()
        assert str(caught.value) == f"{what}: expected {expected}; found {found}. {mend}"


def test_baselines():
    tuples = "Pass a tuple with a baseline for every input; None means 0."
    numbers = "a number, a tensor, a ReferenceSet or a function of the input"
    arrays = "Use torch.as_tensor(...) for arrays and lists of numbers."
    dimension = "Give it a leading dimension of 1, of the batch size, or of any number of reference rows."
    whole = "Give whole numbers within its range, or convert the input with .float()."
    like = "Give it the shape of the input, with a leading dimension of 1 or of the batch size."
    first, rows = "baseline of input 0", "shape ('rows', 3) as the input's (2, 3)"
    one = "one example of shape (3,), or 1, 2 or many of them"
    together = "the same number of reference rows for every input, since they are drawn together"
    cut = "Cut the reference sets to one length, or pass a single baseline for some inputs."
    sparse, dense = torch.zeros(1, 3).to_sparse(), "Convert it, for example with .to_dense() or .float()."
    clean, finite = "Clean it with torch.nan_to_num.", "finite numbers in the input's torch.float"
    check(
        [
            (lambda: baselines((0, 0)), "baselines", "one baseline per input, 1", "2", tuples),
            (lambda: baselines((0,), X, X), "baselines", "one baseline per input, 2", "1", tuples),
            (lambda: baselines(X, X, X), "baselines", "one baseline per input, 2", "1 tensor", tuples),
            (
                lambda: baselines((torch.zeros(7, 3), torch.zeros(5, 3), 0), X, X, X),
                *("baselines", together, "[5, 7]", cut),
            ),
            (lambda: baselines("black"), first, numbers, "str", arrays),
            (lambda: baselines((0, [1.0]), X, X), "baseline of input 1", numbers, "list", arrays),
            (
                lambda: baselines(lambda x: None),
                first,
                "a function that returns a tensor",
                "NoneType",
                arrays,
            ),
            (
                lambda: baselines(sparse),
                *(first, "dense tensors with values", "a tensor of layout torch.sparse_coo", dense),
            ),
            (
                lambda: baselines(X + 1j),
                first,
                "real numbers",
                "torch.complex64",
                "Take its .real or .abs().",
            ),
            (lambda: baselines(torch.nan), first, finite + "32", "NaN or inf", clean),
            (lambda: baselines(1e5, X.half()), first, finite + "16", "NaN or inf", clean),
            (
                lambda: baselines(0.5, X.long()),
                *(first, "values that the input's torch.int64 can hold", "torch.float64 with others", whole),
            ),
            (
                lambda: baselines(torch.full((1, 3), 300), X.byte()),
                *(first, "values that the input's torch.uint8 can hold", "torch.int64 with others", whole),
            ),
            (lambda: baselines(torch.zeros(4, 2, 3)), first, rows, "(4, 2, 3)", dimension),
            (lambda: baselines(ReferenceSet([[0.0] * 3])), first, rows, "list", dimension),
            (lambda: baselines(ReferenceSet(torch.empty(0, 3))), first, rows, "(0, 3)", dimension),
            (lambda: baselines(torch.zeros(1, 4)), first, one, "(1, 4)", like),
            (lambda: baselines(lambda x: torch.zeros(5, 2, 4)), first, one, "(5, 2, 4)", like),
            (lambda: baselines(lambda x: torch.zeros(0, 2, 3)), first, one, "(0, 2, 3)", like),
            (lambda: baselines(lambda x: torch.zeros(5, 3, 3)), first, one, "(5, 3, 3)", like),
            (lambda: baselines(lambda x: torch.zeros(3)), first, one, "(3,)", like),
        ]
    )


def test_feature_masks():
    several = "Pass a tuple with a mask for every input; ids are global over inputs."
    fractions = "Convert it with mask.long(), after rounding if it holds fractions."
    lengths = "Give every dimension its full length or 1."
    repeated = (
        " (captum's sensitivity_max and NoiseTunnel repeat the inputs but not always the mask; "
        "use one mask row for all examples there)"
    )
    first, integers = "feature_mask of input 0", "a tensor of integers"
    check(
        [
            (lambda: masks((IDS, IDS)), "feature_mask", "one mask per input, 1", "2", several),
            (lambda: masks([[0, 1, 2]]), first, integers, "list", fractions),
            (lambda: masks((None,)), first, integers, "NoneType", fractions),
            (lambda: masks((IDS, X), X, X), "feature_mask of input 1", integers, "torch.float32", fractions),
            (lambda: masks(X > 0), first, integers, "torch.bool", fractions),
            (lambda: masks(X + 1j), first, integers, "torch.complex64", fractions),
            (
                lambda: masks(IDS.to_sparse()),
                *(first, "a dense tensor of integers", "a tensor of layout torch.sparse_coo"),
                "Convert it, for example with .to_dense().",
            ),
            (
                lambda: masks(torch.tensor([[0, -2, 1]])),
                *(first, "ids of 0 or more, or -1 for elements that are never gated", "id -2"),
                "Renumber it with torch.unique(mask, return_inverse=True)[1].",
            ),
            (
                lambda: masks(IDS[:, :2]),
                *(first, "a shape that broadcasts to (2, 3), with 1 or 2 rows", "(1, 2)", lengths),
            ),
            (
                lambda: masks(IDS[None]),
                *(first, "a shape that broadcasts to (2, 3), with 1 or 2 rows", "(1, 1, 3)", lengths),
            ),
            (
                lambda: masks(IDS.repeat(2, 1), torch.zeros(4, 3)),
                *(first, "a shape that broadcasts to (4, 3), with 1 or 4 rows", "(2, 3)", lengths + repeated),
            ),
            (
                lambda: masks(IDS.repeat(3, 1), torch.zeros(4, 3)),
                *(first, "a shape that broadcasts to (4, 3), with 1 or 4 rows", "(3, 3)", lengths),
            ),
            (
                lambda: masks(torch.tensor([[-1]])),
                *("feature_mask", "at least one element with an id of 0 or more"),
                "only -1, which marks elements that are never gated",
                "Give the elements to explain an id.",
            ),
        ]
    )


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:.*nested")  # torch's own, of making such tensors
def test_tensors_that_cannot_be_computed_with():
    for x, found in (
        (IDS.to_sparse(), "a tensor of layout torch.sparse_coo"),
        (IDS.to("meta"), "a tensor on the meta device, without values"),
        (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "a tensor of torch.qint8"),
        (torch.nested.nested_tensor([X[0]]), "a nested tensor"),
        (X.to(torch.float8_e4m3fn), "a tensor of torch.float8_e4m3fn"),
        (X.half(), None),
        (X > 0, None),
        (IDS.byte(), None),
    ):
        assert unusual(x) == found


def test_masks_of_common_inputs():
    batch = "Add a batch dimension with x.unsqueeze(0)."
    images, vector = "[batch, ..., height, width]", torch.zeros(8)
    edge, photographs = "an edge of at least 1 pixel", "8 or 16 suit photographs."
    check(
        [
            (lambda: position_mask(vector), "x", "[batch, positions, ...]", "(8,)", batch),
            (lambda: column_mask(vector), "x", "[batch, ..., columns]", "(8,)", batch),
            (lambda: grid_mask(torch.zeros(8, 8), 2), "x", images, "(8, 8)", batch),
            (lambda: grid_mask(torch.zeros(1, 0, 8), 2), "x", images, "(1, 0, 8)", batch),
            (lambda: grid_mask(torch.zeros(1, 8, 0), 2), "x", images, "(1, 8, 0)", batch),
            (lambda: grid_mask(torch.zeros(1, 8, 8), 0), "cell", edge, "0", photographs),
            (lambda: grid_mask(torch.zeros(1, 8, 8), (2, 0)), "cell", edge, "(2, 0)", photographs),
            (lambda: grid_mask(torch.zeros(1, 8, 8), (0, 2)), "cell", edge, "(0, 2)", photographs),
            (
                lambda: superpixel_mask(torch.zeros(1, 2, 8, 8)),
                *("x", "[batch, 1 or 3 channels, height, width]", "(1, 2, 8, 8)", batch),
            ),
        ]
    )


def test_references():
    convert = "Convert it with torch.as_tensor."
    more = "Pass more data, or a smaller n."
    signs = torch.tensor([[1.0], [1.0], [-1.0]])
    check(
        [
            (lambda: references.blur(0), "sigma", "pixels above 0", "0", "10 suits photographs."),
            (lambda: references.blur(torch.inf), "sigma", "pixels above 0", "inf", "10 suits photographs."),
            (
                lambda: references.blur(1.0)(X),
                *("baselines", "images [batch, ..., height, width] to blur", "shape (2, 3)"),
                "Use another reference, such as references.mean(data).",
            ),
            *(
                (lambda make=make: make([1, 2]), "data", "rows [rows, ...]", "list", convert)
                for make in (
                    references.mean,
                    references.sample,
                    references.permuted,
                    lambda data: references.opposite(data, None),
                )
            ),
            (lambda: references.sample(X[:0]), "data", "rows [rows, ...]", "(0, 3)", convert),
            (lambda: references.mean(torch.tensor(1.0)), "data", "rows [rows, ...]", "()", convert),
            (
                lambda: references.opposite(signs, lambda x: x[:, 0], n=2)(signs),
                *("baselines", "2 rows of another class for every example", "1", more),
            ),
        ]
    )


def test_gates():
    above, usual = "a number above 0", " is the usual choice."
    bounds = "lower_bound < 0 and upper_bound > 1, so that gates can close and open fully"
    both, usual_bounds = "lower_bound and upper_bound", "-0.1 and 1.1 are the usual choice."
    check(
        [
            (lambda: BinaryConcrete(0), "temperature", above, "0", "2/3" + usual),
            (lambda: BinaryConcrete(torch.inf), "temperature", above, "inf", "2/3" + usual),
            (lambda: BinaryConcrete(True), "temperature", above, "True", "2/3" + usual),
            (lambda: BinaryConcrete(lower_bound=0), both, bounds, "0 and 1.1", usual_bounds),
            (lambda: BinaryConcrete(upper_bound=1), both, bounds, "-0.1 and 1", usual_bounds),
            (lambda: BinaryConcrete(lower_bound="a"), both, bounds, "'a' and 1.1", usual_bounds),
            (lambda: BinaryConcrete(upper_bound="2"), both, bounds, "-0.1 and '2'", usual_bounds),
            (lambda: Gaussian(0), "std", above, "0", "0.5" + usual),
            (lambda: Gaussian("1"), "std", above, "'1'", "0.5" + usual),
        ]
    )


def test_gate_modules():
    coins, normal = BinaryConcreteStochasticGates, GaussianStochasticGates
    full = "Give every dimension its full length or 1; the batch dimension may be left out."
    renumber = "Renumber it with torch.unique(mask, return_inverse=True)[1]; n_gates is its number of ids."
    every, integers = "every id from 0 to n_gates - 1 = 2, and no other", "a tensor of integers"
    flat, usual = "Flatten it; a mask says what each gate switches.", " is the usual choice."
    count = "Pass the number of elements of one example, or of ids in the mask."
    single = "Use x.unsqueeze(0) for a single example and x.unsqueeze(1) for a single feature."
    check(
        [
            (lambda: coins(0), "n_gates", "1 or more", "0", count),
            (
                lambda: normal(3, reg_reduction="max"),
                *("reg_reduction", "'none', 'mean' or 'sum'", "'max'", "'sum'" + usual),
            ),
            (lambda: coins(3, eps=0.5), "eps", "a number in (0, 0.5)", "0.5", "1e-8" + usual),
            (lambda: coins(3, temperature=1.0), "temperature", "a number in (0, 1)", "1.0", "2/3" + usual),
            (
                lambda: coins(3)(X[0]),
                *("input_tensor", "[batch, ...], 2 dimensions or more", "shape (3,) on cpu", single),
            ),
            (
                lambda: coins(3)(torch.zeros(2, 4)),
                *("input_tensor", "3 elements in each example, one per gate, as there is no mask"),
                "shape (2, 4) on cpu",
                "Change n_gates, or pass a mask that names the gate of each element.",
            ),
            (
                lambda: coins(3)(X.to("meta")),
                *("input_tensor", "the module's device, cpu", "shape (2, 3) on meta"),
                "Use module.to(x.device).",
            ),
            (
                lambda: coins(3, mask=IDS[0])(torch.zeros(2, 4)),
                *("mask", "a shape that broadcasts to the input's (2, 4)", "(3,)", full),
            ),
            (
                lambda: normal(3, baseline=torch.zeros(4))(X),
                *("baseline", "a shape that broadcasts to the input's (2, 3)", "(4,)", full),
            ),
            (lambda: normal.from_pretrained(X), "mu", "1 dimension, [gates]", "shape (2, 3)", flat),
            (
                lambda: coins.from_pretrained(X),
                "log_alpha_param",
                "1 dimension, [gates]",
                "shape (2, 3)",
                flat,
            ),
            (
                lambda: normal(3, baseline=torch.inf),
                *("baseline", "finite numbers", "NaN or inf", "Clean it with torch.nan_to_num."),
            ),
            (lambda: coins(3, torch.tensor([0, 2, 2])), "mask", every, "no element with id 1", renumber),
            (lambda: coins(3, torch.tensor([0, 1, 3])), "mask", every, "id 3", renumber),
            (lambda: coins(3, torch.tensor([-1, 0, 1, 2])), "mask", every, "id -1", renumber),
            (lambda: coins(3, [0, 1, 2]), "mask", integers, "list", "Use torch.as_tensor(mask)."),
            (
                lambda: coins(3, X[0]),
                *(
                    "mask",
                    integers,
                    "torch.float32",
                    "Use mask.long(), after rounding if it holds fractions.",
                ),
            ),
            (
                lambda: coins(3, IDS[0].to("meta")),
                *("mask", integers, "a tensor on the meta device, without values"),
                "Make the mask on another device.",
            ),
        ]
    )
