"""The rows of a benchmark as a table for the terminal, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from efface.benchmark.results import Bench, BenchFigure, BenchRow, primary
from efface.evaluation.wording import (
    DASH,
    as_csv,
    format_count,
    format_duration,
    format_interval,
    format_number,
    format_value,
    printable,
)
from efface.memory.estimate import readable
from efface.reporting.comparison import DIRECTIONS, flat
from efface.runs.compare import with_details

BESIDE = ("worst_class", "recall")  # secondary figures with columns of their own
FRONT = "*"  # marks rows on the Pareto front
Cell = tuple[str, str]  # a value, and its interval or ""
NOTE = (
    "Means over requests and seeds, with 95 % intervals by Student's t over these runs; of a few "
    "runs they are wide and rough. * marks methods that no other beats: none is at least as good "
    "in every primary figure and better in one. "
)


def columns(rows: Sequence[BenchRow]) -> tuple[list[BenchFigure], list[BenchFigure]]:
    """The figures with a column, as the first row has them: primary ones, and those beside."""
    first: dict[str, BenchFigure] = {}
    beside: dict[str, BenchFigure] = {}
    for row in rows:
        for figure in primary(row):
            first.setdefault(figure.name, figure)
        for figure in (f for name in BESIDE for f in row.figures if f.spec.name == name):
            beside.setdefault(figure.name, figure)
    return list(first.values()), list(beside.values())


def heading(figure: BenchFigure, rows: Sequence[BenchRow]) -> str:
    arrow, _ = DIRECTIONS[figure.spec.better]
    labels = {own.label for row in rows if (own := row.get(figure.name)) is not None}
    # Of each row another class may be the worst: "Worst class (3)".
    label = figure.label if len(labels) == 1 else figure.label.partition(" (")[0]
    return f"{label} {arrow}".strip()


def headings(rows: Sequence[BenchRow]) -> list[str]:
    first, beside = ([heading(figure, rows) for figure in some] for some in columns(rows))
    return ["row", *first, *(title for title, _ in _costs(rows)), *beside]


def cells(row: BenchRow, rows: Sequence[BenchRow]) -> list[Cell]:
    """A row's name, figures and costs, below the `headings`."""
    first, beside = ([_figure(row, figure) for figure in some] for some in columns(rows))
    costs = [cell(row) for _, cell in _costs(rows)]
    return [(name_of(row), _state(row)), *first, *costs, *beside]


def name_of(row: BenchRow) -> str:
    strength = "" if row.strength is None else f" at {row.strength}"
    return f"{printable(row.name)}{strength}{f' {FRONT}' if row.front else ''}"


def _state(row: BenchRow) -> str:
    parts = [f"{row.runs} {'run' if row.runs == 1 else 'runs'}"]
    parts += [f"{row.collapsed} collapsed"] if row.collapsed else []
    parts += ["failed"] if row.failed else []
    return ", ".join(parts)


def _figure(row: BenchRow, figure: BenchFigure) -> Cell:
    own, unit = row.get(figure.name), figure.spec.unit
    if own is None:
        return DASH, ""
    return format_value(own.value.value, unit), format_interval(own.value.low, own.value.high, unit)


def _costs(rows: Sequence[BenchRow]) -> list[tuple[str, Callable[[BenchRow], Cell]]]:
    """Columns of what was not measured in any row are left out."""
    found: list[tuple[str, Callable[[BenchRow], Cell]]] = []
    if any(row.relearned for row in rows):
        found.append(("relearned in steps", _relearned))
    if any(row.from_retrained for row in rows):
        found.append(("margins from retrained", _from_retrained))
    return [*found, ("forwards", _forwards), ("time", _time)]


def _relearned(row: BenchRow) -> Cell:
    if row.relearned is None:
        return DASH, ""
    half, retrained = row.relearned.half, row.relearned.retrained
    own = "not relearned" if half is None else format_number(half)
    return own, "" if retrained is None else f"retrained: {format_number(retrained)}"


def _from_retrained(row: BenchRow) -> Cell:
    return DASH if row.from_retrained is None else format_number(row.from_retrained.value), ""


def _forwards(row: BenchRow) -> Cell:
    if row.forwards is None or row.steps is None:
        return DASH, ""
    forwards, steps = (format_count(round(count.value)) for count in (row.forwards, row.steps))
    return forwards, f"{steps} steps"


def _time(row: BenchRow) -> Cell:
    if row.seconds is None:
        return DASH, ""
    memory = "" if row.memory is None else readable(round(row.memory.value))
    return format_duration(row.seconds.value), memory


def as_terminal(bench: Bench) -> Table:
    """A line for every row."""
    table = Table(box=None, pad_edge=False)
    for heading in headings(bench.rows):
        table.add_column(Text(heading), overflow="fold")
    for row in bench.rows:
        table.add_row(*(with_details(*cell) for cell in cells(row, bench.rows)))
    return table


def as_markdown(bench: Bench) -> str:
    """The table, and how it was made."""
    titles = headings(bench.rows)
    lines = [f"`{_inert(bench.command)}`", "", _line(titles), _line(["---"] * len(titles))]
    for row in bench.rows:
        found = cells(row, bench.rows)
        lines.append(_line([f"{v} ({i})" if i else v for v, i in found]))
    return "\n".join([*lines, "", NOTE + seeds_of(bench), ""])


def seeds_of(bench: Bench) -> str:
    commit = "" if bench.commit is None else f", commit {bench.commit}"
    return f"Seeds {', '.join(map(str, bench.seeds))}; {bench.date}{commit}."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_inert(cell) for cell in cells)} |"


def _inert(text: str) -> str:
    """Text that stays in its cell."""
    for mark in "|`<":
        text = text.replace(mark, {"|": "\\|", "`": "'", "<": "&lt;"}[mark])
    return printable(text)


def as_records(bench: Bench) -> Iterator[dict[str, Any]]:
    """One flat record per row, request and figure."""
    for row in bench.rows:
        costs = {
            name: None if value is None else value.value
            for name, value in (
                ("forwards", row.forwards),
                ("steps", row.steps),
                ("seconds", row.seconds),
                ("memory", row.memory),
                ("margins_from_retrained", row.from_retrained),
            )
        }
        relearned = row.relearned
        costs["relearned"] = None if relearned is None else relearned.half
        for figure in row.figures:
            yield {
                "row": row.name,
                "method": row.method,
                "strength": row.strength,
                "front": row.front,
                "request": figure.request,
                "metric": figure.spec.name,
                "label": figure.label,
                "unit": figure.spec.unit,
                "side": figure.spec.side,
                "role": figure.spec.role,
                "better": figure.spec.better,
                "extractor": figure.extractor,
                "runs": figure.runs,
                **flat("", figure.value),
                **flat("original", figure.original),
                **flat("difference", figure.difference),
                **flat("retrained", figure.retrained),
                **costs,
            }


def as_table_csv(bench: Bench) -> str:
    return as_csv(as_records(bench))
