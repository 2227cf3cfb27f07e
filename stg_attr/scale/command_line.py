"""Command line, `python -m stg_attr dataset --model package.module:factory --data in.parquet --out out/`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, cast

from stg_attr.errors import ArgumentError

from .explaining import ExplainArguments
from .results import summarise
from .running import explain_dataset
from .worker import RayActors

__all__ = ["main"]

_A_NAME = "PACKAGE.MODULE:NAME"


def main(argv: Sequence[str]) -> int:
    """Explain a data set, with a progress bar, and print what came out.

    Returns:
        0; 1 if rows failed; 2 if an argument cannot be used; 130 after Ctrl-C.
    """
    given = _parser().parse_args(argv)
    sys.path.insert(0, os.getcwd())  # the user's model, as `python -m` finds it
    try:
        outcome = explain_dataset(
            _named("--model", given.model),
            given.data,
            given.out,
            columns=given.columns.split(",") if given.columns else None,
            id_column=given.id_column,
            target_column=given.target_column,
            batch_rows=given.batch_rows,
            shard_rows=given.shard_rows,
            engine=_engine(given),
            overwrite=given.overwrite,
            show_progress=not given.quiet,
            **_arguments(given),
        )
        print(f"{outcome.output}: {outcome.explained} rows explained, {outcome.found} there before")
        if outcome.explained + outcome.found:
            print(summarise(outcome.output))
    except ArgumentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted; finished shards are kept, and the same command goes on from there.", file=sys.stderr
        )
        return 130
    return 1 if outcome.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stg_attr dataset")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{__doc__}\n\nRun it again to go on after a crash: finished shards are kept."
    _add_what(parser.add_argument_group("what is explained"))
    _add_how(parser.add_argument_group("how"))
    _add_where(parser.add_argument_group("where it runs and goes"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    add, factory = group.add_argument, "a function that returns the model or a StochasticGates"
    add("--model", required=True, metavar=_A_NAME, help=factory)
    add("--data", required=True, metavar="PATH", help="a Parquet file, or a folder of them")
    add("--columns", metavar="A,B,...", help="the model's inputs; all columns but the next two by default")
    add("--id-column", metavar="NAME", help="names a row; its position by default")
    add("--target-column", metavar="NAME", help="the output to explain in each row")
    everywhere = "the output to explain in all rows; the predicted class by default"
    add("--target", type=int, metavar="K", help=everywhere)


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    hidden = "what hidden features show; 0 by default"
    add("--baselines", metavar=f"NUMBER or {_A_NAME}", help=hidden)
    add("--feature-mask", metavar=_A_NAME, help="the feature of each input element, or a function")
    for name in ("n-steps", "n-samples", "perturbations-per-eval", "seed"):
        add(f"--{name}", type=int, metavar="N", help="as in StochasticGates.explain")


def _add_where(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", required=True, metavar="FOLDER", help="where the results go")
    add("--overwrite", action="store_true", help="throw away results of another model, data set or setting")
    add("--batch-rows", type=int, default=64, metavar="N", help="rows explained together; 64 by default")
    add("--shard-rows", type=int, metavar="N", help="rows of an output file")
    engines = "this process, Ray, or this process's part under torchrun; this process by default"
    add("--engine", choices=("here", "ray", "ranks"), default="here", help=engines)
    actors = "with --engine ray: workers; one for each CPU or GPU by default"
    add("--actors", type=int, metavar="N", help=actors)
    for name, default in (("cpus", RayActors.num_cpus), ("gpus", RayActors.num_gpus)):
        share = f"with --engine ray: {name.upper()[:-1]}s of a worker; {default:g} by default"
        add(f"--{name}", type=float, default=default, metavar="N", help=share)
    add("--quiet", action="store_true", help="no progress bar")


def _engine(given: argparse.Namespace) -> RayActors | Literal["ranks"] | None:
    if given.engine == "ray":
        return RayActors(given.actors, given.cpus, given.gpus)
    return "ranks" if given.engine == "ranks" else None


def _arguments(given: argparse.Namespace) -> ExplainArguments:
    names = ("target", "n_steps", "n_samples", "perturbations_per_eval", "seed")
    arguments: dict[str, Any] = {name: getattr(given, name) for name in names}
    if given.baselines is not None:
        number = given.baselines.lstrip("-").replace(".", "", 1).isdecimal()
        arguments["baselines"] = float(given.baselines) if number else _named("--baselines", given.baselines)
    if given.feature_mask is not None:
        arguments["feature_mask"] = _named("--feature-mask", given.feature_mask)
    kept = {name: value for name, value in arguments.items() if value is not None}
    return cast(ExplainArguments, kept)


def _named(option: str, path: str) -> Any:
    """The object behind `package.module:name`."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            option,
            expected="package.module:name of something that can be imported",
            found=f"{path!r} ({error})",
            mend="Run it in the folder of the module, or install the package.",
        ) from error
