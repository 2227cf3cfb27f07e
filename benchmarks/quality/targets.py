"""What the project's default is held to in each table, and whether it is met."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from .problems import TABLES
from .rows import Row

OURS = "stg_attr"
REFERENCE = "KernelShap"
FACTS = ("selected", "precision", "recall")  # of the project's selection; there is nothing to compare
LOWER_IS_BETTER = frozenset({"median rank", "del", "suff", "nec", "FDR", "unseen first", "any unseen"})
DECIMALS = {"TPR@k": 1, "TPR": 1, "FDR": 1, "median rank": 2, "suff": 1, "nec": 1, "selected": 1}


def decimals(measure: str) -> int:
    """Decimals that a measure is printed and compared with."""
    return DECIMALS.get(base(measure), 3)


def base(measure: str) -> str:
    """The measure without the name of the reading, which only the project's have."""
    return measure.partition(",")[0]


def is_order(measure: str) -> bool:
    """Whether a value judges an order of the features, which every method gives."""
    return measure not in ("TPR", "FDR", *FACTS) and not measure.startswith("status ")


@dataclass(frozen=True)
class Target:
    """A bound on a measure of the project's, averaged over runs and over the problems named.

    Args:
        table: P1 to P11.
        problems: whose mean is bounded.
        measure: a name among the values, or "evaluations".
        bound: the worst value that meets it.
        at_most: whether the bound is an upper one.
    """

    table: str
    problems: tuple[str, ...]
    measure: str
    bound: float
    at_most: bool = False

    def verdict(self, rows: list[Row]) -> str | None:
        """One line for the report; None where nothing of it was run."""
        own = [row for row in rows if row.method == OURS and row.problem in self.problems]
        if {row.problem for row in own} != set(self.problems):
            return None
        found = _mean(own, self.measure)
        met = found <= self.bound if self.at_most else found >= self.bound
        what = ", ".join(self.problems) if self.problems != TABLES[self.table] else f"all of {self.table}"
        bound = f"{'<=' if self.at_most else '>='} {self.bound:g}"
        return f"{self.measure} {bound} on {what}: {found:.4g}, {_said(met)}"


def _said(met: bool) -> str:
    return "met" if met else "**missed**"


def _mean(rows: list[Row], measure: str) -> float:
    """Mean over problems of the mean over runs."""

    def read(row: Row) -> float:
        return row.evaluations if measure == "evaluations" else row.values[measure]

    names = {row.problem for row in rows}
    return mean(mean(read(row) for row in rows if row.problem == name) for name in names)


def _effort(table: str, bound: float) -> tuple[Target, ...]:
    return tuple(Target(table, (name,), "evaluations", bound, at_most=True) for name in TABLES[table])


TARGETS = (
    Target("P1", TABLES["P1"], "TPR@k", 97),
    *(Target("P1", (name,), "TPR", 92) for name in ("syn1", "syn2", "syn3")),
    *(Target("P1", (name,), "FDR", 5, at_most=True) for name in ("syn1", "syn2", "syn3")),
    *_effort("P1", 512),
    Target("P2", ("xor",), "median rank", 1.52, at_most=True),
    Target("P2", ("orange",), "median rank", 2.51, at_most=True),
    *_effort("P2", 512),
    *(Target("P3", (name,), "AUP", 0.99) for name in TABLES["P3"]),
    *(Target("P3", (name,), "AUP, averaged", 0.99) for name in TABLES["P3"]),
    *(Target("P3", (name,), "AUR, averaged", 0.75) for name in TABLES["P3"]),
    *_effort("P3", 600),
    Target("P4", ("tetromino_xor",), "AP", 0.99),
    Target("P4", ("tetromino_multiplicative",), "AP", 0.97),
    Target("P4", ("tetromino_linear",), "AP", 0.99),
    *_effort("P4", 1024),
    Target("P5", ("cluttered_digits",), "AP", 0.86),
    Target("P5", ("cluttered_digits",), "ins-del", 0.848),
    *_effort("P5", 800),
    Target("P6", ("stability",), "Jaccard", 0.95),
    *_effort("P6", 512),
)


def against_peers(table: str, rows: list[Row], *, but: tuple[str, ...] = ()) -> list[str]:
    """Columns of a table in which some peer does better, one line each; or one that says none does.

    Args:
        table: P1 to P11.
        rows: of all methods.
        but: peers left out.
    """
    lines, compared = [], 0
    for problem in TABLES[table]:
        here = [row for row in rows if row.problem == problem and row.method not in but]
        own = [row for row in here if row.method == OURS]
        peers = sorted({row.method for row in here if row.method.partition(":")[0] != OURS})
        if not own or not peers:
            continue
        for measure in filter(is_order, own[0].values):
            compared += 1
            sign = -1 if base(measure) in LOWER_IS_BETTER else 1
            asked = {OURS: measure, **dict.fromkeys(peers, base(measure))}
            found = {
                name: round(_mean([row for row in here if row.method == name], what), decimals(what))
                for name, what in asked.items()
            }
            best = max(peers, key=lambda name: sign * found[name])
            if sign * found[best] > sign * found[OURS]:
                lines.append(
                    f"{problem} {measure}: {best} does better, {found[best]:.4g} against {found[OURS]:.4g}"
                )
    left_out = f" but {', '.join(but)}" if but else ""
    return lines or ([f"no peer{left_out} does better in any of {compared} columns"] if compared else [])


def cost(rows: list[Row]) -> list[str]:
    """CPU time per evaluation beside KernelShap's, on the stability net."""
    per_row = {
        name: mean(row.cpu_ms / row.evaluations for row in found)
        for name in (OURS, REFERENCE)
        if (found := [row for row in rows if row.problem == "stability" and row.method == name])
    }
    if len(per_row) < 2:
        return []
    own, reference = per_row[OURS], per_row[REFERENCE]
    return [
        f"CPU per evaluation at most {REFERENCE}'s: {1000 * own:.3g} against {1000 * reference:.3g} "
        f"microseconds, {_said(own <= reference)}"
    ]


def verdicts(table: str, rows: list[Row]) -> list[str]:
    """Every line that says how the project stands in a table."""
    lines = [line for target in TARGETS if target.table == table and (line := target.verdict(rows))]
    lines += cost(rows) if table == "P6" else against_peers(table, rows)
    if table in ("P1", "P4"):
        lines += against_peers(table, rows, but=("Saliency",))
    return lines
