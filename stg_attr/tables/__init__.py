"""Tables as people have them: DataFrames and arrays, whose cells are chosen and never computed."""

from .cells import Cells, OverCells
from .rows import Table

__all__ = ["Cells", "OverCells", "Table"]
