"""run.py and tools: which command runs, in which environment, with which arguments."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

import run

ROOT = Path(run.__file__).parent


def _tool(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def called(monkeypatch):
    """The commands that run.py calls, without their interpreter; no environment is created."""
    commands = []
    monkeypatch.setattr(run, "call", lambda command: commands.append(command[1:]) or 0)
    monkeypatch.setattr(run, "ensure_environment", lambda captum, tools: f"python of captum {captum}")
    return commands


def test_the_tests_are_the_quick_ones_unless_all_are_asked_for(called, capsys):
    assert run.main(["test", "tests/solve", "-k", "fit", "-x"]) == 0
    quick = ["-m", "pytest", "-m", "not slow and not browser"]
    assert called.pop() == [*quick, "tests/solve", "-k", "fit", "-x"]
    assert "run.py test --all" in capsys.readouterr().out
    run.main(["test"])
    command = called.pop()
    assert command[: len(quick)] == quick
    assert "--numprocesses" in command  # several processes, where nothing else is asked of pytest
    run.main(["test", "-k", "fit", "--all", "tests"])
    command = called.pop()
    assert command[:2] == ["-m", "pytest"]
    assert command[-3:] == ["-k", "fit", "tests"]
    assert "not slow and not browser" not in command


def test_options_of_run_are_taken_wherever_they_stand(monkeypatch):
    seen = []
    monkeypatch.setitem(run.TASKS, "test", lambda *given: seen.append(given) or 0)
    monkeypatch.setattr(run, "ensure_environment", lambda captum, tools: f"python of captum {captum}")
    run.main(["test", "-k", "fit", "--captum", "0.8", "--all"])
    run.main(["test", "--current-env", "tests", "--help"])
    assert seen == [("python of captum 0.8", ["-k", "fit", "--all"]), (sys.executable, ["tests", "--help"])]


def test_without_a_task_the_tasks_are_listed(called, capsys):
    assert run.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in run.TASKS)
    assert called == []
    with pytest.raises(SystemExit):
        run.main(["tset"])


def test_another_torch_or_captum_replaces_the_pinned_one(monkeypatch):
    monkeypatch.delenv("STG_TORCH", raising=False)
    pinned = (ROOT / "constraints.txt").read_text()
    assert run.constraints() == pinned
    monkeypatch.setenv("STG_TORCH", "2.6.0")
    lines = run.constraints("0.8").splitlines()
    assert [line for line in lines if line.startswith(("torch", "captum"))] == [
        "torch==2.6.0",
        "captum==0.8.*",
    ]
    assert run.fingerprint(run.constraints()) != run.fingerprint(pinned)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """What pip installs, in order, as lists of arguments; nothing is created but folders and stamps."""
    calls = []
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(run.venv, "create", lambda home, with_pip: home.mkdir())
    monkeypatch.setattr(run, "install", lambda interpreter, *packages: calls.append(packages))
    monkeypatch.setattr(run, "call", lambda command: 0)
    return calls


def test_the_demo_installs_what_it_needs_and_other_tasks_the_rest(installed):
    run.main(["demo"])
    demo = [packages[-1] for packages in installed]
    assert demo == ["torch", f"{ROOT}[demo]"]
    assert not any("--group" in packages for packages in installed)
    run.main(["demo"])
    assert len(installed) == 2
    run.main(["test"])
    rest = installed[2:]
    assert rest == [("pip>=25.1",), ("-e", f"{ROOT}[{run.EXTRAS}]", "--group", "dev")]
    run.main(["check"])
    run.main(["demo"])
    assert len(installed) == 4


def test_of_torch_only_its_own_test_programs_are_deleted(tmp_path):
    torch = tmp_path / "lib" / "python3.11" / "site-packages" / "torch"
    kept = [torch / "testing" / "__init__.py", torch / "bin" / "torch_shm_manager"]
    gone = [torch / "test" / "List_test", torch / "bin" / "test_api"]
    for file in (*kept, *gone):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    run.remove_test_programs(tmp_path)
    assert all(file.exists() for file in kept)
    assert not any(file.exists() for file in gone)
    run.remove_test_programs(tmp_path / "without torch")


def test_an_environment_of_other_pins_is_made_again(installed, monkeypatch):
    run.main(["test", "--captum", "0.8"])
    assert installed[-1] == ("--group", "test")
    run.main(["check"])
    assert len(installed) == 8  # the environment of that Captum is another one
    monkeypatch.setenv("STG_TORCH", "2.6.0")
    run.main(["demo"])
    assert [packages[-1] for packages in installed[8:]] == ["torch", f"{ROOT}[demo]"]


def test_groups_and_extras_that_run_installs_are_declared():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = re.findall(r'"--group", "(\w+)"', Path(run.__file__).read_text())
    assert set(asked) == set(project["dependency-groups"]) - {"lint"}
    assert set(run.EXTRAS.split(",")) <= set(project["project"]["optional-dependencies"])


def test_continuous_integration_runs_every_test():
    tasks = re.findall(r"run\.py (.+)", (ROOT / ".ci" / "run").read_text())
    assert tasks == ["check", "test --all", "test-browser", "docs"]
    assert "run: .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_mutations_are_sampled_in_order_and_read_from_what_mutmut_wrote(tmp_path):
    mutate = _tool("mutate")
    names = [f"change {i}" for i in range(20)]
    some = mutate.sampled(names, 5, seed=1)
    assert len(some) == 5
    assert sorted(some, key=names.index) == some
    assert some != mutate.sampled(names, 5, seed=2)
    assert mutate.sampled(names, 0, 0) == mutate.sampled(names, 99, 0) == names
    results = tmp_path / "fit.py.meta"
    results.write_text(json.dumps({"exit_code_by_key": {"failed": 1, "survived": 0, "untried": None}}))
    assert mutate.noticed(results) == {"failed": True, "survived": False, "untried": False}
    assert {"gates", "objective", "solve"} <= set(mutate.folders())
