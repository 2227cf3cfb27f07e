"""Templates escape what they are given, and mark as HTML only what stg_attr itself has written."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import stg_attr
from stg_attr.viz.markup import as_json, render

FOLDER = Path(stg_attr.__file__).parent
TEMPLATES = sorted(FOLDER.glob("*/templates/*.html"))
HTML_ALREADY = {"body", "page", "payload", "picture", "script", "style"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_only_html_of_our_own_is_not_escaped(template):
    text = template.read_text(encoding="utf-8")
    assert set(re.findall(r"{{ *(\w+) *\| *safe *}}", text)) <= HTML_ALREADY
    text = text.replace("style-src 'unsafe-inline'", "")  # a rule for browsers, not a filter
    assert text.count("safe") == len(re.findall(r"\| safe }}", text))
    assert "autoescape" not in text


def test_there_are_templates():
    assert len(TEMPLATES) >= 10


def test_values_are_escaped():
    assert "<b>" not in render("viz/templates/image.html", alt='"><b>', data="", dark="")


def test_values_are_no_templates():
    assert "{{ 7 * 7 }}" in render("viz/templates/image.html", alt="{{ 7 * 7 }}", data="", dark="")


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="'data' is undefined"):
        render("viz/templates/image.html", alt="", dark="")


def test_json_cannot_end_its_script():
    assert "<" not in as_json(["</script>", "<!--"])
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("nan"))
