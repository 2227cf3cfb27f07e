"""The README's snippet runs as written."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_snippet_of_the_readme_explains_the_model_it_makes(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    names: dict[str, object] = {}
    exec(snippet, names)
    attributions, inputs = names["attributions"], names["inputs"]
    assert attributions.shape == inputs.shape
    assert bool(((attributions >= 0) & (attributions <= 1)).all())
    assert capsys.readouterr().out.startswith("Explanation of 4 examples")
