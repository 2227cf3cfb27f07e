"""Yardsticks that others published; a name chooses one of them, or one unit of XAI-Units.

`xai-units`: nets made by hand, whose attributions are known by design. `series`: the hidden Markov model and
the ARMA series of time_interpret, and the switching features of ContraLSP. `quantus`: digits through the
metrics of Quantus. `anchors`: the smallest sets with a precision of .95. `sets`: soft stability, ROAD and
fidelity of sets of pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from . import anchors_table, quantus_table, series_table, sets_table, xai_units
from .units import UNITS

YARDSTICKS: dict[str, Callable[[bool], None]] = {
    "xai-units": xai_units.run,
    "series": series_table.run,
    "quantus": quantus_table.run,
    "anchors": anchors_table.run,
    "sets": sets_table.run,
}


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python run.py bench public", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*YARDSTICKS, *UNITS, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and rows")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    start = time.monotonic()
    for name in options.names or YARDSTICKS:
        if name in YARDSTICKS:
            YARDSTICKS[name](options.quick)
        else:
            xai_units.run(options.quick, (name,))
        print(f"\n{(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    return 0
