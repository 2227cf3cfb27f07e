"""Command line of the benchmarks: `python run.py bench [digits | overhead | quality | scale ...]`."""

from __future__ import annotations

import sys

from . import digits, overhead, scale


def main(arguments: list[str]) -> int:
    """Run one benchmark with its own arguments; `digits` and `overhead` when none is named."""
    if not arguments:
        return max(digits.main([]), overhead.main([]))
    name, *rest = arguments
    if name == "quality":
        from .quality.main import main as quality

        return quality(rest)
    if name not in ("digits", "overhead", "scale"):
        print(f"no benchmark {name!r}; there are digits, overhead, quality and scale")
        return 2
    return {"digits": digits, "overhead": overhead, "scale": scale}[name].main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
