"""Results as markdown: one table for each of P1 to P7, with the targets and who does better below it."""

from __future__ import annotations

from statistics import mean, stdev

from .problems import TABLES
from .rows import Row
from .targets import LOWER_IS_BETTER, OURS, decimals, verdicts

TITLES = {
    "P1": "Syn1 to Syn6, trained nets: share of the true features in the top k, %",
    "P2": "XOR and orange skin: median rank of the true features (best 1.5 and 2.5)",
    "P3": "ARMA series, rare features and rare times",
    "P4": "Tetrominoes in noise (XAI-TRIS): average precision",
    "P5": "Cluttered digits: average precision of the cells of the digit, insertion and deletion",
    "P6": "Stability: four solver seeds on the Syn2 net",
    "P7": "Digits: insertion and deletion, smallest sufficient and necessary sets",
}
SELECTOR = ("TPR", "FDR")
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
    """Title, table, the nets' accuracies and the verdicts of one of P1 to P7."""
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
    accuracies = _accuracies(rows)
    lines += ["", *([accuracies] if accuracies else []), *(f"- {line}" for line in verdicts(table, rows))]
    return "\n".join(lines)


def _methods(rows: list[Row]) -> list[str]:
    """The project first, its peers in the order of their names."""
    return sorted({row.method for row in rows}, key=lambda name: (name != OURS, name))


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
        _best([mean(found[name][i]) for name in methods if found[name][i]], column[1])
        for i, column in enumerate(columns)
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
    if not values:
        return None
    return min(values) if measure in LOWER_IS_BETTER else max(values)


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
