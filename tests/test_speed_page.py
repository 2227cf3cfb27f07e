"""The code of the page on speed runs, and its asserts hold."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "speed.md").read_text(encoding="utf-8")


def test_the_code_runs_as_written():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})
