"""Command line of the benchmarks: `python run.py bench [NAME ...]`; a NAME is a module beside this one."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

QUICK = ("digits",)  # what runs where no name is given


def main(arguments: list[str]) -> int:
    """Run one benchmark with its own arguments, or the quick ones."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    names.remove("__main__")
    name, *rest = arguments or [""]
    if not name:
        return max(_run(quick, []) for quick in QUICK)
    if name not in names:
        print(f"no benchmark {name!r}; there are {', '.join(names)}")
        return 2
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    module = importlib.import_module(f".{name}", __package__)
    if hasattr(module, "__path__"):  # a package keeps its command line in its main
        module = importlib.import_module(f".{name}.main", __package__)
    code: int = module.main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
