"""Mutation tests: change one folder of the package in many small ways, and count what its tests notice.

    python run.py mutate solve
    python run.py mutate solve solver.py shift.py --sample 60 --seed 1

mutmut makes the changes in a copy of the package, in `.mutation/FOLDER`, and runs `tests/FOLDER` for each.
Its results stay there until the folder is deleted, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTATED = ROOT / ".mutation"
# mutmut's exit codes that do not mean "noticed": not tried, survived, stopped, no test, skipped, unclear
NOT_NOTICED = (None, 0, 2, 5, 33, 34, 35, 255)


def folders() -> list[str]:
    """Folders of the package that have a folder of tests."""
    packages = (path.parent.name for path in (ROOT / "stg_attr").glob("*/__init__.py"))
    return sorted(name for name in packages if (ROOT / "tests" / name).is_dir())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python run.py mutate", description=(__doc__ or "").splitlines()[0])
    made.add_argument("folder", choices=folders())
    made.add_argument(
        "files", nargs="*", default=["*.py"], help="file names or patterns; all files by default"
    )
    made.add_argument("--sample", type=int, default=0, help="try a random sample of this size from each file")
    made.add_argument("--seed", type=int, default=0, help="seed of the random samples")
    return made


def prepare(folder: str) -> Path:
    """Copy package and tests, and write mutmut's settings; the folder of the copy."""
    home = MUTATED / folder
    for name in ("stg_attr", "tests"):
        shutil.copytree(ROOT / name, home / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", home)
    lines = ["[mutmut]", "source_paths=stg_attr", f"only_mutate=stg_attr/{folder}/*.py"]
    lines += ["track_dependencies=false", "process_isolation=forkserver"]
    lines += [f"pytest_add_cli_args_test_selection=tests/{folder}"]
    # mutmut wraps every function, and torch.fx and torch.compile fail on the wrapper
    lines += ["pytest_add_cli_args=-k\n    not fx and not compile"]
    (home / "setup.cfg").write_text("\n".join(lines) + "\n")
    return home


def noticed(results: Path) -> dict[str, bool]:
    """For each change of a file, whether tests failed, hung or crashed with it, from mutmut's results."""
    codes = json.loads(results.read_text())["exit_code_by_key"]
    return {name: code not in NOT_NOTICED for name, code in codes.items()}


def sampled(names: list[str], size: int, seed: int) -> list[str]:
    """A random sample of `size` names, in their order; all names if `size` is 0 or too large."""
    if not 0 < size < len(names):
        return names
    chosen = set(random.Random(seed).sample(names, size))
    return [name for name in names if name in chosen]


def report(chosen: dict[Path, list[str]], folder: str) -> None:
    """Print the changes that no test noticed, then the counts of each file and of the folder."""
    found = {
        name: was for path, names in chosen.items() for name, was in noticed(path).items() if name in names
    }
    print(f"Not noticed (`mutmut show NAME` in .mutation/{folder} shows the change):")
    print(*(f"  {name}" for name, was_noticed in found.items() if not was_noticed), sep="\n")
    for path, names in chosen.items():
        print(f"{path.stem}: {sum(found[name] for name in names)} of {len(names)} changes noticed")
    print(f"{folder}: {sum(found.values())} of {len(found)} ({sum(found.values()) / len(found):.1%})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the changes that the command line asks for; the exit code."""
    asked = parser().parse_args(arguments)
    home = prepare(asked.folder)
    run = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    # No change is named "none": mutmut writes all changes, times the tests, and stops.
    started = subprocess.run([*run, "none"], cwd=home, capture_output=True, text=True)
    results = home / "mutants" / "stg_attr" / asked.folder
    paths = sorted({path for pattern in asked.files for path in results.glob(f"{pattern}.meta")})
    chosen = {path: sampled(list(noticed(path)), asked.sample, asked.seed) for path in paths}
    if not any(chosen.values()):
        print(started.stdout, started.stderr)
        return 1
    left = [name for path, names in chosen.items() for name in names if not noticed(path)[name]]
    if left and (code := subprocess.run([*run, *left], cwd=home).returncode):
        return code
    report(chosen, asked.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
