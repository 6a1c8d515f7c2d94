"""Runs beside each other: a table, CSV, JSON and plots of what was forgotten against the rest."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from efface.errors import DataError
from efface.files import whole_file
from efface.reporting.comparison import SHORT, Base, Entry, Figure, MetricRow, compare_runs
from efface.reporting.overview import count_samples, write_difference, write_figure
from efface.reporting.pareto import pareto_figures, stand_alone
from efface.reporting.run_folder import read_run
from efface.reporting.sections import DIRECTIONS
from efface.reporting.verdict import judge_run
from efface.reporting.wording import format_difference, join_words, printable

ABREAST = 4  # entries in one table of the terminal
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
COLUMNS: tuple[str, ...] = (
    "base", "weights", "entry", "name", "runs", "seeds", "outcomes", "request", "metric", "unit",
    "higher_is_better", "extractor", "extractor_sha256", "samples", "value", "low", "high",
    "bounds", "standard_deviation", "untouched", "untouched_low", "untouched_high",
    "difference", "difference_low", "difference_high", "terms",
)  # fmt: skip
PAIRED: tuple[str, ...] = (
    "base", "weights", "request", "metric", "unit", "extractor", "samples", "first", "first_name",
    "second", "second_name", "seeds", "difference", "low", "high", "terms",
)  # fmt: skip


def compare(folders: Sequence[Path]) -> list[Base]:
    """Read run folders and group them by base model; DataError for what is no run."""
    if not folders:
        raise DataError("no run was given to compare: give the folders of two or more.")
    runs = [read_run(Path(folder)) for folder in folders]
    return compare_runs(
        runs, [judge_run(r.record, r.evaluation, r.names, r.attacks).outcome for r in runs]
    )


def as_records(bases: Sequence[Base]) -> Iterator[dict[str, Any]]:
    """One flat record per measured figure, by the names of COLUMNS."""
    for base in bases:
        for row in base.rows:
            for entry, figure in zip(base.entries, row.cells, strict=True):
                if figure is not None:
                    yield _record(base, entry, row, figure)


def _record(base: Base, entry: Entry, row: MetricRow, figure: Figure) -> dict[str, Any]:
    difference = figure.difference
    return {
        "base": base.source,
        "weights": base.digest,
        "entry": entry.number,
        "name": entry.name,
        "runs": list(entry.names),
        "seeds": list(entry.seeds),
        "outcomes": list(entry.outcomes),
        "request": row.kind,
        "metric": row.metric,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "extractor": row.extractor[0],
        "extractor_sha256": row.extractor[1],
        "samples": row.samples,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "bounds": "95 % interval" if figure.spread is None else "range over seeds",
        "standard_deviation": figure.spread,
        "untouched": row.untouched.value,
        "untouched_low": row.untouched.low,
        "untouched_high": row.untouched.high,
        # Paired by seed: of a single run none.
        "difference": None if difference is None else difference.value,
        "difference_low": None if difference is None else difference.low,
        "difference_high": None if difference is None else difference.high,
        "terms": _terms(row),
    }


def as_differences(bases: Sequence[Base]) -> Iterator[dict[str, Any]]:
    """One flat record per figure and two entries with seeds in common, by the names of PAIRED."""
    for base in bases:
        for row in base.rows:
            for found in row.differences:
                yield {
                    "base": base.source,
                    "weights": base.digest,
                    "request": row.kind,
                    "metric": row.metric,
                    "unit": row.unit,
                    "extractor": row.extractor[0],
                    "samples": row.samples,
                    "first": found.first.number,
                    "first_name": found.first.name,
                    "second": found.second.number,
                    "second_name": found.second.name,
                    "seeds": list(found.seeds),
                    "difference": found.value.value,
                    "low": found.value.low,
                    "high": found.value.high,
                    "terms": _terms(row),
                }


def as_json(bases: Sequence[Base]) -> str:
    content = {
        "schema": 1,
        "figures": list(as_records(bases)),
        "differences": list(as_differences(bases)),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_csv(bases: Sequence[Base]) -> str:
    """One line per figure; a text that a spreadsheet would run as a formula begins with '."""
    return _csv(COLUMNS, as_records(bases))


def _csv(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _cell(value) for name, value in record.items()})
    return file.getvalue()


def _terms(row: MetricRow) -> list[str]:
    return [f"{name}: {value}" for name, value in row.terms]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join("" if v is None else str(v) for v in value)
    if not isinstance(value, str):
        return value
    value = printable(value)
    return f"'{value}" if value.startswith(FORMULA) else value


def as_tables(bases: Sequence[Base]) -> list[Table]:
    """Tables for the terminal: runs on different base models are in different ones."""
    tables = []
    for base in bases:
        for first in range(0, len(base.entries), ABREAST):
            tables.append(_table(base, slice(first, first + ABREAST)))
        if any(row.differences for row in base.rows):
            tables.append(_differences(base))
    return tables


def _differences(base: Base) -> Table:
    """What one entry shows less what another does, seed by seed."""
    table = Table(title="seed by seed", title_justify="left", box=None, pad_edge=False)
    for column in ("figure", "between", "difference"):
        table.add_column(column, overflow="fold")
    for row in base.rows:
        for n, found in enumerate(row.differences):
            both = f"{found.first.number} less {found.second.number}"
            value = found.value
            text = Text(format_difference(value.value, value.low, value.high, row.unit))
            table.add_row(_name(row) if n == 0 else "", both, text)
    return table


def _table(base: Base, part: slice) -> Table:
    title = Text(f"on {printable(base.source)} (weights {printable(base.digest[:SHORT])})")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("untouched")
    entries = base.entries[part]
    for entry in entries:
        table.add_column(Text(f"{entry.number}. {printable(entry.name)}"), overflow="fold")
    outcomes = [join_words(list(dict.fromkeys(entry.outcomes))) for entry in entries]
    table.add_row("verdict", "", *(outcome.replace("_", " ") for outcome in outcomes))
    for row in base.rows:
        cells = row.cells[part]
        if any(cell is not None for cell in cells):
            table.add_row(_name(row), _text(row.untouched, row), *(_text(c, row) for c in cells))
    return table


def _name(row: MetricRow) -> Text:
    arrow, _ = DIRECTIONS[row.higher_is_better]
    seen = "".join(f", {text}" for text in (row.seen_with, printable(row.apart)) if text)
    name = Text(f"{printable(row.term.label)} {arrow}".strip())
    return name.append(f"\n{count_samples(row.samples)}{seen}", style="dim")


def _text(figure: Figure | None, row: MetricRow) -> Text:
    cell = write_figure(figure, row.unit)
    text = Text(cell.value)
    for line in (cell.interval, write_difference(figure, row.unit)):
        if line:
            text.append(f"\n{line}", style="dim")
    return text


def write_comparison(bases: Sequence[Base], out: Path) -> list[Path]:
    """`comparison.csv`, `comparison.json` and a `pareto-N.svg` per plot; returns what was written.

    Also `differences.csv`, where two entries have seeds in common. Raises DataError for a folder
    that cannot be written.
    """
    plots = [figure for base in bases for figure in pareto_figures(base)]
    contents = {"comparison.csv": as_csv(bases), "comparison.json": as_json(bases)}
    differences = list(as_differences(bases))
    if differences:
        contents["differences.csv"] = _csv(PAIRED, differences)
    contents |= {f"pareto-{n}.svg": stand_alone(plot) for n, plot in enumerate(plots, start=1)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            with whole_file(out / name) as part:
                part.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise DataError(
            f"the comparison cannot be written to {out} ({error.strerror}): give another folder."
        ) from error
    return [out / name for name in contents]
