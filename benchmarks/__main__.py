"""Command line of the benchmarks: `python run.py bench [digits | overhead | stability | quality ...]`."""

from __future__ import annotations

import sys

from . import digits, overhead, stability


def main(arguments: list[str]) -> int:
    """Run one benchmark with its own arguments; `digits` and `overhead` when none is named."""
    if not arguments:
        return max(digits.main([]), overhead.main([]))
    name, *rest = arguments
    if name == "quality":
        from .quality.main import main as quality

        return quality(rest)
    others = {"digits": digits, "overhead": overhead, "stability": stability}
    if name not in others:
        print(f"no benchmark {name!r}; there are {', '.join(others)} and quality")
        return 2
    return others[name].main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
