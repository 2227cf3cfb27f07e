"""A fingerprint is the same in every process, and differs if anything differs that changes a result."""

import functools
import sys
import threading
import types

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from stg_attr import (
    ArgumentError,
    FixedWeight,
    OutputMatch,
    Preserve,
    ReferenceSet,
    ScoreFunction,
    StochasticGates,
)
from stg_attr.scale import load_attributions
from stg_attr.scale.fingerprint import described, digest

SCALE = 2.0


def doubled(x):
    return SCALE * x


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x


class Called:
    def __init__(self, net):
        self.net = net

    def __call__(self, x):
        return self.net(x)


def _filled(value):
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.fill_(value)
        net.bias.zero_()
    return net


def _closure(net):
    return lambda x: net(x)


PAIRS = {
    "numbers": (1, 1.0),
    "tensors": (torch.zeros(3), torch.tensor([0.0, 0.0, 1e-40])),
    "dtypes": (torch.zeros(3), torch.zeros(3).double()),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "arrays": (np.array([1, 2]), np.array([2, 1])),
    "arrays of objects": (np.array(["a", None]), np.array(["a", "b"], dtype=object)),
    "weights": (_filled(1.0), _filled(1.0 + 1e-6)),
    "plain attributes of a module": (Scaled(1.0), Scaled(2.0)),
    "activations": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
    "nets in a closure": (_closure(_filled(1.0)), _closure(_filled(2.0))),
    "nets in an object": (Called(_filled(1.0)), Called(_filled(2.0))),
    "bound methods": (_filled(1.0).forward, _filled(2.0).forward),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "partial": (functools.partial(doubled, 1), functools.partial(doubled, 2)),
    "settings": (FixedWeight(0.1), FixedWeight(0.2)),
    "objectives": (Preserve(), FixedWeight(0.1)),
    "references": (ReferenceSet(torch.zeros(2, 3)), ReferenceSet(torch.ones(2, 3))),
    "sets": ({1, 2}, {1, 3}),
}


def made(source, name, **variables):
    """The function or class with this name, from the source of a module with these global variables."""
    exec(source, variables := {"nn": nn, "torch": torch, **variables})
    return variables[name]


def predict(body, **variables):
    return made(f"def predict(x): return {body}", "predict", **variables)


def module(forward, init="", method=""):
    with_weight = f"def __init__(s): super().__init__(); s.l = _filled(1.0); {init}"
    source = f"class M(nn.Module):\n {with_weight}\n def forward(s, x): return {forward}\n {method}"
    return made(source, "M", _filled=_filled)().eval()


def _fitted(column):
    x = np.random.RandomState(0).randn(40, 4)
    return LogisticRegression().fit(x, x[:, column] > 0)


def _library(scale):
    own = types.ModuleType("own")
    own.scaled = lambda x: scale * x
    return own


def _hooked(scale):
    net = _filled(1.0)
    net.register_forward_hook(lambda module, given, found: found * scale)
    return net


def _patched(scale):
    net, forward = _filled(1.0), nn.Linear.forward
    net.forward = lambda x: scale * forward(net, x)
    return net


def _layer(nhead=2, **settings):
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, nhead, 16, batch_first=True, **settings).eval()


def _fidelity(body):
    source = f"class Own(OutputMatch):\n def retained(s, v, a): return {body}"
    return Preserve(made(source, "Own", OutputMatch=OutputMatch)())


def _called(body):
    return made(f"class C:\n def run(s, x): return {body}\n def __call__(s, x): return s.run(x)", "C")()


def _exported(forward):
    return torch.export.export(module(forward), (torch.ones(2, 3),)).module()


def _quantised(value):
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(_filled(value)), {nn.Linear})


#: Two models each, which give other results.
CHANGED = {
    "a global scikit-learn model": [lambda c=c: predict("m.predict(x)", m=_fitted(c)) for c in (0, 3)],
    "global NumPy weights": [lambda w=w: predict("x @ w", w=np.full(4, w)) for w in (1.0, -1.0)],
    "a global list": [lambda w=w: predict("x @ torch.tensor(w)", w=w) for w in ([1.0, 2.0], [2.0, 1.0])],
    "a global dict": [lambda w=w: predict("x * c['w']", c={"w": w}) for w in (1, 2)],
    "a global text": [lambda how=how: predict("getattr(x, how)(1)", how=how) for how in ("sum", "prod")],
    "a global object": [lambda k=k: predict("o.go(x)", o=Scaled(k)) for k in (1, -1)],
    "a function of a module": [lambda k=k: predict("own.scaled(x)", own=_library(k)) for k in (1, -1)],
    "a global in a nested function": [lambda k=k: predict("(lambda r: r * k)(x)", k=k) for k in (1.0, -1.0)],
    "a private attribute": [lambda t=t: module("s.l(x) / s._t", f"s._t = {t}") for t in (1, 2)],
    "a method": [lambda b=b: module("s.f(x)", method=f"def f(s, x): return {b}s.l(x)") for b in ("", "-")],
    "a hook": [lambda k=k: _hooked(k) for k in (1.0, -1.0)],
    "a forward of one object": [lambda k=k: _patched(k) for k in (1.0, -1.0)],
    "a method of an object": [lambda b=b: _called(b) for b in ("x.sum(1)", "-x.sum(1)")],
    "heads": [lambda n=n: _layer(nhead=n) for n in (2, 4)],
    "the place of a norm": [lambda n=n: _layer(norm_first=n) for n in (False, True)],
    "an activation": [lambda a=a: _layer(activation=a) for a in ("relu", "gelu")],
    "a trace": [lambda k=k: torch.jit.trace(lambda x: k * x, torch.ones(2)) for k in (1, -1)],
    "a constant of a trace": [
        lambda w=w: torch.jit.trace(lambda x: x * w, torch.ones(3)) for w in (torch.ones(3), torch.zeros(3))
    ],
    "a script": [
        lambda a=a: torch.jit.script(nn.Sequential(_filled(1.0), a)) for a in (nn.ReLU(), nn.Tanh())
    ],
    "a graph": [lambda b=b: torch.fx.symbolic_trace(module(b)) for b in ("s.l(x)", "-s.l(x)")],
    "an exported graph": [lambda b=b: _exported(b) for b in ("s.l(x)", "-s.l(x)")],
    "weights of 8 bits": [lambda v=v: _quantised(v) for v in (1.0, 2.0)],
    "the code of a fidelity": [lambda b=b: _fidelity(b) for b in ("v", "-v")],
    "a compiled module": [lambda v=v: torch.compile(_filled(v)) for v in (1.0, 2.0)],
    "the order of modules": [
        lambda n=n: nn.ModuleDict({name: nn.ReLU() for name in n}) for n in ("ab", "ba")
    ],
    "the mode": [lambda t=t: _filled(1.0).train(t) for t in (False, True)],
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.filterwarnings("ignore")  # torch calls traces, scripts and quantisation old
def test_a_changed_model_has_another_fingerprint(name):
    one, other = CHANGED[name]
    assert digest(one()) == digest(one())
    assert digest(one()) != digest(other())


def test_a_retrained_model_is_refused(explain, rows):
    x = rows[:16, :4]

    def run(classifier, **settings):
        model = StochasticGates(
            predict("m.predict_proba(x.numpy())", m=classifier), estimator=ScoreFunction()
        )
        return load_attributions(explain(model, x, n_steps=8, **settings))

    first = run(_fitted(0))
    with pytest.raises(ArgumentError, match=r"model is predict .* and was predict"):
        run(_fitted(3))
    second = run(_fitted(3), overwrite=True)
    assert first.attributions.mean(0).argmax() == 0
    assert second.attributions.mean(0).argmax() == 3


class Session:
    """Holds what cannot be read, as a session of a compiled library does."""

    def __init__(self, scale):
        self.lock = threading.Lock()
        self.scale = scale

    def __call__(self, x):
        return self.scale * x.sum(1)


def test_a_model_that_cannot_be_read_needs_a_name(explain, rows, tmp_path):
    with pytest.raises(ArgumentError, match=r"model_version: .*cannot be told apart.*_thread.lock"):
        explain(StochasticGates(Session(1.0)), rows)
    assert not (tmp_path / "out").exists()
    explain(StochasticGates(Session(1.0)), rows, model_version="first")
    explain(StochasticGates(Session(1.0)), rows, model_version="first")
    with pytest.raises(ArgumentError, match=r"model is .*'second' and was .*'first'"):
        explain(StochasticGates(Session(-1.0)), rows, model_version="second")


def test_an_argument_that_cannot_be_read_is_named(explain, rows):
    lock = threading.Lock()
    with pytest.raises(ArgumentError, match=r"feature_mask: .*_thread.lock"):
        explain(lambda: _filled(1.0), rows[:, :3], feature_mask=lambda x: lock and torch.arange(3)[None])


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_has_another_fingerprint(name):
    one, other = PAIRS[name]
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_a_number_that_a_function_reads_counts(monkeypatch):
    before = digest(doubled)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert digest(doubled) != before


def test_equal_things_have_one_fingerprint():
    assert digest(_filled(1.0)) == digest(_filled(1.0))
    assert digest(_closure(_filled(1.0))) == digest(_closure(_filled(1.0)))
    net = _filled(1.0)
    before = digest(net)
    net(torch.ones(1, 3)).sum().backward()  # a gradient is not part of a model
    assert digest(net) == before


def test_a_thing_that_holds_itself_has_one():
    loop = []
    loop.append(loop)
    assert len(digest(loop)) == 16


CODE = """
import functools, sys, torch
from torch import nn
import numpy as np
from stg_attr import Hybrid, Sweep
from stg_attr.scale.fingerprint import digest
if len(sys.argv) > 1:  # a process that has done something before
    nn.Linear(2, 2).register_forward_hook(print)
    torch.jit.script(nn.Sequential(nn.Linear(3, 4)))
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()).eval()
net[0].register_forward_hook(lambda module, given, found: found + len({"a", "b"}))
class Own(nn.Module):
    names = {"x", "y", "z"}
    def __init__(self):
        super().__init__()
        self.net, self._table = net, {"b": np.arange(3), "a": {"u", "v", "w"}}
    def forward(self, x):
        return self.helper(x) if "u" in {"u", "v", "w"} else x
    def helper(self, x):
        return self.net(x)
plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
models = [net, Hybrid(), Sweep(), {"b": 1, "a": {"x", "y", "z"}}, lambda x: net(x).softmax(1), Own(),
          Own().forward, nn.TransformerEncoderLayer(8, 2, 16), nn.GRU(3, 4), functools.partial(net, 3),
          torch.jit.script(plain), torch.jit.trace(plain, torch.ones(2, 3)), torch.fx.symbolic_trace(plain),
          torch.export.export(plain, (torch.ones(2, 3),)).module()]
print([digest(model) for model in models])
"""


@pytest.mark.slow
def test_another_process_finds_the_same(python):
    settings = (("1", []), ("2", []), ("3", ["busy"]))
    processes = [python("-W", "ignore", "-c", CODE, *given, PYTHONHASHSEED=seed) for seed, given in settings]
    found = [process.communicate(timeout=120)[0] for process in processes]
    assert found[0] == found[1] == found[2] != ""


def test_short_values_are_readable():
    assert described(3, "k") == "3"
    assert described(("a", 2), "k") == "('a', 2)"
    assert described(torch.zeros(3), "k").startswith("Tensor ")
