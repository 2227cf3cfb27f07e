"""Tables as people have them: DataFrames and arrays, whose cells are chosen and never computed."""

from stg_attr.gates import Table

from .cells import Cells, OverCells
from .grouping import Groups, grouped, mask_and_names, one_hot_groups

__all__ = ["Cells", "Groups", "OverCells", "Table", "grouped", "mask_and_names", "one_hot_groups"]
