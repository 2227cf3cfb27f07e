"""The files and classes of a folder of the package, with the first sentence of each docstring."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "stg_attr"


@dataclass(frozen=True)
class File:
    """One file of the package.

    Attributes:
        name: its name.
        says: the first sentence of its docstring.
        classes: name and first sentence of each of its classes, in the order of the file.
    """

    name: str
    says: str
    classes: tuple[tuple[str, str], ...]


def outline(folder: str) -> list[File]:
    """The files of a folder in alphabetical order, `__init__.py` first."""
    return [_outlined(path) for path in sorted((PACKAGE / folder).glob("*.py"))]


def _outlined(path: Path) -> File:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = tuple((node.name, _says(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return File(path.name, _says(tree), classes)


def _says(node: ast.Module | ast.ClassDef) -> str:
    return first_sentence(ast.get_docstring(node) or "")


def first_sentence(docstring: str) -> str:
    """The first sentence in one line; a full stop inside a number or a name does not end it."""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]
