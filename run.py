"""Every task of the project by one command: `python run.py demo`, `test`, `check`, `bench`, `docs`, ...

Needs nothing but Python: the first run makes a virtual environment in `.venv` with pip and installs the
project into it, from `pyproject.toml` and `constraints.txt`; later runs reuse it until one of them changes.

  STG_TORCH=2.6.0          another torch release than the one in constraints.txt
  test --captum 0.8        the tests with another captum release, in an environment of its own
  --current-env            use this interpreter's environment as it is (for a CUDA build of torch, say)
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
MUTATED = ROOT / ".mutation"


def python(venv_: Path = VENV) -> str:
    """The interpreter of an environment."""
    return str(venv_ / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def constraints() -> str:
    """The pinned packages, with the torch release that STG_TORCH asks for."""
    text, wanted = (ROOT / "constraints.txt").read_text(), os.environ.get("STG_TORCH")
    return re.sub(r"(?m)^torch==.*$", f"torch=={wanted}", text) if wanted else text


def fingerprint(pins: str) -> str:
    """Changes whenever the environment has to be made anew."""
    parts = ((ROOT / "pyproject.toml").read_text(), pins, sys.version, str(ROOT))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ensure_environment(captum: str | None = None) -> str:
    """Make the environment if it is missing or stale; return its interpreter.

    Args:
        captum: a release of captum to have instead of the newest, in an environment of its own.
    """
    home = VENV if captum is None else VENV.with_name(f"{VENV.name}-captum-{captum}")
    pins = constraints() + (f"captum=={captum}.*\n" if captum else "")
    stamp = home / "installed"
    if stamp.is_file() and stamp.read_text() == fingerprint(pins):
        return python(home)
    print(f"Setting up {home.name} (once; a minute or two)", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    (home / "constraints.txt").write_text(pins)
    pip = [python(home), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["-c", str(home / "constraints.txt")]
    # torch first and alone, so that no other package chooses its build
    subprocess.run([*pip, "torch"], check=True)
    # the dev extra asks for a captum with models for tests: its other packages one by one
    wanted = [f"{ROOT}[dev]"] if captum is None else [f"{ROOT}[demo]", *development_packages()]
    subprocess.run([*pip, "-e", *wanted], check=True)
    stamp.write_text(fingerprint(pins))
    return python(home)


def development_packages() -> list[str]:
    """What the dev extra asks for beyond the project itself and captum."""
    block = re.search(r"(?ms)^dev = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text())
    assert block is not None
    return [
        name for name in re.findall(r'(?m)^\s*"([^"]+)"', block[1]) if not name.startswith(("stg", "captum"))
    ]


def call(command: Sequence[str]) -> int:
    """Run a command in the project's folder; its exit code."""
    print("+", " ".join(command[2:] if command[1:2] == ["-m"] else command), flush=True)
    return subprocess.run(command, cwd=ROOT).returncode


def demo(interpreter: str, arguments: list[str]) -> int:
    """Explain real predictions, print the evidence and save pictures."""
    return call([interpreter, "-m", "stg_attr", *arguments])


def test(interpreter: str, arguments: list[str]) -> int:
    """Run the test suite and the examples in the docstrings."""
    return call([interpreter, "-m", "pytest", *arguments])


def test_browser(interpreter: str, arguments: list[str]) -> int:
    """Run the tests of the widgets in a real JupyterLab and Chromium; skipped without a Chromium."""
    pip = [interpreter, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "-e", f"{ROOT}[browser]"], check=True)
    return call([interpreter, "-m", "pytest", "-m", "browser", "tests/browser", *arguments])


def check(interpreter: str, arguments: list[str]) -> int:
    """Style, types and import layers."""
    importlinter = "from importlinter.cli import lint_imports_command as c; c()"
    commands = (
        [interpreter, "-m", "ruff", "format", "--check", "."],
        [interpreter, "-m", "ruff", "check", "."],
        [interpreter, "-m", "mypy"],
        [interpreter, "-c", importlinter],
    )
    return max(call(command) for command in commands)


def bench(interpreter: str, arguments: list[str]) -> int:
    """Run the benchmarks, all or by name; `--quick` for a short look."""
    return call([interpreter, "-m", "benchmarks", *arguments])


def gallery(interpreter: str, arguments: list[str]) -> int:
    """Draw the pictures of docs/gallery.md anew, from real data."""
    return call([interpreter, "docs/make_gallery.py", *arguments])


def mutate(interpreter: str, arguments: list[str]) -> int:
    """Change gates, objective or solve bit by bit, and count what the folder's tests notice.

    Further arguments are patterns of files in it. `--sample 60` tries so many changes of each file, drawn
    by chance, and `--seed 1` draws others. What was noticed stays so until `.mutation` is deleted.
    """
    arguments, sample = without_option(arguments, "--sample")
    arguments, seed = without_option(arguments, "--seed")
    if not arguments or not (ROOT / "tests" / arguments[0]).is_dir():
        print("usage: python run.py mutate FOLDER [FILE.py ...] [--sample N] [--seed N]")
        return 2
    folder, files = arguments[0], arguments[1:] or ["*.py"]
    home = prepare_mutation(folder)
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "mutmut>=3.8"], check=True)
    run = [interpreter, "-m", "mutmut", "run", "--max-children", "1"]
    # no change has this name: mutmut writes them all, times the tests, and stops
    started = subprocess.run([*run, "none"], cwd=home, capture_output=True, text=True)
    results = home / "mutants" / "stg_attr" / folder
    paths = sorted({path for pattern in files for path in results.glob(f"{pattern}.meta")})
    chosen = {path: drawn(list(noticed(path)), sample, seed) for path in paths}
    if not any(chosen.values()):
        print(started.stdout, started.stderr)
        return 1
    left = [name for path, names in chosen.items() for name in names if not noticed(path)[name]]
    if left and (code := subprocess.run([*run, *left], cwd=home).returncode):
        return code
    found = {name: noticed(path)[name] for path, names in chosen.items() for name in names}
    print(f"Not noticed (`mutmut show NAME` in .mutation/{folder} shows the change):")
    print(*(f"  {name}" for name, was_noticed in found.items() if not was_noticed), sep="\n")
    for path, names in chosen.items():
        print(f"{path.stem}: {sum(found[name] for name in names)} of {len(names)} changes noticed")
    print(f"{folder}: {sum(found.values())} of {len(found)} ({sum(found.values()) / len(found):.1%})")
    return 0


def without_option(arguments: list[str], option: str) -> tuple[list[str], int]:
    """Arguments less an option and its number; the number, 0 where the option is not there."""
    if option not in arguments[:-1]:
        return arguments, 0
    place = arguments.index(option)
    return arguments[:place] + arguments[place + 2 :], int(arguments[place + 1])


def prepare_mutation(folder: str) -> Path:
    """Copy what mutmut works on, and tell it what to change and which tests to run; the place of the copy."""
    home = MUTATED / folder
    for name in ("stg_attr", "tests"):
        shutil.copytree(ROOT / name, home / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", home)
    lines = ["[mutmut]", "source_paths=stg_attr", f"only_mutate=stg_attr/{folder}/*.py"]
    lines += ["track_dependencies=false", "process_isolation=forkserver"]
    lines += [f"pytest_add_cli_args_test_selection=tests/{folder}"]
    # torch.fx and torch.compile cannot look through what mutmut wraps functions in
    lines += ["pytest_add_cli_args=-k\n    not fx and not compile"]
    (home / "setup.cfg").write_text("\n".join(lines) + "\n")
    return home


def noticed(results: Path) -> dict[str, bool]:
    """Whether tests failed, hung or crashed with each change of a file, as mutmut wrote it down."""
    passed = (None, 0, 2, 5, 33, 34, 35, 255)  # not tried, survived, stopped, no test, skipped, or unclear
    return {n: code not in passed for n, code in json.loads(results.read_text())["exit_code_by_key"].items()}


def drawn(names: list[str], size: int, seed: int) -> list[str]:
    """Some of the changes of a file, all where that is no more than the size, or where the size is 0."""
    some = random.Random(seed).sample(names, size) if 0 < size < len(names) else names
    return [name for name in names if name in set(some)]


def tutorials(interpreter: str, arguments: list[str]) -> int:
    """Run the tutorials, all or by name, and save them as notebooks with their outputs."""
    return call([interpreter, "docs/make_tutorials.py", *arguments])


def docs(interpreter: str, arguments: list[str]) -> int:
    """Build the documentation anew into docs/_build/html."""
    shutil.rmtree(ROOT / "docs" / "_build", ignore_errors=True)  # or pages link to what is gone
    pins = VENV / "constraints.txt"
    pip = [
        interpreter,
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        str(pins if pins.is_file() else ROOT / pins.name),
    ]
    subprocess.run([*pip, "-e", f"{ROOT}[docs]"], check=True)
    return call([interpreter, "-m", "sphinx", "-W", "-b", "html", "docs", "docs/_build/html", *arguments])


TASKS: dict[str, Callable[[str, list[str]], int]] = {
    task.__name__.replace("_", "-"): task
    for task in (demo, test, test_browser, check, bench, gallery, tutorials, mutate, docs)
}


def main(arguments: list[str]) -> int:
    """Run the task named first; the rest goes to it."""
    current = "--current-env" in arguments
    rest = [argument for argument in arguments if argument != "--current-env"]
    if not rest or rest[0] not in TASKS:
        lines = [f"  {name:12s} {(task.__doc__ or '').strip()}" for name, task in TASKS.items()]
        print("usage: python run.py TASK [--current-env] [arguments]", *lines, sep="\n")
        return 0 if rest in ([], ["--help"], ["-h"]) else 2
    captum = None
    if "--captum" in rest[1:-1]:
        place = rest.index("--captum")
        captum = rest[place + 1]
        del rest[place : place + 2]
    return TASKS[rest[0]](sys.executable if current else ensure_environment(captum), rest[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
