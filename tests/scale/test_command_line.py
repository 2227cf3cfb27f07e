"""The command line explains a data set, resumes, passes arguments on, and refuses wrong ones."""

import inspect
import math
import sys

import pytest
import torch

from stg_attr import StochasticGates
from stg_attr.scale import load_attributions
from stg_attr.scale.arguments import accepted_arguments
from stg_attr.scale.command_line import _parser, _value, main

from .conftest import small_net

MODULE = """
import torch
from torch import nn

def factory():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).eval()

mask = torch.tensor([[0, 0, 1, 1, 1]])
"""


@pytest.fixture
def command(tmp_path, parquet, monkeypatch):
    (tmp_path / "mymodel.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mymodel", None)
    columns = ",".join(f"x{i}" for i in range(5))
    quick = ["--batch-rows", "8", "--n-steps", "2", "--n-samples", "4", "--quiet"]
    return [
        "--model",
        "mymodel:factory",
        "--data",
        str(parquet),
        "--out",
        "out",
        "--columns",
        columns,
        *quick,
    ]


def test_it_explains_and_goes_on(command, explain, rows, tmp_path, capsys, table_of):
    assert main(command) == 0
    assert "out: 70 rows explained, 0 already there" in capsys.readouterr().out
    assert table_of(tmp_path / "out").equals(table_of(explain(small_net, rows, "here")))
    assert main(command) == 0
    assert "out: 0 rows explained, 70 already there" in capsys.readouterr().out


def test_arguments_arrive(command, explain, rows, tmp_path, table_of):
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    more = ["--target", "2", "--baselines", "-0.5", "--feature-mask", "mymodel:mask", "--seed", "4"]
    assert main([*command, *more]) == 0
    here = explain(small_net, rows, "here", target=2, baselines=-0.5, feature_mask=mask, seed=4)
    assert table_of(tmp_path / "out").equals(table_of(here))


def test_every_argument_of_explain_is_an_option(command, tmp_path, capsys):
    for name in accepted_arguments():
        given = getattr(_parser().parse_args(command), name)
        assert (given is None) == (name not in ("n_steps", "n_samples"))
    assert main([*command, "--max-evals", "64", "--n-restarts", "2"]) == 0
    assert main([*command, "--layer-baselines", "0", "--overwrite"]) == 2  # not an argument here
    assert "layer_baselines" in capsys.readouterr().err


def test_a_new_argument_of_explain_needs_no_change(command, monkeypatch):
    plain, received = StochasticGates.explain, []

    def explain(self, *args, novelty=0, **kwargs):
        received.append(novelty)
        return plain(self, *args, **kwargs)

    novelty = inspect.Parameter("novelty", inspect.Parameter.KEYWORD_ONLY, default=0)
    signature = inspect.signature(plain)
    explain.__signature__ = signature.replace(parameters=[*signature.parameters.values(), novelty])
    monkeypatch.setattr(StochasticGates, "explain", explain)
    assert main([*command, "--novelty", "3"]) == 0
    assert set(received) == {3}


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("-0.5", -0.5), ("1e-3", 1e-3), (True, True)])
def test_numbers_and_names_are_told_apart(text, value):
    assert _value("--baselines", text) == value
    assert type(_value("--baselines", text)) is type(value)
    assert _value("--baselines", "math:pi") is math.pi


def test_columns_name_ids_and_targets(command, tmp_path):
    assert main([*command, "--id-column", "key", "--target-column", "wanted"]) == 0
    found = load_attributions(tmp_path / "out")
    assert found.ids[0] == "row 69"
    assert found.target.flatten().tolist() == [i % 3 for i in range(70)]


def test_refusals_are_one_line(command, capsys):
    assert main(command) == 0
    assert main([*command, "--seed", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: output: ")
    assert "seed is 1" in error
    assert error.count("\n") == 1
    assert main([*command, "--seed", "1", "--overwrite"]) == 0
    assert main([*command[:1], "mymodel:nothing", *command[2:]]) == 2
    assert "--model: expected package.module:name" in capsys.readouterr().err


def test_failed_rows_are_told_by_the_exit_code(command, tmp_path, capsys):
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "in.parquet")
    x0 = table["x0"].to_pylist()
    x0[3] = None
    pq.write_table(table.set_column(0, "x0", [x0]), tmp_path / "in.parquet")
    assert main(command) == 1
    assert "failed 1 times: input 0: expected finite numbers" in capsys.readouterr().out


@pytest.mark.slow
def test_python_m_runs_it(command, tmp_path, python):
    run = python("-m", "stg_attr", "dataset", *command[:-1])
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "70 rows explained" in out
    assert "70/70" in err  # the progress bar
    assert len(load_attributions(tmp_path / "out")) == 70
