"""The commands `report` and `diff` write pages from folders, and refuse what they cannot use."""

import json
import subprocess
import sys

import pytest

from stg_attr.report.command_line import diff_main, main

from .conftest import NAMES

MODULE = """
import torch
from tests.report.conftest import Scores, table
from stg_attr import OutputMatch, Preserve, StochasticGates

def factory():
    return StochasticGates(Scores(), objective=Preserve(OutputMatch()))

references = torch.tensor(table(128, 2).to_numpy())
fresh = torch.tensor(table(200, 3).to_numpy())
names = ["income", "debt", "<script>alert(1)</script>", "age"]
"""


@pytest.fixture
def home(tmp_path, monkeypatch, frame):
    (tmp_path / "credit_model.py").write_text(MODULE)
    frame.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("credit_model", None)
    return tmp_path


def test_a_report_from_the_folder_alone(home, run, capsys):
    assert main([str(run), "--out", "out", "--date", "2026-01-01"]) == 0
    said = capsys.readouterr().out
    assert "Not measured: coverage on fresh references" in said
    assert "report.html" in said
    assert json.loads((home / "out" / "report.json").read_text())["date"] == "2026-01-01"


def test_a_report_with_the_model_and_the_data(home, run, capsys, made):
    given = [
        "--data",
        "rows.parquet",
        "--columns",
        ",".join(NAMES),
        "--labels",
        "label",
        "--cohorts",
        "town,age",
    ]
    live = ["--model", "credit_model:factory", "--fresh", "credit_model:fresh", "--n-steps", "8"]
    shown = ["--baselines", "credit_model:references", "--feature-names", "credit_model:names"]
    assert main([str(run), "--out", "out", *given, *live, *shown, "--model-name", "Credit"]) == 0
    content = json.loads((home / "out" / "report.json").read_text())
    for name in ("coverage", "stability", "shared", "contributions"):
        assert content[name]["measured"]
    assert content["sets"] == made.content["sets"]
    assert diff_main(["out", "out", "--out", "change"]) == 0
    assert "0 (0 %) have another set" in capsys.readouterr().out
    assert (home / "change" / "report.html").exists()


def test_what_cannot_be_used_is_said(home, run, capsys):
    assert main([str(home / "nothing"), "--out", "out"]) == 2
    assert "manifest" in capsys.readouterr().err
    assert main([str(run), "--out", "out", "--model", "nothing:here"]) == 2
    assert "--model" in capsys.readouterr().err
    assert diff_main(["nothing", "nothing"]) == 2
    assert "Report.save" in capsys.readouterr().err


@pytest.mark.slow
def test_python_knows_the_commands():
    for command in ("report", "diff"):
        found = subprocess.run(
            [sys.executable, "-m", "stg_attr", command, "--help"], capture_output=True, text=True, check=True
        )
        assert f"python -m stg_attr {command}" in found.stdout
