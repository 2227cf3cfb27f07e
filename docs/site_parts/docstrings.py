"""Sphinx extension: docstrings as written here: indented paragraphs are formulas, one line a sentence."""

from __future__ import annotations

from sphinx.application import Sphinx


def _formulas(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """An indented paragraph under plain text becomes a literal block."""
    last, found = "", []
    for i, line in enumerate(lines):
        indented = line.startswith("    ") and i > 0 and not lines[i - 1].strip()
        if indented and last and not last.startswith(" ") and not last.endswith(":"):
            found += ["::", ""]
        found.append(line)
        last = line if line.strip() else last
    lines[:] = found


def _sentences(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Napoleon takes what stands before the colon of a property's first line for its type; put it back."""
    if what not in ("property", "attribute"):
        return
    for i, line in enumerate(lines):
        if line.startswith(":type: "):
            lines[:] = [f"{line[7:]}: {lines[0]}", *lines[1:i], *lines[i + 1 :]]
            return


def setup(app: Sphinx) -> dict[str, bool]:
    """Before and after Napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", _formulas, priority=400)
    app.connect("autodoc-process-docstring", _sentences, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
