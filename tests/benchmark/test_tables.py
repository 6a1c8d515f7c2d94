"""Tables say the same in every form, and hold no text that does more than stand there."""

from __future__ import annotations

import csv
import io

from rich.console import Console

from efface.benchmark.tables import (
    as_markdown,
    as_table_csv,
    as_terminal,
    cells,
    columns,
    headings,
    name_of,
    seeds_of,
)
from tests.benchmark.conftest import Made


def test_both_views_of_quality_and_the_worst_class_have_columns(whole: Made) -> None:
    first, beside = ([f.spec.name for f in some] for some in columns(whole.bench.rows))
    assert first == ["class_rate", "retained_accuracy", "fd", "fd"]
    assert beside == ["worst_class", "recall", "recall"]
    titles = headings(whole.bench.rows)
    assert titles[-5:-3] == ["forwards", "time"] and any("Recall (pixels" in t for t in titles)


def test_a_class_is_named_where_it_is_the_worst_of_all_rows(whole: Made) -> None:
    def titles(*labels: str) -> list[str]:
        rows = []
        for row, label in zip(whole.bench.rows, labels, strict=False):
            figures = [
                figure.model_copy(update={"spec": figure.spec.model_copy(update={"label": label})})
                for figure in row.figures
                if figure.spec.name == "worst_class"
            ]
            rows.append(row.model_copy(update={"figures": figures}))
        return headings(rows)[-1:]

    assert titles("Worst class (3)", "Worst class (3)") == ["Worst class (3) ↑"]
    assert titles("Worst class (3)", "Worst class (5)") == ["Worst class ↑"]


def test_every_row_has_a_cell_for_every_heading(whole: Made) -> None:
    rows = whole.bench.rows
    assert {len(cells(row, rows)) for row in rows} == {len(headings(rows))}
    assert cells(rows[0], rows)[-5:-3] == [("–", "")] * 2
    forwards = cells(rows[-1], rows)[-5]
    assert forwards[1] == "2 steps"


def test_the_terminal_shows_every_row(whole: Made) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(as_terminal(whole.bench))
    text = console.export_text()
    assert "untouched" in text and "one step" in text and "redirection at" in text


def test_markdown_is_a_table_whatever_a_row_is_called(whole: Made) -> None:
    rows = [row.model_copy(update={"name": "a | `b` <i>"}) for row in whole.bench.rows]
    text = as_markdown(whole.bench.model_copy(update={"rows": rows}))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(lines) == 2 + len(rows) and len(bars) == 1 and "<i>" not in text
    assert whole.bench.command in text and "Student" in text


def test_csv_has_a_line_for_every_row_request_and_figure(whole: Made) -> None:
    found = list(csv.DictReader(io.StringIO(as_table_csv(whole.bench))))
    assert len(found) == sum(len(row.figures) for row in whole.bench.rows)
    first = found[0]
    figure = whole.bench.rows[0].figures[0]
    assert float(first["value"]) == figure.value.value and first["metric"] == figure.spec.name
    assert {line["request"] for line in found} == {"all requests", "label 2"}


def test_a_row_is_named_with_its_strength_and_marked_on_the_front(whole: Made) -> None:
    row = whole.bench.rows[-1].model_copy(update={"front": True, "strength": 0.5})
    assert name_of(row) == "redirection at 0.5 *"
    assert seeds_of(whole.bench).startswith("Seeds 10; ")
