"""Sphinx extension: formulas as MathML, which browsers draw by themselves; nothing is fetched."""

from docutils.nodes import Element, SkipNode
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)


def _inline(translator: HTML5Translator, node: Element) -> None:
    translator.body.append(_mathml(node, node.astext()))
    raise SkipNode


def _block(translator: HTML5Translator, node: Element) -> None:
    """Formulas with a wide space between them stand side by side, or in a column on narrow screens."""
    parts = [_mathml(node, part) for part in node.astext().split(r"\qquad")]
    formulas = "".join(part.replace("<math ", '<math display="block" ', 1) for part in parts)
    translator.body.append(f'<div class="formula" tabindex="0">{formulas}</div>')
    raise SkipNode


def _mathml(node: Element, formula: str) -> str:
    try:
        return str(latex2mathml.tex2mathml(formula, as_block=False))
    except MathError as error:
        LOGGER.warning(f"formula {formula!r}: {error}", location=node)
        return ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
