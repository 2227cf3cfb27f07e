"""The README: its snippet runs as written, and its figures are those of the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import run
from stg_attr import StochasticGates, viz

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_the_snippet_of_the_readme_explains_the_model_it_makes(capsys):
    snippet, _ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(snippet, names)
    attributions, inputs = names["attributions"], names["inputs"]
    assert attributions.shape == inputs.shape
    assert bool(((attributions >= 0) & (attributions <= 1)).all())
    needed = [[0, 1], [2]]
    assert [row.nonzero().flatten().tolist() for row in attributions > 0.5] == needed
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"```\n(Explanation.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for part in shown.replace("\n", "...").split("..."):
        assert part in printed


def test_the_snippet_for_tables_draws_names_and_cells():
    _, snippet = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    terms = ["monthly", "yearly"] * 60
    frame = pd.DataFrame({"calls": range(120), "contract": terms})
    prepare = make_column_transformer((OneHotEncoder(), ["contract"]), remainder="passthrough")
    pipeline = make_pipeline(prepare, LogisticRegression()).fit(frame, [term == "monthly" for term in terms])
    names = {"StochasticGates": StochasticGates, "viz": viz, "pipeline": pipeline, "frame": frame}
    exec(snippet.replace("viz.bars(", "picture = viz.bars("), names)
    labels = [label.get_text() for label in names["picture"].ax.get_yticklabels()]
    assert sorted(labels) == ["calls = 0", "contract = monthly"]


def test_every_figure_of_the_evidence_stands_in_the_benchmarks():
    evidence = README.read_text(encoding="utf-8").split("## Evidence")[1].split("## ")[0]
    rows = [line for line in evidence.splitlines() if re.match(r"\|.*\d", line)]
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").splitlines()
    assert rows
    assert [row for row in rows if row not in measured] == []


def test_every_command_of_the_readme_is_there():
    commands = re.findall(r"python run\.py (\S+)", README.read_text(encoding="utf-8").replace("`", " "))
    assert set(commands) <= set(run.TASKS)


def test_every_task_is_in_contributing_and_in_the_makefile():
    contributing, makefile = ((ROOT / name).read_text() for name in ("CONTRIBUTING.md", "Makefile"))
    assert set(re.findall(r"python run\.py ([\w-]+)", contributing)) == set(run.TASKS)
    assert set(makefile.split(".PHONY: ")[1].splitlines()[0].split()) == set(run.TASKS)
