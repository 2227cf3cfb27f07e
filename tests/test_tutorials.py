"""Every tutorial runs as a script, with the asserts for what it claims."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_keeps_its_claims(path, capsys):
    try:
        with torch.random.fork_rng():
            runpy.run_path(str(path))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("stg_attr"):
            raise
        pytest.skip(str(error))
    assert "Explanation of" in capsys.readouterr().out


def test_there_are_tutorials_to_run():
    assert TUTORIALS
