"""Every task of the project by one command: `python run.py demo`, `test`, `check`, `bench`, `docs`, ...

Needs nothing but Python: the first run makes a virtual environment in `.venv` with pip and installs the
project into it, from `pyproject.toml` and `constraints.txt`; later runs reuse it until one of them changes.

  STG_TORCH=2.6.0          another torch release than the one in constraints.txt
  --current-env            use this interpreter's environment as it is (for a CUDA build of torch, say)
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed"


def python() -> str:
    """The interpreter of the project's environment."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def constraints() -> str:
    """The pinned packages, with the torch release that STG_TORCH asks for."""
    text, wanted = (ROOT / "constraints.txt").read_text(), os.environ.get("STG_TORCH")
    return re.sub(r"(?m)^torch==.*$", f"torch=={wanted}", text) if wanted else text


def fingerprint() -> str:
    """Changes whenever the environment has to be made anew."""
    parts = ((ROOT / "pyproject.toml").read_text(), constraints(), sys.version, str(ROOT))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ensure_environment() -> str:
    """Make the environment if it is missing or stale; return its interpreter."""
    if STAMP.is_file() and STAMP.read_text() == fingerprint():
        return python()
    print(f"Setting up {VENV.name} (once; a minute or two)", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True)
    pins = VENV / "constraints.txt"
    pins.write_text(constraints())
    pip = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(pins)]
    # torch first and alone, so that no other package chooses its build
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, "-e", f"{ROOT}[dev]"], check=True)
    STAMP.write_text(fingerprint())
    return python()


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


def docs(interpreter: str, arguments: list[str]) -> int:
    """Build the documentation into docs/_build."""
    pip = [interpreter, "-m", "pip", "install", "--quiet", "-c", str(VENV / "constraints.txt")]
    subprocess.run([*pip, "-e", f"{ROOT}[docs]"], check=True)
    return call([interpreter, "-m", "sphinx", "-W", "-b", "html", "docs", "docs/_build", *arguments])


TASKS: dict[str, Callable[[str, list[str]], int]] = {
    task.__name__.replace("_", "-"): task for task in (demo, test, test_browser, check, bench, gallery, docs)
}


def main(arguments: list[str]) -> int:
    """Run the task named first; the rest goes to it."""
    current = "--current-env" in arguments
    rest = [argument for argument in arguments if argument != "--current-env"]
    if not rest or rest[0] not in TASKS:
        lines = [f"  {name:12s} {(task.__doc__ or '').strip()}" for name, task in TASKS.items()]
        print("usage: python run.py TASK [--current-env] [arguments]", *lines, sep="\n")
        return 0 if rest in ([], ["--help"], ["-h"]) else 2
    return TASKS[rest[0]](sys.executable if current else ensure_environment(), rest[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
