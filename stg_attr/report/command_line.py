"""The commands `python -m stg_attr report FOLDER --out report/` and `python -m stg_attr diff OLD NEW`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stg_attr.errors import ArgumentError
from stg_attr.scale.command_line import add_explain_options, explain_arguments, import_object

from .composing import report
from .difference import diff

__all__ = ["diff_main", "main"]

_OBJECT = "PACKAGE.MODULE:NAME"
_SEE = "As in the run, for what is measured on the model. See StochasticGates.explain."


def main(argv: Sequence[str]) -> int:
    """Write a report on the folder of a run, and print its summary.

    Returns:
        The exit code: 0; 2 if an argument cannot be used.
    """
    given = _parser().parse_args(argv)
    sys.path.insert(0, os.getcwd())  # so that the user's module is found, as with `python -m`
    try:
        fresh = given.fresh
        if fresh is not None:
            fresh = import_object("--fresh", fresh)
        made = report(
            given.folder,
            given.data,
            explainer=None if given.model is None else import_object("--model", given.model),
            fresh=fresh,
            columns=_listed(given.columns),
            id_column=given.id_column,
            labels=given.labels,
            cohorts=_listed(given.cohorts) or (),
            model_name=given.model_name,
            model_version=given.model_version,
            date=given.date,
            **explain_arguments(given),
        )
        return _written(made, given.out)
    except ArgumentError as error:
        return _refused(error)


def diff_main(argv: Sequence[str]) -> int:
    """Compare two folders of reports, and print what changed.

    Returns:
        The exit code: 0; 2 if an argument cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m stg_attr diff")
    parser.description = "Compare two reports: of two models, or of two months."
    parser.add_argument("old", help="the folder of a report")
    parser.add_argument("new", help="the folder of the other report")
    parser.add_argument("--out", metavar="FOLDER", help="where the difference is written; nowhere by default")
    given = parser.parse_args(argv)
    try:
        return _written(diff(given.old, given.new), given.out)
    except ArgumentError as error:
        return _refused(error)


def _written(made: Any, out: str | None) -> int:
    print(made)
    if out is not None:
        print(f"Open {made.save(Path(out))} in a browser.")
    return 0


def _refused(error: ArgumentError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _listed(text: str | None) -> list[str] | None:
    return text.split(",") if text else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stg_attr report")
    parser.description = "Write one page on what a model needs, from the folder of a run of `dataset`."
    add = parser.add_argument
    add("folder", help="the folder of the results")
    add("--out", required=True, metavar="FOLDER", help="where the page and its files are written")
    add("--data", metavar="PATH", help="the rows that were explained: a Parquet file, or a folder of them")
    add("--columns", metavar="A,B,...", help="the model's inputs, as in the run")
    add("--id-column", metavar="NAME", help="the id of each row, as in the run; its position by default")
    add("--labels", metavar="NAME", help="the column with the right class of each row")
    add("--cohorts", metavar="A,B,...", help="columns that divide the rows into cohorts")
    add("--model-name", metavar="TEXT", help="the name of the model, for the reader")
    add("--model-version", metavar="TEXT", help="the version of the model, as in the run if it had one")
    add("--date", metavar="TEXT", help="the date of the report; today by default")
    live = parser.add_argument_group("measured on the model")
    live.add_argument(
        "--model", metavar=_OBJECT, help="a function that returns the model or a StochasticGates"
    )
    live.add_argument("--fresh", metavar=_OBJECT, help="reference rows that nothing has seen, for coverage")
    add_explain_options(parser.add_argument_group("arguments of explain", _SEE))
    return parser
