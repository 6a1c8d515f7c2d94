"""Everything that the page says about one run, ready to be laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from efface.evaluation.wording import (
    DASH,
    format_count,
    format_date,
    format_interval,
    format_value,
)
from efface.records import Evaluation, Result, Side, Spec, Value
from efface.reporting.attack_figures import AttackFigure, attack_figures
from efface.reporting.charts import Chart
from efface.reporting.facts import FactSheet, fact_sheets
from efface.reporting.findings import is_unchanged
from efface.reporting.image_table import ImageTable, StripFigure, image_table, strip_figure
from efface.reporting.label_matrix import LabelFigure, label_figure
from efface.reporting.protocols import (
    Protocol,
    change_anchor,
    curve_anchor,
    figure_anchor,
    protocols,
)
from efface.reporting.recorded_curves import recorded_chart
from efface.reporting.run_folder import Run
from efface.reporting.training_curves import guard_chart, loss_charts
from efface.reporting.verdict import Verdict, judge_run
from efface.reporting.whiskers import Whiskers, whiskers

DIRECTIONS: dict[str | None, tuple[str, str]] = {
    "more": ("↑", "higher is better"),
    "less": ("↓", "lower is better"),
    "zero": ("→0", "best at 0"),
    None: ("", "neither good nor bad by itself"),
}
GROUPS: dict[Side, str] = {"forget": "Forget set", "retain": "Retained"}
OTHERS: dict[str, Callable[[Result], Value | None]] = {  # columns that not every run has
    "Original, one step": lambda result: result.baseline_one_step,
    "Retrained": lambda result: result.retrained,
    "Distilled": lambda result: result.distilled,
    "Unseen images": lambda result: result.unseen,
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    value: str
    interval: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric as a row of the table."""

    spec: Spec
    arrow: str
    direction: str
    result: Cell
    original: Cell
    others: list[Cell]  # one per column of the section
    chart: Whiskers | None
    samples: str
    how: str  # anchor of its protocol


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything that the page says about one run."""

    anchor: str
    date: str
    run: Run
    verdict: Verdict
    groups: list[tuple[str, list[Row]]]
    columns: list[str]  # beside this model and the original one
    strips: StripFigure | None
    images: ImageTable | None
    labels: LabelFigure | None
    curves: list[tuple[Chart, str]]  # with the anchor of the protocol
    attacks: list[AttackFigure]
    charts: list[Chart]
    caveats: list[str]
    protocols: list[Protocol]
    sheets: list[FactSheet]
    sources: dict[str, str]  # what a card was read from -> anchor
    guarded: dict[str, str]  # title of a card or line that rests on change and guards -> anchor


def make_section(run: Run, number: int) -> Section:
    anchor = f"run-{number}"
    record, results = run.record, run.evaluation.results
    columns = [title for title, find in OTHERS.items() if any(find(r) for r in results)]
    verdict = judge_run(record, run.evaluation, run.names, run.attacks)
    return Section(
        anchor=anchor,
        date=format_date(record.started),
        run=run,
        verdict=verdict,
        groups=_groups(anchor, results, columns),
        columns=columns,
        strips=strip_figure(run),
        images=image_table(run.evaluation),
        labels=label_figure(run.evaluation.labels_seen, run.forgotten, run.names),
        curves=_curves(anchor, run),
        attacks=attack_figures(anchor, verdict.resistance),
        charts=_charts(run),
        caveats=[*verdict.caveats, *_missing_sheets(run)],
        protocols=protocols(anchor, run),
        sheets=fact_sheets(record),
        sources=_sources(anchor, results, bool(verdict.resistance.findings)),
        guarded=_guarded(anchor, run.evaluation),
    )


def _missing_sheets(run: Run) -> list[str]:
    if run.sheets is not None or not run.evaluation.results:
        return []
    return [
        "The samples before and after that belong to these figures are not in the run folder: "
        "`efface evaluate` generates them again."
    ]


def _groups(
    anchor: str, results: Sequence[Result], columns: Sequence[str]
) -> list[tuple[str, list[Row]]]:
    rows = [
        figure_row(result, columns, figure_anchor(anchor, n)) for n, result in enumerate(results)
    ]
    groups = [(title, [r for r in rows if r.spec.side == side]) for side, title in GROUPS.items()]
    return [(title, members) for title, members in groups if members]


def figure_row(result: Result, columns: Sequence[str] = (), how: str = "") -> Row:
    arrow, direction = DIRECTIONS[result.spec.better]
    return Row(
        spec=result.spec,
        arrow=arrow,
        direction=direction,
        result=_cell(result.own, result.unit),
        original=_cell(result.baseline, result.unit),
        others=[_cell(OTHERS[title](result), result.unit) for title in columns],
        chart=whiskers(result),
        samples=format_count(result.samples),
        how=how,
    )


def _cell(value: Value | None, unit: str) -> Cell:
    if value is None:
        return Cell(value=DASH, interval="")
    return Cell(
        value=format_value(value.value, unit),
        interval=format_interval(value.low, value.high, unit),
    )


def _curves(anchor: str, run: Run) -> list[tuple[Chart, str]]:
    charts = [recorded_chart(curve) for curve in run.evaluation.curves]
    return [(chart, curve_anchor(anchor, n)) for n, chart in enumerate(charts) if chart is not None]


def _charts(run: Run) -> list[Chart]:
    train = run.record.settings.get("train")
    tolerance = train.get("guard_tolerance") if isinstance(train, dict) else None
    guard = guard_chart(run.record.guard, tolerance)
    return [*loss_charts(run.curves), *([] if guard is None else [guard])]


def _sources(anchor: str, results: Sequence[Result], attacked: bool) -> dict[str, str]:
    sources = {result.metric: figure_anchor(anchor, n) for n, result in enumerate(results)}
    if attacked:
        sources["attacks"] = f"{anchor}-attacks"
    return sources | {"run": f"{anchor}-facts-run"}


def _guarded(anchor: str, evaluation: Evaluation) -> dict[str, str]:
    titles = []
    if evaluation.broken:
        titles = ["Retained", "Retain"]
    elif is_unchanged(evaluation):
        titles = ["Forgotten", "Forget"]
    return dict.fromkeys(titles, change_anchor(anchor))
