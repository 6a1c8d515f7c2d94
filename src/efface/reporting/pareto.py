"""Forget against retain: one point per entry of a base model."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from efface.evaluation.wording import format_value, is_share
from efface.records import Side, Spec, Value
from efface.reporting.charts import Axis, Span, Spot, spot_chart
from efface.reporting.comparison import Base, Entry, Figure, MetricRow


@dataclass(frozen=True, kw_only=True)
class Dot:
    entry: Entry
    forget: Span
    retain: Span
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
        (entry, span_of(own, x.key.spec), span_of(rest, y.key.spec))
        for entry, own, rest in zip(base.entries, x.cells, y.cells, strict=True)
        if own is not None and rest is not None
    ]
    front = front_of([(own, rest) for _, own, rest in found], _axis(x), _axis(y))
    return tuple(
        Dot(entry=entry, forget=own, retain=rest, best=(own, rest) in front)
        for entry, own, rest in found
    )


def span_of(figure: Figure | Value, spec: Spec) -> Span:
    """A figure with its ends; of one that is best at 0, the distance from it."""
    if spec.better != "zero":
        return figure.value, figure.low, figure.high
    ends = sorted((abs(figure.low), abs(figure.high)))
    return abs(figure.value), 0.0 if figure.low <= 0 <= figure.high else ends[0], ends[1]


def axis_of(spec: Spec, label: str) -> Axis:
    less = spec.better != "more"
    label = f"{label} ({'less' if less else 'more'} is better)"
    return Axis(label, percent=is_share(spec.unit), less_is_better=less)


def front_of(points: Sequence[tuple[Span, Span]], x: Axis, y: Axis) -> list[tuple[Span, Span]]:
    """The points that no other beats: better at one and at least as good at the other."""
    merits = [(_merit(a, x), _merit(b, y)) for a, b in points]
    return [
        point
        for point, (own, rest) in zip(points, merits, strict=True)
        if not any(a >= own and b >= rest and (a, b) != (own, rest) for a, b in merits)
    ]


def _merit(span: Span, axis: Axis) -> float:
    return -span[0] if axis.less_is_better else span[0]


def _draw(figure: ParetoFigure) -> Markup:
    """Bars are intervals, or ranges over seeds."""
    x, y, dots = figure.forget, figure.retain, figure.dots
    original = [span_of(row.original, row.key.spec) for row in (x, y)]
    spots = [Spot(name="original", tone="original", x=original[0], y=original[1], best=False)]
    spots += [
        Spot(name=str(dot.entry.number), tone="result", x=dot.forget, y=dot.retain, best=dot.best)
        for dot in dots
    ]
    points = "; ".join(
        f"{dot.entry.number}: {format_value(dot.forget[0], x.key.spec.unit)} and "
        f"{format_value(dot.retain[0], y.key.spec.unit)}"
        for dot in dots
    )
    across, up = _axis(x), _axis(y)
    return spot_chart(spots, across, up, f"{across.label} against {up.label}. {points}")


def _axis(row: MetricRow) -> Axis:
    spec = row.key.spec
    return axis_of(spec, f"{spec.label}, distance from 0" if spec.better == "zero" else spec.label)
