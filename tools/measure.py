"""Measure again the figures that tests compare with, and write them to tests/measured.py.

    python run.py measure

Run it after a change that is meant to move these figures, and look at the difference before the commit: a
lower share or a higher count has to be worth it. It takes a few seconds.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = '''\
"""Figures that were measured, for tests to compare with. `python run.py measure` writes them."""

# Share of 400 random networks whose selected set is the smallest one that suffices, with default settings.
# Of the two estimators, the lower share. Small sets match an output by chance, so OutputMatch has low shares.
OPTIMUM_SHARES = {{
{shares}
}}

# Tensor operations of one update beyond those of the model, at most, after the first update.
OPERATIONS_OF_AN_UPDATE = {{
{operations}
}}

# Rows of the first seven calls of the model in a default solve of one example: input, baseline, five updates.
ROWS_OF_FIRST_CALLS = {rows}
'''


def optimum_shares(laws: Any) -> dict[str, float]:
    """For each objective, the share of random networks that are solved to the optimum."""
    shares = {}
    for objective in laws.OBJECTIVES:
        methods = [{"objective": objective, **estimator} for estimator in laws.ESTIMATORS.values()]
        solved = [laws._solved(laws._networks(8, 0, 400), method) for method in methods]
        shares[laws._short(objective)] = min(float((s.sizes == s.best).double().mean()) for s in solved)
    return shares


def operations(costs: Any) -> dict[str, int]:
    """For each method, the largest number of tensor operations that an update takes around the model."""
    return {name: max(costs.operations_of_updates(**parts)[1:]) for name, parts in costs.METHODS.items()}


def rows_of_first_calls(laws: Any) -> list[int]:
    """Rows of the first calls of a default solve, which are the same for every method."""
    (rows,) = {tuple(laws.rows_of_a_default_solve(method.values[0])[:7]) for method in laws.METHODS}
    return list(rows)


def lines(figures: dict[str, Any]) -> str:
    """The entries of a dictionary, one a line."""
    return "\n".join(f'    "{name}": {value},' for name, value in figures.items())


def main() -> int:
    """Measure all figures and write the file."""
    sys.path.insert(0, str(ROOT))
    torch.set_num_threads(1)  # as in the tests
    laws, costs = (importlib.import_module(f"tests.{name}") for name in ("test_laws", "test_costs"))
    text = TEMPLATE.format(
        shares=lines({name: round(share, 4) for name, share in optimum_shares(laws).items()}),
        operations=lines(operations(costs)),
        rows=rows_of_first_calls(laws),
    )
    (ROOT / "tests" / "measured.py").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
