"""DataFrames with cells of any kind: their rows as numbers of cells, and the explainer of these numbers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from stg_attr.attribution import StochasticGates
from stg_attr.attribution.parts import without_slopes
from stg_attr.errors import ArgumentError
from stg_attr.tables import Cells, OverCells, mask_and_names

from .fingerprint import digest
from .frames import frame_columns
from .rows import Columns
from .sources import Table
from .worker import Explainer, Make, load_explainer

__all__ = ["CellTable", "OverTable", "as_cells", "is_table"]


def is_table(value: Any) -> bool:
    """Whether an argument is a DataFrame, or a cell for each column."""
    return isinstance(value, Mapping) or (hasattr(value, "columns") and hasattr(value, "shape"))


@dataclass(frozen=True)
class CellTable(Table):
    """The numbers of the cells of a DataFrame in memory.

    Attributes:
        cells: a fingerprint of the cells of rows and references.
    """

    cells: str = ""

    def identity(self) -> str:
        return f"table of {self.n_rows} rows, {self.cells}"


@dataclass(frozen=True)
class OverTable:
    """Makes the explainer of the numbers of cells.

    Attributes:
        make: the explainer of the table, or a function that returns it or its model.
        cells: of the rows and the references.
    """

    make: Make
    cells: Cells

    def __call__(self) -> Explainer:
        """The explainer, as a worker loads it."""
        stg = load_explainer(self.make)
        if type(stg) is not StochasticGates:
            raise ArgumentError(
                "stg_or_factory",
                expected="a StochasticGates, since the data set is a table",
                found=type(stg).__name__,
                mend="Explain token ids as columns of whole numbers, without a table as baselines.",
            )
        over = copy(without_slopes(stg))
        over.forward_func = OverCells(stg.forward_func, self.cells)
        return over


def as_cells(
    make: Make, frame: Any, columns: Columns, arguments: dict[str, Any]
) -> tuple[OverTable, CellTable, dict[str, Any]]:
    """What is explained of a DataFrame where the baselines are a table: numbers of its cells, with names.

    Args:
        make: the explainer, or a function that returns it or its model.
        frame: the data set, of pandas or Polars.
        columns: which of its columns hold the inputs, the ids and the targets.
        arguments: of `explain`.

    Raises:
        ArgumentError: the data set is no DataFrame in memory, or the baselines do not fit it.
    """
    others = [str(name) for name in columns.others]
    if not is_table(frame) or isinstance(frame, Mapping):
        raise ArgumentError(
            "baselines",
            expected="a number, a tensor, a ReferenceSet or a function, since rows are explained as numbers",
            found=type(arguments["baselines"]).__name__,
            mend="Read the data set into a DataFrame of pandas or Polars, or convert the baselines with "
            "torch.as_tensor.",
        )
    names = list(columns.inputs or (name for name in frame.columns if name not in others))
    columns.to_read([str(name) for name in frame.columns])
    rows = frame[names]
    if hasattr(rows, "reset_index"):  # of pandas: rows of a data set are known by their ids
        rows = rows.reset_index(drop=True)
    baselines, mask = arguments["baselines"], arguments.get("feature_mask")
    if hasattr(baselines, "columns"):
        missing = [name for name in names if name not in baselines.columns]
        baselines = baselines if missing else baselines[names]
    cells = Cells.of(rows, baselines, make if callable(make) else make.forward_func)
    assert cells is not None
    shown = cells.inputs.names if arguments.get("feature_names") is None else arguments["feature_names"]
    mask, shown = mask_and_names(mask, tuple(shown), cells.inputs.keys)
    given = {**arguments, "baselines": cells.references, "feature_mask": mask, "feature_names": tuple(shown)}
    n, numbers, table = len(rows), cells.numbers, frame_columns(frame)
    held = {str(name): numbers[:n, i].numpy() for i, name in enumerate(names)}
    held |= {name: table[name] for name in others}
    seen = digest([{name: table[str(name)] for name in map(str, names)}, _plain(baselines)])
    inputs = Columns(tuple(map(str, names)), columns.id, columns.target)
    return OverTable(make, cells), CellTable(held, inputs, seen), given


def _plain(baselines: Any) -> Any:
    return frame_columns(baselines) if hasattr(baselines, "columns") else dict(baselines)
