"""Run the project's tasks: `python run.py demo`, `test`, `check`, `bench`, `docs` and more.

Only Python is needed. The first run creates a virtual environment in `.venv`, and installs the project there
with pip. The demo gets only what it needs; the first other task adds the development tools. Later runs use
the environment again, until `pyproject.toml` or `constraints.txt` changes.

  --current-env            use the environment of this Python as it is, for example with a CUDA build of torch
  STG_TORCH=2.6.0          set this variable to install another release of torch than constraints.txt has
  test --all               run every test; without it, only the quick ones (about two minutes)
  test --captum 0.8        run the tests with another release of Captum, in an environment of its own
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
EXTRAS = "demo,ray,text,widgets"  # all that the tests use


# ---- the environment ----------------------------------------------------------------------------


def python(home: Path) -> str:
    """The interpreter of a virtual environment."""
    return str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def constraints(captum: str | None = None) -> str:
    """The pinned releases: constraints.txt, with STG_TORCH's torch and with a release of Captum, if asked."""
    lines, torch = (ROOT / "constraints.txt").read_text().splitlines(), os.environ.get("STG_TORCH")
    if torch:
        lines = [f"torch=={torch}" if line.startswith("torch==") else line for line in lines]
    if captum:
        lines.append(f"captum=={captum}.*")
    return "\n".join(lines) + "\n"


def fingerprint(pins: str) -> str:
    """A text that changes when the environment must be created again."""
    parts = ((ROOT / "pyproject.toml").read_text(), pins, sys.version, str(ROOT))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def install(interpreter: str, *packages: str) -> None:
    """Install packages, with the pinned releases of the environment if it is one of ours."""
    pins = Path(interpreter).parents[1] / "constraints.txt"
    pinned = ["-c", str(pins)] if pins.is_file() else []
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *pinned, *packages], cwd=ROOT, check=True)


def ensure_environment(captum: str | None = None, tools: bool = True) -> str:
    """Create the environment if it is missing or out of date, add what is missing; return its interpreter.

    Args:
        captum: a release of Captum, for an environment of its own; by default the newest.
        tools: install the development tools, too; the demo runs without them.
    """
    home = VENV if captum is None else VENV.with_name(f"{VENV.name}-captum-{captum}")
    pins, interpreter = constraints(captum), python(home)
    if not is_installed(home, "demo", pins):
        print(f"Setting up {home.name} (once; about a minute)", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        (home / "constraints.txt").write_text(pins)
        # --no-compile: Python compiles what it imports, which is a small part of torch. torch comes first and
        # alone, so that no other package chooses its build.
        install(interpreter, "--no-compile", "torch")
        remove_test_programs(home)
        install(interpreter, "--no-compile", "-e", f"{ROOT}[demo]")
        stamp(home, "demo").write_text(fingerprint(pins))
    if tools and not is_installed(home, "tools", pins):
        print(f"Adding the development tools to {home.name} (once; a few minutes)", flush=True)
        install(interpreter, "pip>=25.1")  # the first release that reads dependency groups
        if captum is None:
            install(interpreter, "-e", f"{ROOT}[{EXTRAS}]", "--group", "dev")
        else:  # the group dev asks for a newer Captum
            install(interpreter, "--group", "test")
        if sys.dont_write_bytecode:
            compile_torch(home)
        stamp(home, "tools").write_text(fingerprint(pins))
    return interpreter


def compile_torch(home: Path) -> None:
    """Compile torch's modules, which were installed as they are.

    Python does so when they are imported. With PYTHONDONTWRITEBYTECODE each process does so again, which
    takes seconds; the tests start many processes.
    """
    for torch in home.glob("lib/python*/site-packages/torch"):
        # errors are ignored: some modules are written for a newer Python
        command = [python(home), "-m", "compileall", "-q", "-j", "0", str(torch)]
        subprocess.run(command, stdout=subprocess.DEVNULL)


def remove_test_programs(home: Path) -> None:
    """Delete the compiled tests of torch itself: about 120 MB of its wheel for Linux, which nothing uses."""
    for torch in home.glob("lib/python*/site-packages/torch"):
        shutil.rmtree(torch / "test", ignore_errors=True)
        for program in (torch / "bin").glob("test_*"):
            program.unlink()


def stamp(home: Path, part: str) -> Path:
    """The file that says for which fingerprint a part of the environment, demo or tools, was installed."""
    return home / f"installed-{part}"


def is_installed(home: Path, part: str, pins: str) -> bool:
    """Whether a part of the environment is there and up to date."""
    written = stamp(home, part)
    return written.is_file() and written.read_text() == fingerprint(pins)


# ---- the tasks ----------------------------------------------------------------------------------


def call(command: Sequence[str]) -> int:
    """Run a command in the project's folder; its exit code."""
    print("+", shlex.join(command[2:] if command[1:2] == ["-m"] else command), flush=True)
    return subprocess.run(command, cwd=ROOT).returncode


def demo(interpreter: str, arguments: list[str]) -> int:
    """Explain real predictions, print the evidence and save pictures."""
    return call([interpreter, "-m", "stg_attr", *arguments])


def test(interpreter: str, arguments: list[str]) -> int:
    """Run the quick tests, or with --all every test; other arguments go to pytest."""
    # up to four processes; tests of one file stay together, since they share models
    several = ("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile")
    if "--all" in arguments:
        return call([interpreter, "-m", "pytest", *several, *(a for a in arguments if a != "--all")])
    print("These are the quick tests; `python run.py test --all` runs every test.", flush=True)
    # a choice of tests starts sooner in one process, and options like --pdb need one
    parts = () if arguments else several
    return call([interpreter, "-m", "pytest", "-m", "not slow and not browser", *parts, *arguments])


def test_browser(interpreter: str, arguments: list[str]) -> int:
    """Test the widgets in JupyterLab and Chromium; these tests are skipped without a Chromium."""
    install(interpreter, "--group", "browser")
    return call([interpreter, "-m", "pytest", "-m", "browser", "tests/browser", *arguments])


def check(interpreter: str, arguments: list[str]) -> int:
    """Check format, style, types and imports between folders."""
    importlinter = "from importlinter.cli import lint_imports_command as c; c()"
    commands = (
        [interpreter, "-m", "ruff", "format", "--check", "."],
        [interpreter, "-m", "ruff", "check", "."],
        [interpreter, "-m", "mypy"],
        [interpreter, "-c", importlinter],
    )
    return max(call(command) for command in commands)


def bench(interpreter: str, arguments: list[str]) -> int:
    """Run the benchmarks, all or by name; --quick runs a short version."""
    return call([interpreter, "-m", "benchmarks", *arguments])


def gallery(interpreter: str, arguments: list[str]) -> int:
    """Draw the pictures of docs/gallery.md again, from real data."""
    return call([interpreter, "docs/make_gallery.py", *arguments])


def tutorials(interpreter: str, arguments: list[str]) -> int:
    """Run the tutorials, all or by name, and save them as notebooks with their outputs."""
    return call([interpreter, "docs/make_tutorials.py", *arguments])


def mutate(interpreter: str, arguments: list[str]) -> int:
    """Run mutation tests of one folder; see tools/mutate.py."""
    install(interpreter, "--group", "mutation")
    return call([interpreter, "tools/mutate.py", *arguments])


def measure(interpreter: str, arguments: list[str]) -> int:
    """Measure again the figures that tests compare with, in tests/measured.py."""
    return call([interpreter, "tools/measure.py", *arguments])


def docs(interpreter: str, arguments: list[str]) -> int:
    """Build the documentation into docs/_build/html."""
    install(interpreter, "--group", "docs")
    shutil.rmtree(ROOT / "docs" / "_build", ignore_errors=True)  # pages that are left there hide broken links
    return call([interpreter, "-m", "sphinx", "-W", "-b", "html", "docs", "docs/_build/html", *arguments])


TASKS: dict[str, Callable[[str, list[str]], int]] = {
    task.__name__.replace("_", "-"): task
    for task in (demo, test, test_browser, check, bench, gallery, tutorials, mutate, measure, docs)
}


def parser() -> argparse.ArgumentParser:
    """The command line; what it does not know goes to the task."""
    made = argparse.ArgumentParser(
        prog="python run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = made.add_subparsers(dest="task", metavar="TASK")
    for name, task in TASKS.items():
        own = tasks.add_parser(name, help=task.__doc__, add_help=False, allow_abbrev=False)
        own.add_argument("--current-env", action="store_true")
        own.add_argument("--captum", metavar="RELEASE")
    return made


def main(arguments: list[str]) -> int:
    """Run the task that is named first; its exit code."""
    command_line = parser()
    asked, rest = command_line.parse_known_args(arguments)
    if asked.task is None:
        command_line.print_help()
        return 0
    tools = asked.task != "demo"
    interpreter = sys.executable if asked.current_env else ensure_environment(asked.captum, tools)
    return TASKS[asked.task](interpreter, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
