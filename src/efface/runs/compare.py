"""Runs beside each other: a table, CSV, JSON and plots of what was forgotten against the rest."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from efface.errors import DataError
from efface.evaluation.wording import as_csv, format_count, join_words, printable
from efface.files import write_whole
from efface.records import Value
from efface.reporting.comparison import (
    DIRECTIONS,
    SHORT,
    Base,
    Entry,
    Figure,
    MetricRow,
    compare_runs,
    flat,
    mean_difference,
    write_difference,
    write_figure,
)
from efface.reporting.run_folder import read_run
from efface.reporting.verdict import judge_run

ABREAST = 4  # entries in one table of the terminal


@dataclass(frozen=True, kw_only=True)
class MethodDifference:
    """What one entry shows less what another does, over the training seeds that both have."""

    first: Entry
    second: Entry
    seeds: tuple[int, ...]
    value: Value


def compare(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Base]:
    """Put runs side by side, grouped by base model; DataError for what is no run.

    `out` is a folder for `comparison.csv` and `comparison.json`.
    """
    if not runs:
        raise DataError("no run was given to compare: give the folders of two or more.")
    read = [read_run(Path(run)) for run in runs]
    bases = compare_runs(
        read, [judge_run(r.record, r.evaluation, r.names, r.attacks).summary for r in read]
    )
    if out is not None:
        write_comparison(bases, Path(out))
    return bases


def as_records(bases: Sequence[Base]) -> Iterator[dict[str, Any]]:
    """One flat record per measured figure."""
    for base in bases:
        for row in base.rows:
            for entry, figure in zip(base.entries, row.cells, strict=True):
                if figure is not None:
                    yield _shared(base, row) | _cell_record(entry, row, figure)


def _shared(base: Base, row: MetricRow) -> dict[str, Any]:
    key = row.key
    return {
        "base": base.source,
        "weights": base.digest,
        "request": key.request,
        "metric": key.spec.name,
        "unit": key.spec.unit,
        "better": key.spec.better,
        "extractor": key.extractor[0],
        "extractor_sha256": key.extractor[1],
        "samples": key.samples,
        "terms": [f"{name}: {value}" for name, value in key.terms],
    }


def _cell_record(entry: Entry, row: MetricRow, figure: Figure) -> dict[str, Any]:
    return {
        "entry": entry.number,
        "name": entry.name,
        "runs": list(entry.names),
        "seeds": list(entry.seeds),
        "outcomes": list(entry.outcomes),
        **flat("", figure),
        "bounds": "95 % interval" if figure.spread is None else "range over seeds",
        "standard_deviation": figure.spread,
        **flat("original", row.original),
        **flat("difference", figure.difference),  # paired by seed: of a single run none
    }


def differences_of(base: Base, row: MetricRow) -> list[MethodDifference]:
    """Each two entries that have two seeds in common or more, pair by pair."""
    measured = [(e, f) for e, f in zip(base.entries, row.cells, strict=True) if f is not None]
    found = []
    for (first, a), (second, b) in itertools.combinations(measured, 2):
        own, other = (dict(zip(f.seeds, f.values, strict=True)) for f in (a, b))
        seeds = sorted(seed for seed in own.keys() & other.keys() if seed is not None)
        if len(seeds) > 1:
            value = mean_difference([(own[seed], other[seed]) for seed in seeds])
            difference = MethodDifference(
                first=first, second=second, seeds=tuple(seeds), value=value
            )
            found.append(difference)
    return found


def as_differences(bases: Sequence[Base]) -> Iterator[dict[str, Any]]:
    """One flat record per figure and two entries with seeds in common."""
    for base in bases:
        for row in base.rows:
            for found in differences_of(base, row):
                yield _shared(base, row) | {
                    "first": found.first.number,
                    "first_name": found.first.name,
                    "second": found.second.number,
                    "second_name": found.second.name,
                    "seeds": list(found.seeds),
                    "difference": found.value.value,
                    "low": found.value.low,
                    "high": found.value.high,
                }


def as_json(bases: Sequence[Base]) -> str:
    content = {
        "schema": 1,
        "figures": list(as_records(bases)),
        "differences": list(as_differences(bases)),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_tables(bases: Sequence[Base]) -> list[Table]:
    """Tables for the terminal: runs on different base models are in different ones."""
    tables = []
    for base in bases:
        for first in range(0, len(base.entries), ABREAST):
            tables.append(_table(base, slice(first, first + ABREAST)))
        if any(differences_of(base, row) for row in base.rows):
            tables.append(_differences(base))
    return tables


def _differences(base: Base) -> Table:
    """What one entry shows less what another does, seed by seed."""
    table = Table(title="seed by seed", title_justify="left", box=None, pad_edge=False)
    for column in ("figure", "between", "difference"):
        table.add_column(column, overflow="fold")
    for row in base.rows:
        for n, found in enumerate(differences_of(base, row)):
            both = f"{found.first.number} less {found.second.number}"
            text = Text(write_difference(found.value, row.key.spec.unit))
            table.add_row(_name(row) if n == 0 else "", both, text)
    return table


def _table(base: Base, part: slice) -> Table:
    title = Text(f"on {printable(base.source)} (weights {printable(base.digest[:SHORT])})")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("original")
    entries = base.entries[part]
    for entry in entries:
        table.add_column(Text(f"{entry.number}. {printable(entry.name)}"), overflow="fold")
    outcomes = [join_words(list(dict.fromkeys(entry.outcomes))) for entry in entries]
    table.add_row("verdict", "", *outcomes)
    for row in base.rows:
        cells = row.cells[part]
        if any(cell is not None for cell in cells):
            table.add_row(_name(row), _text(row.original, row), *(_text(c, row) for c in cells))
    return table


def _name(row: MetricRow) -> Text:
    arrow, _ = DIRECTIONS[row.key.spec.better]
    seen = "".join(f", {text}" for text in (row.key.measured_with, printable(row.apart)) if text)
    name = f"{printable(row.key.spec.label)} {arrow}".strip()
    return with_details(name, f"{format_count(row.key.samples)} samples{seen}")


def _text(figure: Figure | None, row: MetricRow) -> Text:
    unit = row.key.spec.unit
    value, interval = write_figure(figure, unit)
    if figure is None or figure.difference is None:
        return with_details(value, interval)
    difference = f"from the original model: {write_difference(figure.difference, unit)}"
    return with_details(value, interval, difference)


def with_details(text: str, *details: str) -> Text:
    """A cell of a table, with dim lines below."""
    cell = Text(text)
    for line in filter(None, details):
        cell.append(f"\n{line}", style="dim")
    return cell


def write_comparison(bases: Sequence[Base], out: Path) -> list[Path]:
    """`comparison.csv` and `comparison.json`; returns what was written.

    RequestError for a folder that cannot be written.
    """
    contents = {"comparison.csv": as_csv(as_records(bases)), "comparison.json": as_json(bases)}
    for name, text in contents.items():
        write_whole(out / name, text.encode("utf-8", "replace"), "comparison")
    return [out / name for name in contents]
