"""The gate modules: drop-ins for captum.module's, and what captum's cannot do."""

import copy
import inspect
import io
import pickle
import warnings

import captum.module
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from stg_attr import modules
from stg_attr.errors import ArgumentError
from stg_attr.modules import BinaryConcreteStochasticGates, GaussianStochasticGates
from tests.examples import examples

FAMILIES = [BinaryConcreteStochasticGates, GaussianStochasticGates]
OPTIONS = {
    BinaryConcreteStochasticGates: {"temperature": 0.4, "lower_bound": -0.2, "upper_bound": 1.3, "eps": 0.05},
    GaussianStochasticGates: {"std": 0.8},
}
NAMES = {BinaryConcreteStochasticGates: "log_alpha_param", GaussianStochasticGates: "mu"}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    ),
]

# n_gates, mask, shape of the input
CASES = {
    "1-D": (3, None, (5, 3)),
    "1-D, mask": (2, torch.tensor([0, 0, 1]), (5, 3)),
    "2-D": (6, None, (2, 3, 2)),
    "2-D, mask": (3, torch.tensor([[0, 0], [1, 1], [2, 0]]), (4, 3, 2)),
    "N-D": (24, None, (2, 2, 3, 4)),
    "mask with a batch dimension of 1": (12, torch.arange(12).reshape(1, 3, 4), (2, 3, 4)),
    "mask shared by channels": (4, torch.arange(4).reshape(1, 1, 2, 2), (3, 5, 2, 2)),
    "mask of channels": (5, torch.arange(5).reshape(5, 1, 1), (3, 5, 2, 2)),
    "mask per row": (3, torch.tensor([[0, 1], [2, 2], [1, 0]]), (3, 2)),
    "mask per row, shared by channels": (4, torch.arange(8).reshape(2, 1, 4) % 4, (2, 3, 4)),
    "one id for everything": (1, torch.tensor(0), (3, 2, 2)),
    "int32 mask": (2, torch.tensor([1, 0, 1], dtype=torch.int32), (2, 3)),
}


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def family(request):
    return request.param


def oracle(family):
    return getattr(captum.module, family.__name__)


def parameter(module):
    return next(module.parameters())


def twins(family, *args, seed=0, **kwargs):
    """Our module and captum's, constructed from the same seed."""
    made = []
    for cls in (family, oracle(family)):
        torch.manual_seed(seed)
        made.append(cls(*args, **kwargs))
    return made


def run(module, x, seed=1):
    """Gated input, regulariser, and the gradients of their weighted sum."""
    torch.manual_seed(seed)
    x = x.clone().requires_grad_()
    gated, reg = module(x)
    weights = torch.linspace(-1, 2, gated.numel(), device=gated.device).reshape(gated.shape)
    gradients = torch.autograd.grad((gated * weights).sum() + reg.sum(), (parameter(module), x))
    return gated.detach(), reg.detach(), *gradients


def pretrained(family, values, **kwargs):
    return family.from_pretrained(torch.tensor(values), **kwargs)


# --- the drop-in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("options", [False, True], ids=["defaults", "options"])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients_agree_with_captum(family, case, options, training, device):
    n_gates, mask, shape = CASES[case]
    ours, theirs = twins(family, n_gates, mask=mask, reg_weight=0.3, **(OPTIONS[family] if options else {}))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(device)
    results = [run(module.to(device).train(training), x) for module in (ours, theirs)]
    for mine, captums in zip(*results, strict=True):
        torch.testing.assert_close(mine, captums, rtol=1e-5, atol=1e-6)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@examples(25)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_broadcast_mask_agrees_with_captum(family, lengths, batch, seed):
    mask_shape = [1 if shared else length for length, shared in lengths]
    ids = torch.randint(3, mask_shape, generator=torch.Generator().manual_seed(seed))
    mask = torch.unique(ids, return_inverse=True)[1]
    ours, theirs = twins(family, int(mask.max()) + 1, mask=mask, seed=seed)
    x = torch.ones(batch, *(length for length, _ in lengths))
    for mine, captums in zip(run(ours, x, seed), run(theirs, x, seed), strict=True):
        torch.testing.assert_close(mine, captums, rtol=1e-5, atol=1e-6)


def test_construction_draws_captums_parameters(family):
    ours, theirs = twins(family, 1000)
    assert torch.equal(parameter(ours), parameter(theirs))


def test_signatures_are_captums_plus_keywords(family):
    for method in ("__init__", "forward"):
        ours = inspect.signature(getattr(family, method)).parameters
        theirs = inspect.signature(getattr(oracle(family), method)).parameters
        assert [name for name, p in ours.items() if p.kind != p.KEYWORD_ONLY] == list(theirs)
        assert {name: ours[name].default for name in theirs} == {n: p.default for n, p in theirs.items()}


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_regularizer_agrees_with_captum(family, reduction):
    ours, theirs = twins(family, 4, reg_weight=0.7, reg_reduction=reduction)
    x = torch.randn(2, 4)
    torch.testing.assert_close(ours(x)[1], theirs(x)[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("options", [{}, {"lower_bound": -2.0, "upper_bound": 2.0}])
def test_gate_values_agree_with_captum(family, clamp, options):
    options = options if family is BinaryConcreteStochasticGates else {}
    values = torch.tensor([10.0, -10.0, 0.3, 2.0])
    ours, theirs = (cls._from_pretrained(values, **options) for cls in (family, oracle(family)))
    mine = ours.get_gate_values(clamp=clamp)
    torch.testing.assert_close(mine, theirs.get_gate_values(clamp=clamp), rtol=0, atol=1e-6)
    assert clamp == bool(((mine >= 0) & (mine <= 1)).all())
    assert not mine.requires_grad


def test_active_probabilities_agree_with_captum(family):
    values = torch.linspace(-2.5, 2.5, 11)
    ours, theirs = (cls._from_pretrained(values, **OPTIONS[family]) for cls in (family, oracle(family)))
    mine = ours.get_gate_active_probs()
    torch.testing.assert_close(mine, theirs.get_gate_active_probs(), rtol=0, atol=1e-6)
    assert not mine.requires_grad


@pytest.mark.parametrize("mask", [None, torch.tensor([1, 0, 2])], ids=["no mask", "mask"])
def test_state_dict_loads_both_ways(family, mask):
    ours, theirs = family(3, mask=mask, baseline=torch.ones(3)), oracle(family)(3, mask=mask)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fresh = oracle(family)(3, mask=None if mask is None else torch.arange(3))
    fresh.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3)
    assert torch.equal(fresh.get_gate_values(), family.from_pretrained(parameter(fresh)).get_gate_values())
    torch.testing.assert_close(ours.eval()(x)[1], theirs.eval()(x)[1], rtol=0, atol=1e-6)
    if mask is not None:
        assert torch.equal(fresh.mask, mask)


@pytest.mark.parametrize("factory", ["from_pretrained", "_from_pretrained"])
def test_from_pretrained_takes_captums_arguments(family, factory):
    values, mask = torch.tensor([0.2, -0.4]), torch.tensor([0, 1, 1])
    positional = (mask, 0.1, *OPTIONS[family].values(), "mean")
    keywords = {"mask": mask, "reg_weight": 0.1, "reg_reduction": "mean", **OPTIONS[family]}
    modules_ = [
        getattr(family, factory)(values, *positional),
        getattr(family, factory)(**{NAMES[family]: values}, **keywords),
        oracle(family)._from_pretrained(values, *positional),
    ]
    results = [run(module, torch.ones(4, 3)) for module in modules_]
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    for option, value in OPTIONS[family].items():
        assert getattr(modules_[0], option) == value


def test_pretrained_parameters_are_a_copy_that_keeps_its_dtype(family):
    values = torch.tensor([0.5, -0.5], dtype=torch.float64)
    module = family.from_pretrained(values)
    with torch.no_grad():
        parameter(module).zero_()
    assert parameter(module).dtype == torch.float64
    assert values.tolist() == [0.5, -0.5]
    assert parameter(family.from_pretrained(torch.tensor([3, -3]))).tolist() == [3.0, -3.0]


# --- beyond captum's: training and precision -------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_every_reduction_trains(family, reduction):
    module = pretrained(family, [-1.0, 0.0, 0.8], reg_weight=2.0, reg_reduction=reduction)
    module(torch.ones(1, 3))[1].sum().backward()
    whole = pretrained(family, [-1.0, 0.0, 0.8])
    whole(torch.ones(1, 3))[1].backward()
    scale = 2 / 3 if reduction == "mean" else 2
    torch.testing.assert_close(parameter(module).grad, scale * parameter(whole).grad)


def test_sampling_is_differentiable_in_double_precision(family):
    module = family(4, mask=torch.tensor([[0, 1, 2], [3, 0, 0]]), baseline=0.3).double()
    start = torch.tensor([-0.5, 0.1, 0.4, 1.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def forward(values, x):
        generator = torch.Generator().manual_seed(5)
        return functional_call(module, {NAMES[family]: values}, (x,), {"generator": generator})

    assert torch.autograd.gradcheck(forward, (start, x.requires_grad_()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_output_keeps_the_dtype_of_the_input(family, dtype, training):
    module = family(3, baseline=torch.ones(3)).to(dtype).train(training)
    gated, reg = module(torch.ones(2, 3, dtype=dtype))
    assert (gated.dtype, reg.dtype) == (dtype, dtype)
    assert family(3).train(training)(torch.ones(2, 3, dtype=dtype))[0].dtype == dtype
    assert {module.get_gate_values().dtype, module.get_gate_active_probs().dtype} == {dtype}
    assert module(torch.ones(2, 3, dtype=torch.int64))[0].is_floating_point()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_one_seed_gives_the_same_gates_in_every_precision(family, dtype):
    """So in half no draw is 0 or 1, whose logit would be infinite."""
    module = family.from_pretrained(torch.zeros(250), mask=torch.arange(250))
    x = torch.ones(100, 250)
    gated, _, gradient, _ = run(module, x)
    low, _, low_gradient, _ = run(module.to(dtype), x.to(dtype))
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    torch.testing.assert_close(low.float(), gated, rtol=eps, atol=2 * eps)
    assert (low_gradient - gradient).norm() < 10 * eps * gradient.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_share_of_open_gates_is_the_active_probability(family, dtype):
    module = pretrained(family, [-1.0, 0.0, 0.5]).to(dtype)
    torch.manual_seed(0)
    n = 20_000
    share = (module(torch.ones(n, 3, dtype=dtype))[0] > 0).double().mean(0)
    p = module.get_gate_active_probs().double()
    assert ((share - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + torch.finfo(dtype).eps).all()


def test_half_regularizer_of_many_gates_is_finite_once_weighted(family):
    module = family(150_000, reg_weight=1e-3).half()
    reg = module(torch.ones(1, 150_000, dtype=torch.half))[1]
    assert reg.item() == pytest.approx(150 * module.get_gate_active_probs().double().mean().item(), rel=1e-3)


# --- beyond captum's: settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (torch.tensor([0, 2, 2]), "found no element with id 1"),
        (torch.tensor([0, 1, 1]), "found no element with id 2"),
        (torch.tensor([0, 1, 3]), "found id 3"),
        (torch.tensor([-1, 0, 1, 2]), "found id -1"),
        (torch.tensor([], dtype=torch.long), "found no element with id 0"),
        (torch.tensor([0.0, 1.0, 2.0]), "found torch.float32"),
        (torch.tensor([True, False]), "found torch.bool"),
        (torch.tensor([0j, 1j]), "found torch.complex64"),
        ([0, 1, 2], "found list"),
        (torch.tensor([0, 1, 2], device="meta"), "found a tensor on the meta device"),
    ],
)
def test_bad_masks_are_refused_at_construction(family, mask, found):
    with pytest.raises(ArgumentError, match=rf"mask: expected .*; {found}\b.*\. (Use|Renumber|Make)"):
        family(3, mask=mask)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_masks_of_any_integer_dtype_mean_the_same(family, dtype):
    ids = torch.tensor([2, 0, 1, 1])
    x = torch.ones(2, 4)
    results = [run(twins(family, 3, mask=mask)[0], x) for mask in (ids, ids.to(dtype))]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_mask_is_a_copy(family):
    mask = torch.tensor([0, 1])
    module = family(2, mask=mask)
    mask.zero_()
    assert module.mask.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("mask", "shape"), [((3,), (2, 4)), ((3, 1, 1), (2, 3)), ((3, 2), (2, 2)), ((2, 3), (0, 3))]
)
def test_masks_that_do_not_broadcast_are_refused(family, mask, shape):
    module = family(2, mask=torch.arange(torch.Size(mask).numel()).reshape(mask) % 2)
    with pytest.raises(ArgumentError, match=r"mask: .*broadcasts"):
        module(torch.ones(shape))


@pytest.mark.parametrize("n_gates", [0, -3])
def test_too_few_gates_are_refused(family, n_gates):
    with pytest.raises(ArgumentError, match=f"n_gates: .*; found {n_gates}"):
        family(n_gates)


def test_unknown_reduction_is_refused(family):
    with pytest.raises(ArgumentError, match=r"reg_reduction: .*'sum'; found 'max'"):
        family(3, reg_reduction="max")


@pytest.mark.parametrize(
    ("cls", "setting", "value"),
    [
        *((BinaryConcreteStochasticGates, "temperature", value) for value in (0.0, 1.0, -0.5, float("nan"))),
        *((BinaryConcreteStochasticGates, "eps", value) for value in (0.0, 0.5, -1e-8, float("nan"))),
        *((BinaryConcreteStochasticGates, "lower_bound", value) for value in (0.0, 0.1, float("nan"))),
        *((BinaryConcreteStochasticGates, "upper_bound", value) for value in (1.0, 0.9, float("nan"))),
        *((GaussianStochasticGates, "std", value) for value in (0.0, -0.5, float("nan"))),
    ],
)
def test_settings_outside_their_range_are_refused(cls, setting, value):
    with pytest.raises(ArgumentError, match=rf"{setting}.*: expected .*found.*{value}"):
        cls(3, **{setting: value})


@pytest.mark.parametrize("baseline", [float("nan"), float("inf"), torch.tensor([0.0, float("nan"), 1.0])])
def test_baselines_that_are_not_finite_are_refused(family, baseline):
    with pytest.raises(ArgumentError, match=r"baseline: .*finite.*found NaN"):
        family(3, baseline=baseline)


def test_baselines_that_do_not_broadcast_are_refused(family):
    with pytest.raises(ArgumentError, match=r"baseline: expected a shape .* input's \(2, 3\); found \(4,\)"):
        family(3, baseline=torch.zeros(4))(torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("mask", [None, torch.arange(3)], ids=["no mask", "mask"])
def test_inputs_without_features_are_refused(family, shape, mask):
    with pytest.raises(ArgumentError, match=r"input_tensor: .*2 dimensions or more"):
        family(3, mask=mask)(torch.ones(shape))


def test_inputs_with_another_number_of_elements_are_refused(family):
    with pytest.raises(ArgumentError, match=r"input_tensor: expected 3 elements .* found shape \(2, 4\)"):
        family(3)(torch.ones(2, 4))


def test_inputs_on_another_device_are_refused(family):
    with pytest.raises(ArgumentError, match=r"expected the module's device, cpu; found .* on meta"):
        family(3)(torch.ones(2, 3, device="meta"))


def test_pretrained_parameters_with_more_dimensions_are_refused(family):
    with pytest.raises(ArgumentError, match=rf"{NAMES[family]}: expected 1 dimension.* found shape \(2, 3\)"):
        family.from_pretrained(torch.zeros(2, 3))


def test_annealed_temperature_is_followed_everywhere():
    values = torch.tensor([-1.0, 0.0, 2.0])
    annealed = BinaryConcreteStochasticGates.from_pretrained(values)
    annealed.temperature = 0.1
    fresh = BinaryConcreteStochasticGates.from_pretrained(values, temperature=0.1)
    x = torch.ones(4, 3)
    assert all(torch.equal(a, b) for a, b in zip(run(annealed, x), run(fresh, x), strict=True))
    assert torch.equal(annealed.get_gate_active_probs(), fresh.get_gate_active_probs())
    annealed.temperature = 0.0
    with pytest.raises(ArgumentError, match="temperature: expected a number in"):
        annealed(x)


# --- beyond captum's: what closed gates show -------------------------------------------------------------


@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("baseline", [0, -2.5])
def test_closed_gates_hide_what_is_not_a_number(family, hidden, training, baseline):
    module = pretrained(family, [-50.0, 50.0, -50.0], baseline=baseline).train(training)
    x = torch.tensor([[hidden, 2.0, hidden], [1.0, 2.0, 3.0]])
    gated, _, *gradients = run(module, x)
    assert gated.tolist() == [[baseline, 2.0, baseline]] * 2
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_open_gates_hide_nothing(family):
    module = pretrained(family, [50.0, 0.5, 50.0]).eval()
    x = torch.tensor([[float("nan"), float("nan"), float("inf")]])
    torch.testing.assert_close(module(x)[0], x, equal_nan=True)


@pytest.mark.parametrize(
    "baseline",
    [3, -0.5, torch.tensor([1.0, -2.0, 4.0]), torch.arange(6).reshape(2, 3)],
    ids=["whole", "number", "row", "rows"],
)
def test_gating_towards_a_baseline_is_gating_the_difference(family, baseline):
    values = [-0.4, 0.2, 0.9]
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    shown = run(pretrained(family, values, baseline=baseline), x)[0]
    torch.testing.assert_close(shown, baseline + run(pretrained(family, values), x - baseline)[0])


def test_baseline_is_a_copy_that_follows_the_module_and_is_not_saved(family):
    baseline = torch.tensor([1.0, 2.0])
    module = pretrained(family, [-50.0, -50.0], baseline=baseline).eval()
    baseline.zero_()
    assert module(torch.zeros(1, 2))[0].tolist() == [[1.0, 2.0]]
    assert module.double().baseline.dtype == torch.float64
    assert list(module.state_dict()) == [NAMES[family]]


def test_eval_mode_multiplies_by_the_gate_values(family):
    module = pretrained(family, [-3.0, 0.1, 0.6, 7.0]).eval()
    assert torch.equal(module(torch.ones(2, 4))[0], module.get_gate_values().expand(2, 4))


def test_gate_values_are_no_mean_and_are_not_called_one(family):
    module = pretrained(family, [-0.3])
    torch.manual_seed(0)
    noisy = module(torch.ones(20_000, 1))[0].detach()
    error = noisy.std() / 20_000**0.5
    assert (noisy.mean() - module.get_gate_values()).abs() > 5 * error
    assert "not the mean" in inspect.getdoc(module.get_gate_values)


def test_gate_values_do_not_alias_the_parameter(family):
    module = pretrained(family, [0.25, 0.75])
    module.get_gate_values(clamp=False).zero_()
    module.get_gate_values(clamp=True).zero_()
    assert parameter(module).tolist() == [0.25, 0.75]


# --- beyond captum's: randomness, batches, memory --------------------------------------------------------


def test_rows_draw_their_own_noise(family):
    gated = family(50)(torch.ones(2, 50))[0]
    assert not torch.equal(gated[0], gated[1])


def test_generator_repeats_the_noise_and_spares_the_global_one(family):
    module, x = family(6), torch.ones(4, 6)
    state = torch.get_rng_state()
    first, again, other = (module(x, generator=torch.Generator().manual_seed(s))[0] for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(3)
    assert torch.equal(module(x)[0], first)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, torch.tensor([0, 1, 1])], ids=["no mask", "mask"])
def test_an_empty_batch_trains_the_regularizer_alone(family, mask, training):
    module = family(3 if mask is None else 2, mask=mask).train(training)
    gated, reg = module(torch.ones(0, 3))
    assert gated.shape == (0, 3)
    (gated.sum() + reg).backward()
    expected = torch.autograd.grad(module(torch.ones(1, 3))[1], parameter(module))[0]
    torch.testing.assert_close(parameter(module).grad, expected)


@pytest.mark.parametrize("training", [True, False])
def test_vmap_over_stacked_parameters(family, training):
    module = family(3, mask=torch.tensor([0, 1, 2, 2]), baseline=1.0).train(training)
    stacked = torch.linspace(-0.5, 1.0, 15).reshape(5, 3).requires_grad_()
    x = torch.randn(5, 8, 4)

    def forward(values, x):
        return functional_call(module, {NAMES[family]: values}, (x,))

    gated, reg = vmap(forward, randomness="different")(stacked, x)
    alone = [family.from_pretrained(row, mask=module.mask, baseline=1.0).eval() for row in stacked.detach()]
    torch.testing.assert_close(reg, torch.stack([m(x[0])[1] for m in alone]))
    if training:
        same = vmap(forward, randomness="different")(stacked[:1].expand(2, -1), x[:1].expand(2, -1, -1))[0]
        assert not torch.equal(same[0], same[1])
        assert torch.autograd.grad(gated.sum(), stacked)[0].abs().sum() > 0
    else:
        torch.testing.assert_close(gated, torch.stack([m(row)[0] for m, row in zip(alone, x, strict=True)]))


class LargestIndex(TorchDispatchMode):
    """The largest storage of an int64 tensor that any operation made."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.int64:
            self.nbytes = max(self.nbytes, out.untyped_storage().nbytes())
        return out


def test_masks_shared_by_channels_are_not_expanded_in_memory(family):
    mask = torch.arange(64).reshape(1, 1, 8, 8)
    module = family(64, mask=mask)
    with LargestIndex() as largest:
        gated, reg = module(torch.ones(16, 3, 8, 8))
        (gated.sum() + reg).backward()
    assert 0 < largest.nbytes <= mask.numel() * 8


# --- beyond captum's: graphs and copies ------------------------------------------------------------------


def as_compiled(module, x):
    torch.compiler.reset()
    return torch.compile(module, backend="eager", fullgraph=True)


def as_exported(module, x):
    return torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()


def as_traced(module, x):
    with warnings.catch_warnings():  # what torch says of its tracer; a TracerWarning is still an error
        warnings.filterwarnings("ignore", message=".*jit.trace.* is deprecated", category=DeprecationWarning)
        return torch.jit.trace(module, (x,), check_trace=not module.training)


def as_fx(module, x):
    return torch.fx.symbolic_trace(module)


def as_pickled(module, x):
    return pickle.loads(pickle.dumps(module))


def as_saved(module, x):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 1], [2, 3]])], ids=["no mask", "mask"])
@pytest.mark.parametrize(
    "convert",
    [as_compiled, as_exported, as_traced, as_fx, as_pickled, as_saved, lambda m, x: copy.deepcopy(m)],
    ids=["compile", "export", "trace", "fx", "pickle", "save", "deepcopy"],
)
def test_converted_modules_give_the_same_numbers(family, convert, mask, training):
    module = family(4, mask=mask, reg_weight=0.5, baseline=torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    module.train(training)
    converted = convert(module, torch.ones(3, 2, 2))
    x = torch.randn(5, 2, 2)
    results = []
    for m in (module, converted):
        torch.manual_seed(7)
        results.append(m(x))
    torch.testing.assert_close(*results)


def test_compiled_modules_follow_an_annealed_temperature():
    module = BinaryConcreteStochasticGates(3)
    compiled = as_compiled(module, None)
    for temperature in (0.6, 0.4, 0.2):
        module.temperature = temperature
        torch.testing.assert_close(compiled(torch.ones(1, 3))[1], module(torch.ones(1, 3))[1])


def test_gates_learn_which_features_matter(family):
    """The whole point: on y = x0 - x2, gates 0 and 2 stay open and the others close."""
    torch.manual_seed(0)
    gates, head = family(5, reg_weight=0.1), torch.nn.Linear(5, 1)
    optimizer = torch.optim.Adam([*gates.parameters(), *head.parameters()], lr=0.05)
    for _ in range(300):
        x = torch.randn(64, 5)
        gated, reg = gates(x)
        loss = (head(gated).squeeze(1) - (x[:, 0] - x[:, 2])).square().mean() + reg
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    probabilities = gates.get_gate_active_probs()
    assert (probabilities > 0.5).tolist() == [True, False, True, False, False]


def test_only_the_two_modules_are_public():
    assert modules.__all__ == [family.__name__ for family in FAMILIES]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pickle_that_names_the_former_file_loads(family):
    module = family(3, baseline=2.0)
    text = pickle.dumps(module, protocol=0)
    named = f"{family.__module__}\n{family.__name__}".encode()
    assert named in text
    former = pickle.loads(text.replace(named, f"stg_attr.gates.modules\n{family.__name__}".encode()))
    assert type(former) is family
    assert torch.equal(former.get_gate_values(), module.get_gate_values())
