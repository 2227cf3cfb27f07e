"""Sphinx extension: formulas as MathML, which browsers draw by themselves; nothing is fetched."""

from docutils.nodes import Element, SkipNode
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)


def _inline(translator: HTML5Translator, node: Element) -> None:
    translator.body.append(_mathml(node, as_block=False))
    raise SkipNode


def _block(translator: HTML5Translator, node: Element) -> None:
    translator.body.append(f'<div class="formula">{_mathml(node, as_block=True)}</div>')
    raise SkipNode


def _mathml(node: Element, as_block: bool) -> str:
    try:
        formula = str(latex2mathml.tex2mathml(node.astext(), as_block=False))
        return formula.replace("<math ", '<math display="block" ', 1) if as_block else formula
    except MathError as error:
        LOGGER.warning(f"formula {node.astext()!r}: {error}", location=node)
        return ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
