"""All problems by name, and the names of each table P1 to P11."""

from __future__ import annotations

from functools import cache

from . import clusters, clutter, columns, digits, pairs, series, switching, tabular, tetromino
from .problem import Problem

TABLES = {
    "P1": ("syn1", "syn2", "syn3", "syn4", "syn5", "syn6"),
    "P2": ("xor", "orange"),
    "P3": ("rare_features", "rare_times"),
    "P4": ("tetromino_xor", "tetromino_multiplicative", "tetromino_linear"),
    "P5": ("cluttered_digits",),
    "P6": ("stability",),
    "P7": ("digits",),
    "P8": ("columns_100", "columns_500", "columns_2000"),
    "P9": ("switching_each", "switching_accumulated", "switching_inner"),
    "P10": (
        "pair_in_context",
        "pair_in_order",
        "pair_in_context_unpadded",
        "pair_in_order_unpadded",
    ),
    "P11": ("clusters",),
}
FAMILIES = {
    "P1": tabular.load,
    "P2": tabular.load,
    "P3": series.load,
    "P4": tetromino.load,
    "P5": clutter.load,
    "P7": digits.load,
    "P8": columns.load,
    "P9": switching.load,
    "P10": pairs.load,
    "P11": clusters.load,
}
TABLE_OF = {name: table for table, names in TABLES.items() for name in names}


@cache
def load(name: str, model_seed: int = 0) -> Problem:
    """The problem of this name with the net of this seed; trains the net if it is not in the cache.

    Args:
        name: one of the names in `TABLES`; "stability" is the Syn2 net again.
        model_seed: of the net and of the rows.

    Raises:
        ValueError: the name is unknown.
    """
    if name == "stability":
        return load("syn2", model_seed)
    if name not in TABLE_OF:
        raise ValueError(
            f"problem must be one of {', '.join(TABLE_OF)}; found {name!r}. See problems.TABLES."
        )
    return FAMILIES[TABLE_OF[name]](name, model_seed)
