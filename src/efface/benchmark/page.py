"""The page of a benchmark: table, trade-off plots, and what strengths were chosen by."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from efface.benchmark.results import Bench, BenchFigure, BenchRow, primary
from efface.benchmark.tables import NOTE, cells, headings, name_of, seeds_of
from efface.evaluation.wording import format_number, format_value, is_share
from efface.records import Value
from efface.reporting.charts import Axis, Span, Spot, spot_chart
from efface.reporting.page import templates_of

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
    return _plot(title, points, _axis(x), _axis(y))


def _against_cost(rows: Sequence[BenchRow], y: BenchFigure) -> Plot | None:
    points = []
    for number, row in enumerate(rows, start=1):
        up = row.get(y.name)
        if row.forwards is not None and up is not None:
            points.append((number, row, _ends(row.forwards), _span(up)))
    return _plot(f"Cost against {y.label}", points, Axis(COST, less_is_better=True), _axis(y))


def _plot(
    title: str, points: Sequence[tuple[int, BenchRow, Span, Span]], x: Axis, y: Axis
) -> Plot | None:
    if not points:
        return None
    trained = [(_merit(a, x), _merit(b, y)) for _, row, a, b in points if row.trained]
    spots = [
        Spot(
            name=str(number),
            tone="result" if row.trained else "original",
            x=a,
            y=b,
            best=row.trained and _is_best((_merit(a, x), _merit(b, y)), trained),
        )
        for number, row, a, b in points
    ]
    described = "; ".join(
        f"{spot.name}: {format_number(spot.x[0])} and {format_number(spot.y[0])}" for spot in spots
    )
    svg = spot_chart(spots, x, y, f"{title}. {described}")
    return Plot(title=title, svg=svg, rows=tuple((n, row) for n, row, _, _ in points))


def _is_best(own: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    return not any(a >= own[0] and b >= own[1] and (a, b) != own for a, b in others)


def _merit(span: Span, axis: Axis) -> float:
    return -span[0] if axis.less_is_better else span[0]


def _ends(value: Value) -> Span:
    return value.value, value.low, value.high


def _span(figure: BenchFigure) -> Span:
    """Of a figure that is best at 0, the distance from it."""
    value, low, high = _ends(figure.value)
    if figure.spec.better != "zero":
        return value, low, high
    ends = sorted((abs(low), abs(high)))
    return abs(value), 0.0 if low <= 0 <= high else ends[0], ends[1]


def _axis(figure: BenchFigure) -> Axis:
    more = figure.spec.better == "more"
    label = f"{figure.label} ({'more' if more else 'less'} is better)"
    return Axis(label, percent=is_share(figure.spec.unit), less_is_better=not more)
