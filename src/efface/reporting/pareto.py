"""Forget against retain: one point per entry of a base model."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from efface.evaluation.wording import format_value, is_share
from efface.records import Side
from efface.reporting.charts import Axis, Spot, spot_chart
from efface.reporting.comparison import Base, Entry, Figure, MetricRow


@dataclass(frozen=True, kw_only=True)
class Dot:
    entry: Entry
    forget: Figure
    retain: Figure
    best: bool  # no other is better at one and at least as good at the other


@dataclass(frozen=True, kw_only=True)
class ParetoFigure:
    forget: MetricRow
    retain: MetricRow
    dots: tuple[Dot, ...]

    @property
    def svg(self) -> Markup:
        return _draw(self)


def pareto_figures(base: Base) -> list[ParetoFigure]:
    """One figure per kind of request with two entries or more that were measured alike."""
    labels = dict.fromkeys(row.key.request for row in base.rows)
    figures = [
        _pareto(base, [row for row in base.rows if row.key.request == label]) for label in labels
    ]
    return [figure for figure in figures if figure is not None]


def _pareto(base: Base, rows: Sequence[MetricRow]) -> ParetoFigure | None:
    """Of all pairs of primary metrics the one that most entries have; None for fewer than two."""
    figures = [
        ParetoFigure(forget=x, retain=y, dots=_dots(base, x, y))
        for x in _primary(rows, "forget")
        for y in _primary(rows, "retain")
        if x.key.terms == y.key.terms
    ]
    fullest = max(figures, key=lambda figure: len(figure.dots), default=None)
    return None if fullest is None or len(fullest.dots) < 2 else fullest


def _primary(rows: Sequence[MetricRow], side: Side) -> list[MetricRow]:
    return [r for r in rows if (r.key.spec.role, r.key.spec.side) == ("primary", side)]


def _dots(base: Base, x: MetricRow, y: MetricRow) -> tuple[Dot, ...]:
    """The entries that have both."""
    found = [
        (entry, _sized(x, own), rest)
        for entry, own, rest in zip(base.entries, x.cells, y.cells, strict=True)
        if own is not None and rest is not None
    ]
    merits = [(_merit(x, own), _merit(y, rest)) for _, own, rest in found]
    return tuple(
        Dot(entry=entry, forget=own, retain=rest, best=not _is_dominated(merit, merits))
        for (entry, own, rest), merit in zip(found, merits, strict=True)
    )


def _sized(row: MetricRow, figure: Figure) -> Figure:
    """Of a figure that is best at 0, the distance from it."""
    if row.key.spec.better != "zero":
        return figure
    ends = sorted((abs(figure.low), abs(figure.high)))
    low = 0.0 if figure.low <= 0 <= figure.high else ends[0]
    return Figure(value=abs(figure.value), low=low, high=ends[1], values=figure.values)


def is_more_better(row: MetricRow) -> bool:
    return row.key.spec.better == "more"


def _merit(row: MetricRow, figure: Figure) -> float:
    return figure.value if is_more_better(row) else -figure.value


def _is_dominated(merit: tuple[float, float], all_merits: Sequence[tuple[float, float]]) -> bool:
    x, y = merit
    return any(a >= x and b >= y and (a, b) != (x, y) for a, b in all_merits)


def _draw(figure: ParetoFigure) -> Markup:
    """Bars are intervals, or ranges over seeds."""
    x, y, dots = figure.forget, figure.retain, figure.dots
    spots = [_spot("original", "original", (_sized(x, x.original), y.original), best=False)]
    spots += [_spot(str(d.entry.number), "result", (d.forget, d.retain), d.best) for d in dots]
    points = "; ".join(
        f"{dot.entry.number}: {format_value(dot.forget.value, x.key.spec.unit)} and "
        f"{format_value(dot.retain.value, y.key.spec.unit)}"
        for dot in dots
    )
    across, up = _axis(x), _axis(y)
    return spot_chart(spots, across, up, f"{across.label} against {up.label}. {points}")


def _axis(row: MetricRow) -> Axis:
    name = row.key.spec.label
    if row.key.spec.better == "zero":
        name += ", distance from 0"
    more = is_more_better(row)
    label = f"{name} ({'more' if more else 'less'} is better)"
    return Axis(label, percent=is_share(row.key.spec.unit), less_is_better=not more)


def _spot(name: str, tone: str, figures: tuple[Figure, Figure], best: bool) -> Spot:
    x, y = ((figure.value, figure.low, figure.high) for figure in figures)
    return Spot(name=name, tone=tone, x=x, y=y, best=best)
