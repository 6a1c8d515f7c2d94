"""One self-contained HTML page about one run or several."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from efface.errors import DataError
from efface.records import Result, Value
from efface.reporting.caveats import caveats
from efface.reporting.facts import FactSheet, fact_sheets
from efface.reporting.figures import Chart, guard_chart, loss_charts, whiskers
from efface.reporting.glossary import GROUPS, Group, Term, explain
from efface.reporting.pictures import PictureTable, StripFigure, picture_table, strip_figure
from efface.reporting.run_folder import Run, read_run
from efface.reporting.verdict import Verdict, judge_run
from efface.reporting.wording import DASH, format_count, format_date, format_interval, format_value

HERE = Path(__file__).parent
DIRECTIONS: dict[bool | None, tuple[str, str]] = {
    True: ("↑", "higher is better"),
    False: ("↓", "lower is better"),
    None: ("", "neither good nor bad by itself"),
}


OTHERS: dict[str, Callable[[Result], Value | None]] = {  # columns that not every run has
    "Untouched, one step": lambda result: result.baseline_one_step,
    "Retrained": lambda result: result.retrained,
    "Unseen pictures": lambda result: result.unseen,
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    value: str
    interval: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric as a row of the table."""

    term: Term
    arrow: str
    direction: str
    result: Cell
    untouched: Cell
    others: list[Cell]  # one per column of the section
    chart: Markup | None
    samples: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything that the page says about one run."""

    anchor: str
    date: str
    run: Run
    verdict: Verdict
    groups: list[tuple[Group, list[Row]]]
    columns: list[str]  # beside this model and the untouched one
    strips: StripFigure | None
    pictures: PictureTable | None
    charts: list[Chart]
    caveats: list[str]
    sheets: list[FactSheet]


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the page about these run folders to `out`, atomically; returns it.

    Raises DataError for a folder that is no run, or a page that cannot be written.
    """
    if not runs:
        raise DataError("no run was given to report on: give the folder of at least one.")
    sections = [_section(read_run(Path(run)), n) for n, run in enumerate(runs, start=1)]
    page = render_page(sections)
    out = Path(out)
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Names may hold halves of surrogate pairs, which UTF-8 cannot write.
        part.write_bytes(page.encode("utf-8", "replace"))
        os.replace(part, out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"the report cannot be written to {out} ({error.strerror}): give another file."
        ) from error
    return out


def render_page(sections: Sequence[Section]) -> str:
    """Write the page as text: a pure function of the sections."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (HERE / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(
        sections=sections,
        single=len(sections) == 1,
        policy=content_policy(script),
        script=Markup(script),  # ours, as is: its hash is in the policy
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        icons={"good": "✓", "warn": "!", "bad": "✕"},
    )


def content_policy(script: str) -> str:
    """Nothing from the network, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _section(run: Run, number: int) -> Section:
    results = run.evaluation.results
    columns = [title for title, find in OTHERS.items() if any(find(r) for r in results)]
    rows = [_row(result, columns, run.record.request.get("kind")) for result in results]
    groups: list[tuple[Group, list[Row]]] = []
    for group in GROUPS:
        members = [row for row in rows if row.term.group == group]
        if members:
            groups.append((group, members))
    verdict = judge_run(run.record, run.evaluation, run.names)
    return Section(
        anchor=f"run-{number}",
        date=format_date(run.record.started),
        run=run,
        verdict=verdict,
        groups=groups,
        columns=columns,
        strips=strip_figure(run),
        pictures=picture_table(run.evaluation),
        charts=_charts(run),
        caveats=caveats(run.record, run.evaluation),
        sheets=fact_sheets(run.record, run.evaluation),
    )


def _charts(run: Run) -> list[Chart]:
    train = run.record.settings.get("train")
    tolerance = train.get("guard_tolerance") if isinstance(train, dict) else None
    guard = guard_chart(run.record.guard, tolerance)
    return [*loss_charts(run.curves), *([] if guard is None else [guard])]


def _row(result: Result, columns: Sequence[str], kind: Any) -> Row:
    arrow, direction = DIRECTIONS[result.higher_is_better]
    return Row(
        term=explain(result.metric, kind),
        arrow=arrow,
        direction=direction,
        result=_cell(Value(value=result.value, low=result.low, high=result.high), result.unit),
        untouched=_cell(result.baseline, result.unit),
        others=[_cell(OTHERS[title](result), result.unit) for title in columns],
        chart=whiskers(result),
        samples=format_count(result.samples),
    )


def _cell(value: Value | None, unit: str) -> Cell:
    if value is None:
        return Cell(value=DASH, interval="")
    return Cell(
        value=format_value(value.value, unit),
        interval=format_interval(value.low, value.high, unit),
    )
