"""Every row of the compatibility page names a test that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.endswith("| test |") and "---" not in line
]


def functions(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_has_rows_and_is_in_the_contents():
    assert len(ROWS) > 40
    assert "\ncompatibility\n" in (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


@pytest.mark.quick_cases
@pytest.mark.parametrize("row", ROWS)
def test_the_test_of_a_row_exists(row):
    found = re.fullmatch(r"\| .+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|", row)
    assert found, f"a row names one test, as `path::name`: {row}"
    path, name = found.groups()
    assert name in functions(path)
