"""What must be true of the code as it is written: short ways, short files, and pages that name all of it."""

from __future__ import annotations

import ast
import importlib
import re
import traceback
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

import stg_attr
from stg_attr import StochasticGates
from stg_attr.batch import Batch, Holds, per_example
from stg_attr.explanation import Explanation, files
from tests.models import mlp

PACKAGE = Path(stg_attr.__file__).parent
DOCS = PACKAGE.parent / "docs"
FOLDERS = ("attribution", "explanation", "solve", "model", "select")
X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def _walk() -> list[tuple[str, str]]:
    """File and function of each frame of the package when the model is first differentiated."""
    net, seen = mlp(6, 8, 2), []

    def model(x):
        if x.requires_grad and not seen:
            frames = traceback.extract_stack()
            seen.extend(frame for frame in frames if PACKAGE in Path(frame.filename).parents)
        return net(x)

    StochasticGates(model).attribute(X, target=0)
    return [(Path(frame.filename).relative_to(PACKAGE).as_posix(), frame.name) for frame in seen]


def test_the_way_from_attribute_to_the_gradient_is_short():
    walk = _walk()
    assert walk[0] == ("attribution/input.py", "attribute")
    assert len(walk) <= 10
    assert len({file for file, _ in walk}) <= 5


def test_the_page_on_architecture_follows_the_same_way():
    """Its table of the way has a row for each frame, in order."""
    page = (DOCS / "project" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([\w/.]+)` \| `(?:\w+\.)?(\w+)` \|", page, re.MULTILINE)
    assert rows == _walk()


def test_no_file_is_long():
    long = {
        path.relative_to(PACKAGE).as_posix(): n
        for path in PACKAGE.rglob("*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}


def test_attribution_has_few_files():
    assert len([path for path in (PACKAGE / "attribution").glob("*.py") if path.name != "__init__.py"]) <= 10


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_on_architecture_names_every_file_and_class(folder, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site_parts")
    outline = importlib.import_module("outline")
    assert f".. files:: {folder}\n" in (DOCS / "project" / "architecture.md").read_text()
    listed = outline.outline(folder)
    assert {file.name for file in listed} == {path.name for path in (PACKAGE / folder).glob("*.py")}
    for file in listed:
        text = (PACKAGE / folder / file.name).read_text(encoding="utf-8")
        classes = re.findall(r"^ *class (\w+)", text, re.MULTILINE)
        assert sorted(name for name, _ in file.classes) == sorted(classes)
        assert len(file.says) > 10, file.name
        assert all(len(says) > 10 for _, says in file.classes), file.classes


def test_the_directive_draws_every_file(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site_parts")
    pytest.importorskip("sphinx", reason="sphinx is not installed: python run.py docs")
    drawn = importlib.import_module("architecture").files("model")
    assert all(f"model/{path.name}<" in drawn for path in (PACKAGE / "model").glob("*.py"))
    assert "`" not in drawn


def test_a_sentence_ends_where_the_next_one_begins(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site_parts")
    first_sentence = importlib.import_module("outline").first_sentence
    assert (
        first_sentence("Takes 0.5 of\na file.py as is. Then more.\n\nAnd more.")
        == "Takes 0.5 of a file.py as is."
    )


@dataclass(frozen=True, eq=False)
class Extended(Explanation):
    """An explanation with one more field, which is written here and nowhere else."""

    extra: Tensor | None = field(
        default=None, metadata=per_example(holds=Holds(("batch", "gates"), low=0, high=1))
    )


def _extended() -> Extended:
    found = StochasticGates(mlp(6, 8, 2)).explain(X, target=0, n_restarts=2)
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    return Extended(**values, extra=found.active_probabilities / 2)


def assert_same(one: object, other: object, name: str = "explanation") -> None:
    """Compare records field by field, whatever their fields are; the model is not kept in a file."""
    assert type(one) is type(other), name
    if isinstance(one, Batch):
        for f in fields(one):
            if f.name != "question":
                assert_same(getattr(one, f.name), getattr(other, f.name), f"{name}.{f.name}")
    elif isinstance(one, Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=name)
    elif isinstance(one, tuple):
        assert len(one) == len(other), name
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{name}[{i}]")
    else:
        assert one == other, name


def test_a_file_keeps_every_field_and_a_new_one_needs_no_other_change(tmp_path):
    record = _extended()
    record.save(tmp_path / "a.safetensors")
    assert_same(files.load(Extended, tmp_path / "a.safetensors", lambda _: None), record)


def test_a_file_checks_a_new_field_as_it_says(tmp_path):
    record = _extended()
    Extended(**(vars(record) | {"extra": record.extra + 2})).save(tmp_path / "a.safetensors")
    with pytest.raises(stg_attr.ArgumentError, match=r"extra holds values above 1"):
        files.load(Extended, tmp_path / "a.safetensors", lambda _: None)


def test_the_rows_of_an_explanation_joined_again_are_the_same_in_every_field():
    record = _extended()
    parts = [record.rows(slice(0, 1)), record.rows(torch.tensor([1, 2]))]
    assert len(parts[0].extra) == 1
    assert_same(Extended.joined(parts), record)


def test_every_file_of_tests_has_a_quick_test():
    """But for those that start other processes, which takes several seconds."""
    without = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        of_all = [ast.unparse(node) for node in body if isinstance(node, ast.Assign)]
        tests = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        marks = [" ".join(map(ast.unparse, test.decorator_list)) for test in tests]
        slow = any(line.startswith("pytestmark") and "mark.slow" in line for line in of_all)
        if slow or all("mark.slow" in mark for mark in marks):
            without.add(path.name)
    assert without <= {"test_on_ray.py", "test_distributed.py"}
