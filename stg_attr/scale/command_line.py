"""The command `python -m stg_attr dataset --model package.module:factory --data in.parquet --out out/`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

from stg_attr.errors import ArgumentError

from .arguments import accepted_arguments
from .results import summarise
from .running import explain_dataset
from .worker import RayActors

__all__ = ["add_explain_options", "explain_arguments", "import_object", "main"]

_OBJECT = "PACKAGE.MODULE:NAME"

_SEE = "See StochasticGates.explain, and LayerStochasticGates.explain for gates on a layer."

#: Value and help of the options that need more than a number.
_HELP = {
    "baselines": (f"NUMBER or {_OBJECT}", "what removed features show; 0 by default"),
    "feature_mask": (_OBJECT, "the feature of each input element, or a function of the inputs"),
    "target": ("K", "the output to explain in all rows; the predicted class by default"),
    "layer_baselines": (f"NUMBER or {_OBJECT}", "what removed parts of the activation show"),
}


def main(argv: Sequence[str]) -> int:
    """Explain a data set, show a progress bar, and print a summary.

    Returns:
        The exit code: 0; 1 if rows failed; 2 if an argument cannot be used; 130 after Ctrl-C.
    """
    given = _parser().parse_args(argv)
    sys.path.insert(0, os.getcwd())  # so that the user's module is found, as with `python -m`
    try:
        outcome = explain_dataset(
            import_object("--model", given.model),
            given.data,
            given.out,
            columns=given.columns.split(",") if given.columns else None,
            id_column=given.id_column,
            target_column=given.target_column,
            batch_rows=given.batch_rows,
            shard_rows=given.shard_rows,
            engine=_engine(given),
            model_version=given.model_version,
            overwrite=given.overwrite,
            show_progress=not given.quiet,
            **explain_arguments(given),
        )
        print(f"{outcome.output}: {outcome.explained} rows explained, {outcome.found} already there")
        if outcome.explained + outcome.found:
            print(summarise(outcome.output))
    except ArgumentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted. Finished shards are kept; run the same command again to continue.",
            file=sys.stderr,
        )
        return 130
    return 1 if outcome.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stg_attr dataset")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{__doc__}\n\nAfter a crash run the same command again: finished shards are kept."
    _add_data_options(parser.add_argument_group("model and data"))
    add_explain_options(parser.add_argument_group("arguments of explain", _SEE))
    _add_run_options(parser.add_argument_group("run"))
    return parser


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    add, factory = group.add_argument, "a function that returns the model or a StochasticGates"
    add("--model", required=True, metavar=_OBJECT, help=factory)
    add("--data", required=True, metavar="PATH", help="a Parquet file, or a folder of them")
    add("--columns", metavar="A,B,...", help="the model's inputs; all columns except the next two by default")
    add("--id-column", metavar="NAME", help="the id of each row; its position by default")
    add("--target-column", metavar="NAME", help="the output to explain in each row")


def add_explain_options(group: argparse._ArgumentGroup) -> None:
    """One option for each argument of `explain`, so that a new argument needs no change here."""
    for name, parameter in accepted_arguments().items():
        option = _option(name)
        if isinstance(parameter.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction)
            continue
        is_number = set(str(parameter.annotation).split(" | ")) <= {"int", "float", "None"}
        metavar, text = _HELP.get(name, ("N" if is_number else f"NUMBER or {_OBJECT}", None))
        group.add_argument(option, metavar=metavar, help=text)


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", required=True, metavar="FOLDER", help="the folder of the results")
    add("--model-version", metavar="TEXT", help="names a model that cannot be compared with an earlier one")
    add("--overwrite", action="store_true", help="delete an output that is already in the folder")
    add("--batch-rows", type=int, default=64, metavar="N", help="rows explained together; 64 by default")
    add("--shard-rows", type=int, metavar="N", help="rows of an output file, a multiple of --batch-rows")
    engines = "this process, Ray, or the shards of this process under torchrun; this process by default"
    add("--engine", choices=("here", "ray", "ranks"), default="here", help=engines)
    actors = "with --engine ray: number of workers; one per CPU or GPU by default"
    add("--actors", type=int, metavar="N", help=actors)
    for name, default in (("cpus", RayActors.num_cpus), ("gpus", RayActors.num_gpus)):
        of_a_worker = f"with --engine ray: {name.upper()[:-1]}s for each worker; {default:g} by default"
        add(f"--{name}", type=float, default=default, metavar="N", help=of_a_worker)
    add("--quiet", action="store_true", help="no progress bar")


def _engine(given: argparse.Namespace) -> RayActors | Literal["ranks"] | None:
    if given.engine == "ray":
        return RayActors(given.actors, given.cpus, given.gpus)
    return "ranks" if given.engine == "ranks" else None


def explain_arguments(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `explain` that are on the command line."""
    texts = {name: getattr(given, name) for name in accepted_arguments()}
    return {name: _value(_option(name), text) for name, text in texts.items() if text is not None}


def _option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


def _value(option: str, text: str | bool) -> Any:
    """The number that a text stands for, or the object that it names."""
    if isinstance(text, bool):
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return import_object(option, text)


def import_object(option: str, path: str) -> Any:
    """The object with the name `package.module:name`."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            option,
            expected="package.module:name of an object that can be imported",
            found=f"{path!r} ({error})",
            mend="Run the command in the folder of the module, or install the package.",
        ) from error
