"""Sphinx extension: formulas as MathML, which browsers draw by themselves; nothing is fetched."""

from docutils.nodes import Element, SkipNode
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def _inline(translator: HTML5Translator, node: Element) -> None:
    translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise SkipNode


def _block(translator: HTML5Translator, node: Element) -> None:
    translator.body.append(f'<div class="math">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
