"""Abuse: extreme scores and sizes, interruptions, failing models, copies, hostile files and strings."""

import contextlib
import copy
import functools
import json
import pickle
import re
import struct
import tempfile
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from stg_attr import (
    ArgumentError,
    Delete,
    Explanation,
    FixedWeight,
    Hybrid,
    OutputMatch,
    Preserve,
    Status,
    StochasticGates,
    viz,
)
from tests.examples import examples
from tests.models import mlp

QUICK = {"n_steps": 4, "n_samples": 4}


@pytest.fixture
def x():
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


def all_finite(explanation):
    return bool(explanation.attributions.isfinite().all()) and not bool(explanation.log_alpha.isnan().any())


# ---- extreme scores and sizes -------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective", [Hybrid(), Preserve(OutputMatch()), Delete()], ids=lambda o: type(o).__name__
)
@pytest.mark.parametrize("factor", [1e30, 1e-30, -1e30])
@pytest.mark.quick_cases(1)
def test_extreme_scores_select_what_plain_ones_do(x, factor, objective):
    model = mlp(6, 16, 3)

    def score(rows):
        return model(rows)[:, 0]

    plain = StochasticGates(
        lambda rows: score(rows) * (1 if factor > 0 else -1), objective=objective
    ).explain(x)
    extreme = StochasticGates(lambda rows: score(rows) * factor, objective=objective).explain(x)
    assert torch.equal(plain.selected, extreme.selected)
    torch.testing.assert_close(plain.attributions, extreme.attributions, atol=1e-3, rtol=1e-3)
    assert plain.status == extreme.status


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_extreme_scores_in_double_precision_are_explained_as_plain_ones(factor):
    weight = torch.tensor([0.95, 0.05, 0.0, -0.02], dtype=torch.float64)
    found = StochasticGates(lambda rows: factor * (rows.double() @ weight)).explain(torch.ones(1, 4))
    assert found.status == (Status.CONVERGED,)
    assert found.selected.tolist() == [[True, False, False, False]]
    torch.testing.assert_close(found.contributions[0] / factor, weight, atol=1e-5, rtol=0)


def test_scores_whose_difference_is_no_number_are_refused():
    weight = torch.tensor([0.9, 0.1, 0.0])
    with pytest.raises(ArgumentError, match=r"forward_func: .*float32.*found 3e\+38 and -3e\+38.*Divide"):
        StochasticGates(lambda rows: (2 * (rows @ weight) - 1) * 3e38).explain(torch.ones(1, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_differences_beyond_half_precision_are_taken_in_single(dtype):
    """Inputs and scores of 40,000 and -40,000, whose difference float16 cannot hold."""
    weight = torch.tensor([0.7, 0.2, 0.1, 0.0])
    x = torch.full((1, 4), 40000.0, dtype=dtype)
    found = StochasticGates(lambda rows: (rows.float() @ weight).to(dtype)).explain(x, baselines=-40000.0)
    assert found.status == (Status.CONVERGED,)
    assert found.selected.tolist() == [[True, True, False, False]]
    torch.testing.assert_close(found.retained, torch.tensor([0.9]), atol=0.01, rtol=0)


def test_a_set_with_an_infinite_score_does_not_keep_enough():
    """Feature 0 alone scores inf; 0 and 1 together score 8 of 11."""
    weight = torch.tensor([5.0, 3.0, 2.0, 1.0])

    def score(rows):
        plain = rows @ weight
        return torch.where((plain > 4) & (plain < 7), torch.inf, plain)

    found = StochasticGates(score, objective=Preserve()).explain(torch.ones(1, 4))
    assert found.status == (Status.NOT_FINITE,)
    assert bool(found.scores.kept.isfinite().all())
    assert bool((found.retained >= 0.9).all())
    assert "inf%" not in found.describe(0)


@pytest.mark.parametrize("constant", [0.0, 1e30, -1e-30, 3.0])
def test_constant_scores_give_zeros_and_say_why(x, constant):
    explanation = StochasticGates(lambda rows: 0 * rows.sum(1) + constant).explain(x)
    assert explanation.status == (Status.NOTHING_TO_EXPLAIN,) * 3
    assert torch.equal(explanation.attributions, torch.zeros_like(x))
    assert explanation.minimal().n_selected.tolist() == [0, 0, 0]


def test_a_model_that_gives_nan_where_features_are_masked_still_gets_an_answer():
    def model(rows):
        score = rows[:, :2].sum(1)
        return torch.where((rows[:, 2] == 0) & (rows[:, 3] != 0), torch.nan, score)

    explanation = StochasticGates(model).explain(torch.ones(2, 4))
    assert all_finite(explanation)
    assert explanation.status[0] in (Status.NOT_FINITE, Status.CONVERGED, Status.NOT_CONVERGED)
    assert explanation.attributions[0, :2].min() > explanation.attributions[0, 2:].max()


def test_one_gate():
    explanation = StochasticGates(lambda rows: rows[:, 0]).explain(torch.ones(2, 1), n_restarts=3)
    assert explanation.attributions.shape == (2, 1)
    assert explanation.selected.tolist() == [[True], [True]]
    assert explanation.minimal().selected.tolist() == [[True], [True]]


def test_a_hundred_thousand_gates():
    weight = torch.zeros(100_000)
    weight[[7, 70_000]] = 1.0
    explanation = StochasticGates(lambda rows: rows @ weight).explain(torch.ones(1, 100_000), **QUICK)
    assert explanation.selected.nonzero().tolist() == [[0, 7], [0, 70_000]]
    found = explanation.minimal()
    assert found.selected.nonzero().tolist() == [[0, 7], [0, 70_000]]


def test_all_features_in_one_group(x):
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, feature_mask=torch.tensor(3), n_restarts=2)
    assert explanation.selected.tolist() == [[True]] * 3
    assert bool((explanation.attributions == explanation.attributions[:, :1]).all())
    assert explanation.sufficient_sets().ids(0) == [[3]]


# ---- interruptions and failures -----------------------------------------------------------------


class Stopped(nn.Module):
    """Raises at one of its calls; leaves hooks, modes and parameters for the check."""

    def __init__(self, error, at):
        super().__init__()
        self.net, self.error, self.at, self.calls = mlp(6, 16, 3), error, at, 0

    def forward(self, rows):
        self.calls += 1
        torch.rand(1)  # moves the global generator
        if self.calls == self.at:
            raise self.error
        return self.net(rows)


@pytest.mark.filterwarnings("ignore:forward_func raised")  # what was learned is returned, with this warning
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("out of memory"), SystemExit()], ids=type
)
@pytest.mark.parametrize("method", ["attribute", "explain"])
def test_whenever_a_model_stops_nothing_has_changed(x, error, method, untouched):
    for at in range(1, 60):
        model = Stopped(error, at)
        with untouched(model, x), contextlib.suppress(type(error)), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # which says what a model raised on the way
            getattr(StochasticGates(model), method)(x, **QUICK)
        if model.calls < at:
            return
    pytest.fail("the model was called more often than it was stopped")


@pytest.mark.parametrize("call", ["minimal", "sufficient_sets"])
def test_a_model_that_stops_during_a_certificate_changes_nothing(x, call, untouched):
    model = Stopped(RuntimeError("gone"), 0)
    explanation = StochasticGates(model).explain(x, **QUICK)
    for at in (1, 2, 3, 5):
        model.at = model.calls + at
        with untouched(model, x), pytest.raises(RuntimeError, match="gone"):
            getattr(explanation, call)()


# ---- copies and files ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_say_the_same(x, way):
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=2, **QUICK)
    twin = way(explanation)
    assert torch.equal(twin.attributions, explanation.attributions)
    assert torch.equal(twin.restarts.selected, explanation.restarts.selected)
    assert repr(twin) == repr(explanation)
    assert torch.equal(twin.at(budget=0.5).attributions, explanation.at(budget=0.5).attributions)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_copied_method_gives_the_same(x, way):
    stg = StochasticGates(mlp(6, 16, 3), objective=Preserve(), sparsity=FixedWeight(0.02))
    assert torch.equal(way(stg).attribute(x, **QUICK), stg.attribute(x, **QUICK))


@pytest.fixture
def file(x, tmp_path):
    path = tmp_path / "explanation.safetensors"
    StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=2, **QUICK).save(path)
    return path


def _refused(path):
    with pytest.raises(ArgumentError, match=r"path: expected a file written by Explanation\.save"):
        Explanation.load(path)


@given(st.data())
@examples(300)
def test_corrupted_files_are_refused_or_whole(data):
    """Bytes cut, flipped or added anywhere: an error of ours, or an explanation that can be read."""
    whole = _saved()
    kind = data.draw(st.sampled_from(["cut", "flip", "add"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :],
        "add": whole[:at] + data.draw(st.binary(min_size=1, max_size=9)) + whole[at:],
    }[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.safetensors"
        path.write_bytes(changed)
        try:
            explanation = Explanation.load(path)
        except ArgumentError:
            return
    assert len(explanation) == 3
    assert explanation.describe()
    explanation.at(budget=0.5)


@functools.cache
def _saved():
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    explanation = StochasticGates(mlp(6, 16, 3)).explain(x, n_restarts=2, **QUICK)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.safetensors"
        explanation.save(path)
        return path.read_bytes()


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("dump", [pickle.dumps, None], ids=["pickle", "torch"])
def test_no_code_runs_from_a_file(dump, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "hostile.safetensors"
    if dump:
        path.write_bytes(dump(Bomb(trace)))
    else:
        torch.save(Bomb(trace), path)
    _refused(path)
    assert not trace.exists()


def _metadata(path, change):
    """Rewrite what a file says about itself."""
    tensors = load_file(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    text = json.loads(header["__metadata__"]["stg_attr"])
    save_file(tensors, path, {"stg_attr": json.dumps(change(text))})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": "2"},
        {"gates": ["__import__", {}]},
        {"gates": ["Path", {"path": "/etc"}]},
        {"gates": ["BinaryConcrete", {"temperature": -1}]},
        {"gates": ["BinaryConcrete", {"temperature": 10**400}]},
        {"gates": ["BinaryConcrete", {"temperature": 1e300}]},
        {"gates": ["BinaryConcrete", {"temperature": 1.0, "lower_bound": -(10**400)}]},
        {"gates": ["BinaryConcrete", {"temperature": "cold"}]},
        {"gates": ["BinaryConcrete", {"code": 1}]},
        {"gates": "BinaryConcrete"},
        {"gates": None},
        {"status": ["CONVERGED"]},
        {"status": ["__class__"] * 3},
        {"status": 3},
        {"seed": "now"},
        {"seed": None},
        {"single": "perhaps"},
    ],
    ids=str,
)
def test_hostile_descriptions_are_refused(file, change):
    _metadata(file, lambda text: text | change)
    try:
        explanation = Explanation.load(file)
    except ArgumentError:
        return
    assert change == {"single": "perhaps"}, "only this one can be read"
    assert explanation.describe()


@pytest.mark.parametrize("text", [[], "text", None, 3, {}], ids=repr)
def test_descriptions_of_another_kind_are_refused(file, text):
    _metadata(file, lambda _: text)
    _refused(file)


@pytest.mark.parametrize(
    "name",
    [
        "attributions.0",
        "log_alpha",
        "selected",
        "scores.kept",
        "curve.retained",
        "feature_mask.0",
        "inputs.0",
        "restarts.selected",
        "influence",
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        None,
        lambda t: t[:0],
        lambda t: t[..., :1].contiguous(),
        lambda t: t.flatten()[:2].clone(),
        lambda t: torch.zeros(()),
        lambda t: torch.zeros(7, 7, 7),
        lambda t: t.double() * torch.nan,
        lambda t: t.to(torch.uint8) + 9,
        lambda t: t.long() + 10**12,
    ],
    ids=["missing", "empty", "thin", "flat", "number", "other", "nan", "bytes", "huge"],
)
def test_hostile_tensors_are_refused_or_harmless(file, name, change):
    """A file that can be read must be usable: no index leads out of a tensor."""
    tensors = load_file(file)
    raw = file.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change(tensors[name])
    save_file(tensors, file, header["__metadata__"])
    try:
        explanation = Explanation.load(file)
    except ArgumentError:
        return
    assert explanation.describe(0)
    assert explanation._repr_html_()
    assert explanation.at(budget=0.5).attributions.shape == explanation.inputs[0].shape
    explanation.to_frame()


def test_a_missing_file_is_refused_in_pythons_own_words(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        Explanation.load(tmp_path / "nothing.safetensors")


def test_a_folder_is_no_file(tmp_path):
    _refused(tmp_path)


def test_an_explanation_is_not_saved_where_it_cannot_be(x, tmp_path):
    found = StochasticGates(mlp(6, 16, 3)).explain(x, **QUICK)
    for path in (tmp_path / "missing" / "a.safetensors", tmp_path):
        with pytest.raises(ArgumentError, match=r"path: .* folder that is there.*found .*Make the folder"):
            found.save(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n_steps", "n_samples", "max_evals", "internal_batch_size"])
def test_counts_that_no_tensor_can_hold_are_refused(x, name):
    with pytest.raises(ArgumentError, match=rf"{name}: .* at most 2\*\*63 - 1; found 1000"):
        StochasticGates(mlp(6, 16, 3)).explain(x, **{name: 10**400})


@pytest.mark.parametrize("huge", [10**400, 1e300], ids=["int", "float"])
def test_numbers_that_single_precision_cannot_hold_are_refused(x, huge):
    with pytest.raises(ArgumentError, match=r"reg_weight: .* at most 3\.4e\+38; found 1"):
        FixedWeight(huge)
    with pytest.raises(ArgumentError, match=r"baseline of input 0: .* found "):
        StochasticGates(mlp(6, 16, 3)).explain(x, baselines=huge)


def test_a_file_that_promises_too_much_costs_no_memory(tmp_path):
    """A header that announces a tensor of a terabyte."""
    header = json.dumps({"t": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    began = time.monotonic()
    _refused(path)
    assert time.monotonic() - began < 60


# ---- hostile strings ----------------------------------------------------------------------------

HOSTILE = [
    "half a letter \ud83d",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "</div></span></svg><iframe src='javascript:alert(1)'>",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\x00\x1b[31m\u202e\u2028",
    "{{7*7}}${7*7}",
    "<style>*{display:none}</style>",
]


def test_hostile_tokens_are_text_in_html():
    tokens = [*HOSTILE, "end"]
    x = torch.ones(1, len(tokens))
    explanation = StochasticGates(lambda rows: rows[:, :3].sum(1)).explain(x, **QUICK)
    _check_inert(viz.text(explanation, tokens, names=HOSTILE[:1])._repr_html_())


@pytest.mark.filterwarnings("ignore:Glyph")  # letters that the font lacks
def test_hostile_names_are_text_in_descriptions_of_pictures():
    x = torch.ones(2, len(HOSTILE))
    explanation = StochasticGates(lambda rows: rows[:, :3].sum(1)).explain(x, n_restarts=2, **QUICK)
    for draw in (viz.bars, viz.frequency):
        _check_inert(draw(explanation, names=HOSTILE, top=len(HOSTILE))._repr_html_())


ELEMENTS = {
    "details",
    "div",
    "figcaption",
    "figure",
    "img",
    "span",
    "strong",
    "summary",
    "table",
    "td",
    "th",
    "tr",
}
ATTRIBUTES = {
    "alt",
    "aria-label",
    "class",
    "dir",
    "lang",
    "role",
    "scope",
    "src",
    "style",
    "title",
    "width",
    "height",
}


class Markup(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes = set(), []

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes += attributes

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = unknown_decl = handle_pi = handle_comment


def _check_inert(page):
    """No element, attribute or address but the library's own, and text that a file can hold."""
    assert page.encode("utf-8")
    # the rules that choose a light or a dark picture are the same in every page, and hold no name
    page, n_rules = re.subn(r"<style>\n(\.stg-picture|:is\(|@media|  html:|\})[^<>]*</style>", "", page)
    assert n_rules <= 1
    markup = Markup()
    markup.feed(page)
    markup.close()
    assert markup.elements <= ELEMENTS
    assert {name for name, _ in markup.attributes} <= ATTRIBUTES
    for name, value in markup.attributes:
        assert name != "src" or value.startswith(("data:image/png;base64,", "data:image/webp;base64,"))
        assert name not in ("width", "height") or value == "0"  # of the picture for dark pages
        assert name != "style" or not re.search(r"url|expression|import|javascript|[<>]", value)
