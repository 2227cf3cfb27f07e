"""Sphinx extension: long names in the text may be broken after a dot, a slash, an underscore."""

import re

from docutils.nodes import Text, literal
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

_BEFORE_A_BREAK = re.compile(r"([/._:(=-])(?=\w)")


class Translator(HTML5Translator):
    """The one of Sphinx, with break opportunities in literals."""

    def visit_Text(self, node: Text) -> None:  # noqa: N802
        """Write a text; in a literal with break opportunities."""
        start = len(self.body)
        super().visit_Text(node)
        if isinstance(node.parent, literal):
            self.body[start:] = [re.sub(r">[^<]+<", _with_breaks, part) for part in self.body[start:]]


def _with_breaks(text: re.Match[str]) -> str:
    return _BEFORE_A_BREAK.sub(r"\1<wbr>", text[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the translator; the theme adds its own to it."""
    app.set_translator("html", Translator)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
