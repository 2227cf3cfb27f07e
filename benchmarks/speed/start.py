"""(e) How long the import and a first explanation take."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

from .timing import spread

_EXPLAIN = """
import torch, stg_attr
net = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
stg_attr.StochasticGates(net).explain(torch.ones(1, 30), target=0)
"""
#: What is run by a fresh interpreter, by the name of its row.
PROGRAMS = {
    "`import torch`": "import torch",
    "`import torch, captum.attr`": "import torch, captum.attr",
    "`import stg_attr`": "import stg_attr",
    "`import stg_attr`, and a first explanation of a small net": _EXPLAIN,
}
ROUNDS = 5


def lines() -> Iterator[str]:
    """The table: CPU seconds of fresh interpreters, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS + 1):
        for name, code in PROGRAMS.items():
            before = _children()
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            times[name].append(_children() - before)
    yield "\n| program | CPU s, median (range) |\n|---|---:|"
    for name, found in times.items():
        yield f"| {name} | {spread(found[1:])} |"


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
