"""Sphinx extension: directives that read the code when the site is built.

`import-diagram` draws the imports between the layers that CI holds; `files` lists the files and classes of a
folder.
"""

from __future__ import annotations

import ast
import re
import sys
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from outline import File, outline
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "stg_attr"
WIDTH, ROW, BOX = 760, 84, (150, 40)


def layers() -> list[list[str]]:
    """The layers of the import contract in pyproject.toml, highest first."""
    block = re.search(r"(?ms)^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text())
    assert block is not None
    return [re.findall(r"\w+", line) for line in re.findall(r'"([^"]+)"', block[1])]


def imports() -> dict[str, set[str]]:
    """For each part of the package, the other parts that its code imports, wherever the import stands."""
    names = {name for layer in layers() for name in layer}
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own in names:
            found[own] |= {part for part in _parts(path) if part in names - {own}}
    return found


def _parts(path: Path) -> set[str]:
    """The parts of the package that one file names in its imports."""
    folder = ("stg_attr", *path.relative_to(PACKAGE).parts[:-1])
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(folder[: len(folder) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            modules = [module] if module != "stg_attr" else [_offered(alias.name) for alias in node.names]
        else:
            continue
        parts |= {module.split(".")[1] for module in modules if module.startswith("stg_attr.")}
    return parts


def _offered(name: str) -> str:
    """The module behind a name that the top of the package offers."""
    if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file():
        return f"stg_attr.{name}"
    for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return f"stg_attr.{node.module}"
    return "stg_attr"


def direct() -> set[tuple[str, str]]:
    """The imports that do not follow from others: of a to b to c and of a to c, the first two."""
    found = imports()

    def reached(name: str) -> set[str]:
        return found[name].union(*(reached(other) for other in found[name]))

    return {
        (name, other)
        for name, others in found.items()
        for other in others
        if not any(other in reached(between) for between in others - {other})
    }


def places() -> dict[str, tuple[float, float]]:
    """Centre of each box."""
    return {
        name: (WIDTH * (k + 1) / (len(layer) + 1), ROW * (i + 0.5))
        for i, layer in enumerate(layers())
        for k, name in enumerate(layer)
    }


def svg() -> str:
    """The diagram; it takes the colour of the page's letters."""
    at = places()
    arrows = [_arrow(at[name], at[other]) for name, other in sorted(direct())]
    boxes = [_box(name, *centre) for name, centre in at.items()]
    tip = '<path d="M0 0 8 4 0 8z" fill="currentColor" fill-opacity=".6"/>'
    return (
        f'<svg class="imports" viewBox="0 0 {WIDTH} {ROW * len(layers())}" role="img" '
        f'aria-label="{escape(words())}"><defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" '
        f'markerWidth="7" markerHeight="7" orient="auto">{tip}</marker></defs>'
        f"{''.join(sorted(arrows))}{''.join(boxes)}</svg>"
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From one box down to another, around the boxes between them."""
    (x1, y1), (x2, y2) = start, end
    far = abs(y2 - y1) > 1.5 * ROW
    side = (1 if x1 + x2 >= WIDTH else -1) * far
    bend = side * (60 + 0.22 * abs(y2 - y1))
    top, bottom = y1 + BOX[1] / 2, y2 - BOX[1] / 2 - 5
    curve = f"M{x1:.0f} {top:.0f}C{x1 + bend:.0f} {top + 30:.0f} {x2 + bend:.0f} {bottom - 30:.0f}"
    return (
        f'<path d="{curve} {x2:.0f} {bottom:.0f}" fill="none" stroke="currentColor" stroke-opacity=".4" '
        'marker-end="url(#tip)"/>'
    )


def _box(name: str, x: float, y: float) -> str:
    return (
        f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" '
        f'class="box"/><text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="currentColor">'
        f"{escape(name)}</text>"
    )


def rows() -> list[tuple[str, list[str]]]:
    """Each part, highest layer first, and what it imports."""
    found = imports()
    return [(name, sorted(found[name])) for layer in layers() for name in layer]


def words() -> str:
    """The same in words."""
    return " ".join(f"{name} imports {', '.join(others) or 'nothing'}." for name, others in rows())


def table() -> str:
    """The same as a table."""
    cells = [(name, ", ".join(f"<code>{o}</code>" for o in others) or "nothing") for name, others in rows()]
    body = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{others}</td></tr>" for name, others in cells
    )
    return f'<table class="table"><thead><tr><th>part</th><th>imports</th></tr></thead>{body}</table>'


class ImportDiagram(Directive):
    """The picture and the table."""

    def run(self) -> list[nodes.Node]:
        """Put both on the page."""
        return [nodes.raw("", svg() + table(), format="html")]


def files(folder: str) -> str:
    """The files of a folder of the package and their classes, as a table."""
    body = "".join(
        _row(f"<code>{escape(folder)}/{escape(file.name)}</code>", file) for file in outline(folder)
    )
    return (
        '<table class="table"><thead><tr><th>file</th><th>what it is, and its classes</th></tr></thead>'
        f"{body}</table>"
    )


def _row(name: str, file: File) -> str:
    classes = "".join(f"<li><code>{escape(each)}</code>: {_text(says)}</li>" for each, says in file.classes)
    listed = f"<ul>{classes}</ul>" if classes else ""
    return f"<tr><td>{name}</td><td>{_text(file.says)}{listed}</td></tr>"


def _text(sentence: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(sentence))


class Files(Directive):
    """The files and classes of one folder, which is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Put the table on the page."""
        return [nodes.raw("", files(self.arguments[0]), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("import-diagram", ImportDiagram)
    app.add_directive("files", Files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.stdout.write(words() + "\n")
