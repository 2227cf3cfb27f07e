"""(e) How long the import takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

from .timing import spread

STATEMENTS = ("import torch", "import torch, captum.attr", "import stg_attr")
ROUNDS = 5


def lines() -> Iterator[str]:
    """The table: CPU seconds of fresh interpreters, interleaved."""
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(ROUNDS + 1):
        for statement in STATEMENTS:
            before = _children()
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
            times[statement].append(_children() - before)
    yield "\n| import | CPU s, median (range) |\n|---|---:|"
    for statement, found in times.items():
        yield f"| `{statement}` | {spread(found[1:])} |"


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
