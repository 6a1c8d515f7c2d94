"""Forget against retain: one point per entry of a base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from efface.evaluation.wording import format_value, is_share
from efface.records import Side
from efface.reporting.axes import Axis, Frame, draw_line, draw_svg, write
from efface.reporting.comparison import Base, Entry, Figure, MetricRow

FRAME = Frame(width=520, height=380, left=56, right=18, top=34, bottom=50)
LINE = 18  # height of a line of the key
STYLE = """
svg { color-scheme: light dark; --ink: #14171c; --soft: #59616e; --line: #e2e5ea; --own: #2b50c8; --paper: #fff; }
@media (prefers-color-scheme: dark) { svg { --ink: #e9ebef; --soft: #a0a8b5; --line: #2c313a; --own: #8fabff; --paper: #111317; background: #111317; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); } .middle { text-anchor: middle; } .end { text-anchor: end; }
.rule { stroke: var(--line); } .key, .number { fill: var(--ink); } .number { font-weight: 650; text-anchor: middle; }
.bar { stroke-width: 1.5; opacity: .5; } .bar.result { stroke: var(--own); } .bar.original, .mark { stroke: var(--soft); } .mark { stroke-width: 2; fill: var(--paper); }
.point { stroke: var(--own); stroke-width: 2; fill: var(--paper); } .best { fill: var(--own); }
.front { fill: none; stroke: var(--own); stroke-width: 1.5; stroke-dasharray: 4 4; }
"""  # noqa: E501
NUMBER = 14  # room that a number needs


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
    svg: Markup


def pareto_figures(base: Base) -> list[ParetoFigure]:
    """One figure per kind of request with two entries or more that were measured alike."""
    labels = dict.fromkeys(row.key.request for row in base.rows)
    figures = [
        _pareto(base, [row for row in base.rows if row.key.request == label]) for label in labels
    ]
    return [figure for figure in figures if figure is not None]


def _pareto(base: Base, rows: Sequence[MetricRow]) -> ParetoFigure | None:
    pairs = [
        (_count_both(x, y), x, y)
        for x in _primary(rows, "forget")
        for y in _primary(rows, "retain")
        if x.key.terms == y.key.terms
    ]
    count, x, y = max(pairs, key=lambda pair: pair[0], default=(0, None, None))
    if count < 2 or x is None or y is None:
        return None
    found = [
        (entry, _sized(x, own), rest)
        for entry, own, rest in zip(base.entries, x.cells, y.cells, strict=True)
        if own is not None and rest is not None
    ]
    merits = [(_merit(x, own), _merit(y, rest)) for _, own, rest in found]
    dots = tuple(
        Dot(entry=entry, forget=own, retain=rest, best=not _is_dominated(merit, merits))
        for (entry, own, rest), merit in zip(found, merits, strict=True)
    )
    svg = draw_svg("pareto", FRAME.width, FRAME.height, _describe(x, y, dots), _draw(x, y, dots))
    return ParetoFigure(forget=x, retain=y, dots=dots, svg=svg)


def _primary(rows: Sequence[MetricRow], side: Side) -> list[MetricRow]:
    return [r for r in rows if (r.key.spec.role, r.key.spec.side) == ("primary", side)]


def _count_both(x: MetricRow, y: MetricRow) -> int:
    return sum(a is not None and b is not None for a, b in zip(x.cells, y.cells, strict=True))


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


def name_axis(row: MetricRow) -> str:
    name = row.key.spec.label
    if row.key.spec.better == "zero":
        name += ", distance from 0"
    return f"{name} ({'more' if is_more_better(row) else 'less'} is better)"


def stand_alone(figure: ParetoFigure) -> str:
    """The figure as a file of its own: with its colours, and the names of its points below."""
    marks = Markup("<style>{}</style>").format(Markup(STYLE))
    marks += _draw(figure.forget, figure.retain, figure.dots)
    for n, dot in enumerate(figure.dots):
        words = f"{dot.entry.number}. {dot.entry.name}{' (unbeaten)' if dot.best else ''}"
        marks += write("key", FRAME.left, FRAME.height + LINE * (n + 0.5), words)
    label = _describe(figure.forget, figure.retain, figure.dots)
    height = FRAME.height + LINE * (len(figure.dots) + 0.5)
    svg = draw_svg("pareto", FRAME.width, height, label, marks)
    return str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _draw(x: MetricRow, y: MetricRow, dots: Sequence[Dot]) -> Markup:
    """Better lies to the right and above; bars are intervals, or ranges over seeds."""
    original = (_sized(x, x.original), y.original)
    across, up = (
        _axis(row, [*(pick(dot) for dot in dots), other])
        for row, pick, other in (
            (x, lambda dot: dot.forget, original[0]),
            (y, lambda dot: dot.retain, original[1]),
        )
    )
    marks = FRAME.rules(across, up, under=FRAME.bottom - 18)
    marks += write("tick start", 4, 14, f"↑ {name_axis(y)}")
    middle = (FRAME.left + FRAME.width - FRAME.right) / 2
    marks += write("tick middle", middle, FRAME.height - 8, f"{name_axis(x)} →")
    marks += _front(dots, across, up)
    marks += _cross("original", original, across, up)
    marks += Markup('<circle class="mark original" cx="{}" cy="{}" r="5"/>').format(
        across.at(original[0].value), up.at(original[1].value)
    )
    taken: list[tuple[float, float]] = []
    for dot in dots:
        marks += _cross("result", (dot.forget, dot.retain), across, up)
        at = across.at(dot.forget.value), up.at(dot.retain.value)
        disc = Markup('<circle class="point {}" cx="{}" cy="{}" r="5"/>')
        marks += disc.format("best" if dot.best else "other", *at)
        taken.append(_free(at, taken))
        marks += write("number", *taken[-1], str(dot.entry.number))
    return marks


def _free(at: tuple[float, float], taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A place for a number beside its dot where no other number stands."""
    x, y = at[0] - 8, at[1] - 8
    while any(abs(x - a) < NUMBER and abs(y - b) < NUMBER for a, b in taken):
        y += NUMBER
    return x, y


def _axis(row: MetricRow, figures: Sequence[Figure]) -> Axis:
    """Round the ends outwards; better is always at the far end."""
    low, high = min(f.low for f in figures), max(f.high for f in figures)
    room = 0.08 * ((high - low) or abs(high) or 1.0)
    low, high = (low - room if low else low), high + room
    if not is_more_better(row):
        low, high = high, low
    percent = is_share(row.key.spec.unit)
    place = FRAME.across if row.key.spec.side == "forget" else FRAME.up
    return place(low, high, percent=percent)


def _cross(kind: str, figures: tuple[Figure, Figure], x: Axis, y: Axis) -> Markup:
    forget, retain = figures
    at = x.at(forget.value), y.at(retain.value)
    bars = draw_line(f"bar {kind}", (x.at(forget.low), x.at(forget.high)), (at[1], at[1]))
    return bars + draw_line(f"bar {kind}", (at[0], at[0]), (y.at(retain.low), y.at(retain.high)))


def _front(dots: Sequence[Dot], x: Axis, y: Axis) -> Markup:
    places = sorted((x.at(d.forget.value), y.at(d.retain.value)) for d in dots if d.best)
    if len(places) < 2:
        return Markup("")
    points = " ".join(f"{a},{b}" for a, b in places)
    return Markup('<polyline class="front" points="{}"/>').format(points)


def _describe(x: MetricRow, y: MetricRow, dots: Sequence[Dot]) -> str:
    points = "; ".join(
        f"{dot.entry.number}: {format_value(dot.forget.value, x.key.spec.unit)} and "
        f"{format_value(dot.retain.value, y.key.spec.unit)}"
        for dot in dots
    )
    return f"{name_axis(x)} against {name_axis(y)}. {points}"
