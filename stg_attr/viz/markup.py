"""HTML: one jinja2 environment, which escapes every value that a template is given."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

__all__ = ["as_json", "render"]

# A name that a template asks for and is not given raises an error; by default jinja2 would write nothing.
_TEMPLATES = Environment(
    loader=PackageLoader("stg_attr", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Class names that stop MathJax, which notebooks run, from reading dollar signs as formulas.
_TEMPLATES.globals["no_formulas"] = "mathjax_ignore tex2jax_ignore"


def render(template: str, **values: object) -> str:
    """HTML from a template and its values, which are escaped unless the template marks them as `safe`.

    Args:
        template: path of the template inside the package.
        values: by the names that the template uses.

    Example:
        >>> render("viz/templates/image.html", alt='"><b>', data="", dark="")
        '<img alt="&#34;&gt;&lt;b&gt;" style="max-width: 100%" src="data:image/png;base64,">'
    """
    return _TEMPLATES.get_template(template).render(**values)


def as_json(value: object) -> str:
    r"""JSON that can stand in a script element: no text in it can end the element.

    Example:
        >>> as_json("</script>")
        '"\\u003c/script\\u003e"'
    """
    # `str` because jinja2 returns a subclass whose `+` and `join` escape the other text
    return str(htmlsafe_json_dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
