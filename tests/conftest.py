"""What every test stands on: one thread, repeatable properties, and a check that nothing is left behind."""

import contextlib
import random
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

# derandomize: a property fails for the change that broke it, not for the next one that is tested
settings.register_profile("stg_attr", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("quick", parent=settings.get_profile("stg_attr"), max_examples=10)
settings.load_profile("stg_attr")

QUICK_CASES = 2  # of each test, in the quick tests


def pytest_configure(config):
    if "not slow" in config.getoption("markexpr"):
        settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what -m does not ask for
def pytest_collection_modifyitems(items):
    """Of the cases of a test that are not slow, the first and the last stay quick; the others become slow.

    `@pytest.mark.quick_cases(n)` keeps n, spread evenly; `@pytest.mark.quick_cases` keeps all.
    """
    families = defaultdict(list)
    for item in items:
        if not item.get_closest_marker("slow"):
            families[item.nodeid.partition("[")[0]].append(item)
    for cases in families.values():
        marker = cases[0].get_closest_marker("quick_cases")
        (n,) = (marker.args or (len(cases),)) if marker else (QUICK_CASES,)
        quick = {round(i * (len(cases) - 1) / max(n - 1, 1)) for i in range(n)}
        for number, item in enumerate(cases):
            if number not in quick:
                item.add_marker("slow")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def _traces(model, tensors):
    """Everything that an attribution must leave as it was."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "torch random state": torch.get_rng_state().tolist(),
        "numpy random state": str(np.random.get_state()),
        "python random state": random.getstate(),
        "gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "train or eval": [m.training for m in modules],
        "hooks": [list(getattr(m, name)) for m in modules for name in hooks],
        "requires_grad": [p.requires_grad for p in parameters],
        "gradients": [p.grad is None for p in parameters],
        "parameters": [p.tolist() for p in parameters],
        "inputs": [(str(t.tolist()), t.requires_grad, t.grad is None, t._version) for t in tensors],
    }


@pytest.fixture
def untouched():
    """`with untouched(model, *tensors): ...`: nothing outside has changed afterwards, also after an error."""

    @contextlib.contextmanager
    def check(model, *tensors):
        before = _traces(model, tensors)
        try:
            yield
        finally:
            after = _traces(model, tensors)
            assert [name for name in before if before[name] != after[name]] == []

    return check
