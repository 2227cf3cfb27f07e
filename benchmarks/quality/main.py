"""Command line of the quality benchmarks: `python run.py bench quality [names] [--quick] [--only ours]`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from .problems import TABLES
from .rows import Job, Row, run_all
from .tables import report
from .targets import OURS

RESULTS = Path(__file__).resolve().parent.parent / "results" / "quality.json"
SEEDS = (0, 1, 2)
QUICK_ROWS = 25


def main(argv: list[str] | None = None) -> int:
    """Run, print the tables, and write them beside the JSON of all rows."""
    options = _parser().parse_args(argv)
    start = time.perf_counter()
    rows = run_all(jobs(options), options.processes)
    text = report(rows)
    print("\n" + text)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(_as_json(rows))
    options.json.with_suffix(".md").write_text(text)
    minutes = (time.perf_counter() - start) / 60
    print(f"{len(rows)} runs in {minutes:.1f} minutes; in {options.json} and its .md")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python run.py bench quality", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="tables (P1 to P11) or problems (syn1, digits, ...); all by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"one seed of each kind, {QUICK_ROWS} rows a problem"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="METHOD",
        help="measure these methods only ('ours', Saliency, ...); take the others from the cache",
    )
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help="where the rows go; a .md beside it gets the tables"
    )
    parser.add_argument("--processes", type=int, default=2, help="problems run at once, each on one thread")
    return parser


def jobs(options: argparse.Namespace) -> list[Job]:
    """One job for each problem and model seed."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    only = None if options.only is None else tuple(OURS if name == "ours" else name for name in options.only)
    return [
        Job(name, model_seed, seeds, QUICK_ROWS if options.quick else None, only)
        for name in problem_names(options.names)
        for model_seed in seeds
    ]


def problem_names(names: list[str]) -> list[str]:
    """Problems of the tables and problems named; of all tables if none is.

    Raises:
        SystemExit: a name is neither.
    """
    known = [name for table in TABLES.values() for name in table]
    chosen = [name for given in names or TABLES for name in TABLES.get(given.upper(), (given,))]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(
            f"no table or problem {', '.join(unknown)}; there are {', '.join([*TABLES, *known])}"
        )
    return list(dict.fromkeys(chosen))


def _as_json(rows: list[Row]) -> str:
    return json.dumps({"rows": [asdict(row) for row in rows]}, indent=1)
