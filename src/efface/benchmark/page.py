"""The page of a benchmark: table, trade-off plots, and what strengths were chosen by."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from efface.benchmark.results import Bench, BenchFigure, BenchRow, primary
from efface.benchmark.tables import NOTE, cells, headings, name_of, seeds_of
from efface.evaluation.wording import format_number, format_value
from efface.reporting.charts import Axis, Span, Spot, spot_chart
from efface.reporting.page import templates_of
from efface.reporting.pareto import axis_of, front_of, span_of

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
COST = "Network forwards of training (less is better)"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Two figures against each other, a numbered point for every row that has both."""

    title: str
    svg: Markup
    rows: tuple[tuple[int, BenchRow], ...]


def render(bench: Bench) -> str:
    """The page as text: a pure function of `bench.json`."""
    return (
        templates_of(HERE)
        .get_template("bench.html.jinja")
        .render(
            bench=bench,
            headings=headings(bench.rows),
            lines=[cells(row, bench.rows) for row in bench.rows],
            plots=plots(bench.rows),
            note=NOTE + seeds_of(bench),
            name_of=name_of,
            format_number=format_number,
            format_value=format_value,
            policy=POLICY,
        )
    )


def plots(rows: Sequence[BenchRow]) -> list[Plot]:
    """Forgetting against every primary figure of the rest, and that against the cost."""
    figures = {figure.name: figure for row in rows for figure in primary(row)}
    forget = [figure for figure in figures.values() if figure.spec.side == "forget"]
    retain = [figure for figure in figures.values() if figure.spec.side == "retain"]
    drawn = [_trade_off(rows, x, y) for x, y in itertools.product(forget[:1], retain)]
    drawn += [_against_cost(rows, y) for y in (*forget[:1], *retain[:1])]
    return [plot for plot in drawn if plot is not None]


def _trade_off(rows: Sequence[BenchRow], x: BenchFigure, y: BenchFigure) -> Plot | None:
    points = []
    for number, row in enumerate(rows, start=1):
        across, up = row.get(x.name), row.get(y.name)
        if across is not None and up is not None:
            points.append((number, row, _span(across), _span(up)))
    title = f"{x.label} against {y.label}"
    return _plot(title, points, axis_of(x.spec, x.label), axis_of(y.spec, y.label))


def _against_cost(rows: Sequence[BenchRow], y: BenchFigure) -> Plot | None:
    points = []
    for number, row in enumerate(rows, start=1):
        cost, up = row.forwards, row.get(y.name)
        if cost is not None and up is not None:
            points.append((number, row, (cost.value, cost.low, cost.high), _span(up)))
    axis = Axis(COST, less_is_better=True)
    return _plot(f"Cost against {y.label}", points, axis, axis_of(y.spec, y.label))


def _plot(
    title: str, points: Sequence[tuple[int, BenchRow, Span, Span]], x: Axis, y: Axis
) -> Plot | None:
    if not points:
        return None
    front = front_of([(a, b) for _, row, a, b in points if row.trained], x, y)
    spots = [
        Spot(
            name=str(number),
            tone="result" if row.trained else "original",
            x=a,
            y=b,
            best=row.trained and (a, b) in front,
        )
        for number, row, a, b in points
    ]
    described = "; ".join(
        f"{spot.name}: {format_number(spot.x[0])} and {format_number(spot.y[0])}" for spot in spots
    )
    svg = spot_chart(spots, x, y, f"{title}. {described}")
    return Plot(title=title, svg=svg, rows=tuple((n, row) for n, row, _, _ in points))


def _span(figure: BenchFigure) -> Span:
    return span_of(figure.value, figure.spec)
