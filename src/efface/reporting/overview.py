"""What the page says about several runs together: one part per base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efface.evaluation.wording import (
    DASH,
    format_count,
    format_difference,
    format_interval,
    format_range,
    format_value,
    plural,
    shorten,
)
from efface.records import Value
from efface.reporting.comparison import (
    SHORT,
    Base,
    Entry,
    Figure,
    MetricRow,
    compare_runs,
    row_key,
)
from efface.reporting.pareto import ParetoFigure, pareto_figures
from efface.reporting.protocols import figure_anchor
from efface.reporting.sections import DIRECTIONS, Cell, Section


@dataclass(frozen=True, kw_only=True)
class FigureRow:
    """A metric over the entries of one base model, as text."""

    label: str
    arrow: str
    direction: str
    extractor: str
    samples: str
    apart: str  # on which terms, where there is a row on others
    original: Cell
    cells: list[tuple[Cell, str, list[str]]]  # with differences, and the anchors of its protocols
    differences: list[tuple[Entry, Entry, str]]  # of one entry from another, seed by seed


@dataclass(frozen=True, kw_only=True)
class BaseOverview:
    """The runs on one base model side by side."""

    anchor: str
    source: str
    digest: str
    sections: list[Section]
    entries: tuple[Entry, ...]
    anchors: dict[int, list[tuple[str, str]]]  # by number of the entry: anchors and names of runs
    rows: list[FigureRow]
    plots: list[ParetoFigure]

    @property
    def paired(self) -> bool:
        """Whether two entries have seeds in common."""
        return any(row.differences for row in self.rows)

    @property
    def repeated(self) -> bool:
        """Whether any entry stands for several seeds."""
        return any(len(entry.runs) > 1 for entry in self.entries)


def overviews(sections: Sequence[Section]) -> list[BaseOverview]:
    runs = [section.run for section in sections]
    bases = compare_runs(runs, [section.verdict.summary for section in sections])
    return [_overview(n, base, sections) for n, base in enumerate(bases, start=1)]


def _overview(number: int, base: Base, sections: Sequence[Section]) -> BaseOverview:
    members = [n for entry in base.entries for n in entry.runs]
    return BaseOverview(
        anchor=f"base-{number}",
        source=base.source,
        digest=base.digest[:SHORT],
        sections=[sections[n] for n in sorted(members)],
        entries=base.entries,
        anchors={
            entry.number: [(sections[n].anchor, sections[n].run.name) for n in entry.runs]
            for entry in base.entries
        },
        rows=[_row(row, base.entries, sections) for row in base.rows] if len(members) > 1 else [],
        plots=pareto_figures(base),
    )


def _row(row: MetricRow, entries: Sequence[Entry], sections: Sequence[Section]) -> FigureRow:
    key, unit = row.key, row.key.spec.unit
    arrow, direction = DIRECTIONS[key.spec.better]
    hows = [[_how(row, sections[n]) for n in entry.runs] for entry in entries]
    return FigureRow(
        label=key.spec.label,
        arrow=arrow,
        direction=direction,
        extractor=key.measured_with,
        samples=count_samples(key.samples),
        apart=shorten(row.apart),
        original=write_figure(row.original, unit),
        cells=[
            (
                write_figure(figure, unit),
                write_difference(figure, unit),
                [how for how in anchors if how],
            )
            for figure, anchors in zip(row.cells, hows, strict=True)
        ],
        differences=[
            (found.first, found.second, _signed(found.value, unit)) for found in row.differences
        ],
    )


def _how(row: MetricRow, section: Section) -> str:
    """The anchor of the protocol that a run measured this row by; empty where it did not."""
    for n, result in enumerate(section.run.evaluation.results):
        if row_key(section.run, result) == row.key:
            return figure_anchor(section.anchor, n)
    return ""


def count_samples(count: int) -> str:
    return f"{format_count(count)} {plural(count, 'sample')}"


def write_figure(figure: Figure | None, unit: str) -> Cell:
    """Value and interval, or the mean over seeds with its range and standard deviation."""
    if figure is None:
        return Cell(value=DASH, interval="")
    interval = format_interval(figure.low, figure.high, unit)
    if figure.spread is not None:
        interval = format_range(figure.low, figure.high, unit)
        interval += f", s.d. {format_value(figure.spread, unit)} over {len(figure.values)} seeds"
    return Cell(value=format_value(figure.value, unit), interval=interval)


def write_difference(figure: Figure | None, unit: str) -> str:
    """The mean difference from the original model over several seeds; empty for one run."""
    if figure is None or figure.difference is None:
        return ""
    return f"from the original model: {_signed(figure.difference, unit)}"


def _signed(found: Value, unit: str) -> str:
    return format_difference(found.value, found.low, found.high, unit)
