"""The package as others get it: one version, types, no heavy import, nothing that needs an extra."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

import stg_attr

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere():
    """The build takes it from the package, so that only CITATION.cff repeats it."""
    of_citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert of_citation[1] == stg_attr.__version__
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version = ", project, re.MULTILINE)


def test_it_says_that_it_has_types():
    assert (Path(stg_attr.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_an_import_brings_nothing_that_torch_and_captum_do_not():
    """Extras, and what is heavy, come when they are asked for."""
    code = (
        "import sys, torch, captum.attr; before = set(sys.modules); import stg_attr; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(out.stdout.split()) <= {"stg_attr"} | set(sys.stdlib_module_names)


@pytest.mark.slow
def test_an_explanation_does_not_load_the_compiler_of_torch():
    """It would take as long as all other imports together."""
    code = """
import sys, torch, stg_attr
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
stg_attr.StochasticGates(net).explain(torch.ones(2, 4), target=0)
print("torch._dynamo" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "False"


@pytest.mark.slow
def test_a_notebook_without_widgets_shows_explanations_all_the_same():
    code = """
import sys
sys.modules.update(dict.fromkeys(["anywidget", "ipywidgets"]))
import torch
from stg_attr import StochasticGates
explanation = StochasticGates(lambda x: x.sum(1)).explain(torch.ones(1, 3), show_progress=True)
assert "of 3 features" in explanation._repr_html_()
try:
    import stg_attr.widgets
except ImportError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "stg_attr.widgets needs anywidget: pip install 'stg_attr[widgets]'"


def test_every_public_name_is_in_the_documentation():
    """Under whatever path it is offered."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    listed = re.findall(r"^\.\. auto\w+:: (stg_attr\.[\w.]+)$", pages, re.MULTILINE)
    assert len(listed) == len(set(listed))
    documented = [pkgutil.resolve_name(name) for name in listed]
    folders = [path.parent.name for path in (ROOT / "stg_attr").glob("*/__init__.py")]
    for module in map(importlib.import_module, ["stg_attr", *(f"stg_attr.{folder}" for folder in folders)]):
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing):  # not a module or a constant
                assert any(thing is other for other in documented), f"{module.__name__}.{name}"
                # autodoc reads what a name for a type means from the comment above it
                assert thing.__doc__ or get_origin(thing) is not None, name
