"""Results as markdown: a table for each of P1 to P7 and each problem of P8 to P11, and what to note."""

from __future__ import annotations

from statistics import mean, stdev

from .problems import TABLES
from .rows import Row
from .targets import LOWER_IS_BETTER, OURS, base, decimals, is_order, verdicts

TITLES = {
    "P1": "Syn1 to Syn6, trained nets: share of the true features in the top k, %",
    "P2": "XOR and orange skin: median rank of the true features (best 1.5 and 2.5)",
    "P3": "ARMA series, rare features and rare times",
    "P4": "Tetrominoes in noise (XAI-TRIS): average precision",
    "P5": "Cluttered digits: average precision of the cells of the digit, insertion and deletion",
    "P6": "Stability: four solver seeds on the Syn2 net",
    "P7": "Digits: insertion and deletion, smallest sufficient and necessary sets",
    "P8": "Columns, ten of which decide: share of the ten among the first ten",
    "P9": "Series whose state says which channel decides: average precision of the cells that decide",
    "P10": "Two words that decide together: share of the two among the first two",
    "P11": "Clusters of Gaussians, a linear rule each: share of the true features in the top k",
}
SELECTOR = ("TPR", "FDR")
STATUS = "status "  # a value of this name is the share of rows that were given this status
Column = tuple[str, str]  # problem, or "mean", and measure


def report(rows: list[Row]) -> str:
    """All tables that have rows, as one markdown text."""
    parts = []
    for table, problems in TABLES.items():
        found = [row for row in rows if row.problem in problems]
        if found:
            parts.append(section(table, found))
    return "\n\n".join(parts) + "\n"


def section(table: str, rows: list[Row]) -> str:
    """Title, tables, the nets' accuracies and the verdicts of one of P1 to P11."""
    if any(measure.startswith(STATUS) for row in rows for measure in row.values):
        return "\n".join([f"## {table}. {TITLES[table]}", *_compared(table, rows), "", *_notes(table, rows)])
    columns = _columns(table, rows)
    lines = [f"## {table}. {TITLES[table]}", "", *_table(rows, columns, _methods(rows))]
    selector = [
        (name, measure)
        for name in TABLES[table]
        for measure in SELECTOR
        if any(row.problem == name and measure in row.values for row in rows)
    ]
    if selector:
        gates = [
            name for name in _methods(rows) if any(row.method == name and "TPR" in row.values for row in rows)
        ]
        lines += ["", "P(active) > 0.5 as a selector, %:", "", *_table(rows, selector, gates)]
    return "\n".join([*lines, "", *_notes(table, rows)])


def _notes(table: str, rows: list[Row]) -> list[str]:
    accuracies = _accuracies(rows)
    return [*([accuracies] if accuracies else []), *(f"- {line}" for line in verdicts(table, rows))]


def _compared(table: str, rows: list[Row]) -> list[str]:
    """A table for each problem: variants of the project with a column for each reading, and peers."""
    lines = []
    for problem in TABLES[table]:
        here = [row for row in rows if row.problem == problem]
        columns = [column for column in _columns(table, here) if not column[1].startswith(STATUS)]
        if here:
            lines += ["", f"{problem}:", "", *_table(here, columns, _methods(here)), "", *_statuses(here)]
    return lines


def _statuses(rows: list[Row]) -> list[str]:
    """How often each status was given, one line for each variant."""
    lines = []
    for name in _methods(rows):
        runs = [row.values for row in rows if row.method == name]
        given = sorted({key for values in runs for key in values if key.startswith(STATUS)})
        shares = [(mean(values.get(key, 0.0) for values in runs), key.removeprefix(STATUS)) for key in given]
        if shares:
            said = ", ".join(f"{100 * share:.0f} % {status}" for share, status in sorted(shares)[::-1])
            lines.append(f"- {name}: {said}")
    return lines


def _methods(rows: list[Row]) -> list[str]:
    """The project and its variants in the order of the problem, then its peers by name."""
    own = [name for name in dict.fromkeys(row.method for row in rows) if name.partition(":")[0] == OURS]
    return [*own, *sorted({row.method for row in rows} - set(own))]


def _columns(table: str, rows: list[Row]) -> list[Column]:
    present = [name for name in TABLES[table] if any(row.problem == name for row in rows)]
    columns = [
        (name, measure)
        for name in present
        for measure in dict.fromkeys(m for row in rows if row.problem == name for m in row.values)
        if measure not in SELECTOR
    ]
    if table == "P1" and len(present) > 1:
        columns.append(("mean", "TPR@k"))
    return columns


def _table(rows: list[Row], columns: list[Column], methods: list[str]) -> list[str]:
    by_method = {name: [row for row in rows if row.method == name] for name in methods}
    found = {name: [_runs(by_method[name], column) for column in columns] for name in methods}
    best = [
        _best(
            [
                mean(found[name][j])
                for name in methods
                for j, (problem, measure) in enumerate(columns)
                if found[name][j] and (problem, base(measure)) == (column[0], base(column[1]))
            ],
            column[1],
        )
        for column in columns
    ]
    single = len({name for name, _ in columns}) == 1
    heads = [
        measure if single else f"{name.removeprefix('tetromino_')} {measure}" for name, measure in columns
    ]
    lines = [
        "| method | evals | CPU ms | " + " | ".join(heads) + " |",
        "|---|" + "---:|" * (len(columns) + 2),
    ]
    for name in methods:
        cells = [
            _cell(runs, column[1], top) for runs, column, top in zip(found[name], columns, best, strict=True)
        ]
        evaluations = mean(row.evaluations for row in by_method[name])
        milliseconds = mean(row.cpu_ms for row in by_method[name])
        lines.append(f"| {name} | {evaluations:.0f} | {_short(milliseconds)} | " + " | ".join(cells) + " |")
    return lines


def _runs(rows: list[Row], column: Column) -> list[float]:
    """The column's value in every run, a pair of model and solver seed."""
    problem, measure = column
    if problem != "mean":
        return [row.values[measure] for row in rows if row.problem == problem and measure in row.values]
    runs: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        runs.setdefault((row.model_seed, row.solver_seed), []).append(row.values[measure])
    return [mean(values) for values in runs.values()]


def _best(values: list[float], measure: str) -> float | None:
    if not values or (measure not in SELECTOR and not is_order(measure)):
        return None
    return min(values) if base(measure) in LOWER_IS_BETTER else max(values)


def _cell(runs: list[float], measure: str, best: float | None) -> str:
    """Mean and standard deviation over runs, the best of the column in bold."""
    if not runs:
        return "-"
    digits = decimals(measure)
    text = f"{mean(runs):.{digits}f}"
    text = f"**{text}**" if best is not None and text == f"{best:.{digits}f}" else text
    return text if len(runs) == 1 else f"{text} ± {stdev(runs):.{digits}f}"


def _short(milliseconds: float) -> str:
    """Two digits or more, never an exponent."""
    return f"{milliseconds:.{2 if milliseconds < 1 else 1 if milliseconds < 10 else 0}f}"


def _accuracies(rows: list[Row]) -> str:
    names = list(dict.fromkeys(row.problem for row in rows))
    found = {
        name: [row.accuracy for row in rows if row.problem == name and row.accuracy is not None]
        for name in names
    }
    said = [f"{name} {100 * mean(values):.1f} %" for name, values in found.items() if values]
    return f"- accuracy of the nets on unseen rows: {', '.join(said)}" if said else ""
