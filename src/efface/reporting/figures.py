"""Inline SVG: curves of a run, and dot-and-whisker marks. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from efface.records import Result, Value
from efface.reporting.run_folder import Curves
from efface.reporting.wording import SPACE, format_interval, format_number, format_value, is_share

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
BINS = 90  # a curve with more points is drawn as mean and range of so many stretches
PLAIN = (1e-3, 1e5)  # ticks outside this are written with exponents
LOG_RANGE = 50.0  # positive values that spread wider than this get a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    tone: str  # CSS class: retain, forget, plain
    points: Points


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure with its caption; `lines` are named in a legend when there are several."""

    caption: str
    lines: tuple[Line, ...]
    svg: Markup
    logarithmic: bool


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Maps values to a coordinate, and says where its ticks are."""

    low: float
    high: float
    logarithmic: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 2)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = max(1, math.ceil((last - first) / 4))
            return [10.0**power for power in range(first, last + 1, stride)]
        step = _nice((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _nice(value: float) -> float:
    """Round up to 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def loss_charts(curves: Curves) -> list[Chart]:
    """Losses and gradient norm of every phase, in the order in which they were logged."""
    charts = []
    for phase in _phases(curves):
        name = phase.replace("_", " ")
        losses = [
            Line(name=side, tone=side, points=curves[f"{phase}_{side}_loss"])
            for side in ("retain", "forget")
            if curves.get(f"{phase}_{side}_loss")
        ]
        # A side that nothing was drawn for is logged as zeros.
        losses = [line for line in losses if any(y != 0 for _, y in line.points)] or losses[:1]
        charts.append(line_chart(f"{name}: loss", losses))
        norm = curves.get(f"{phase}_gradient_norm")
        if norm:
            line = Line(name="gradient norm", tone="plain", points=norm)
            charts.append(line_chart(f"{name}: gradient norm", [line]))
    return charts


def _phases(curves: Curves) -> list[str]:
    ends = ("_retain_loss", "_forget_loss")
    found = [name.removesuffix(end) for name in curves for end in ends if name.endswith(end)]
    return list(dict.fromkeys(found))


def guard_chart(guard: Sequence[dict[str, float]], tolerance: Any) -> Chart | None:
    """Energy distance to the untouched model's samples, with the limit that the guard allows."""
    points = [(g["step"], g["distance"]) for g in guard if {"step", "distance"} <= g.keys()]
    points = [p for p in points if all(map(math.isfinite, p))]
    if not points:
        return None
    limit = None
    if isinstance(tolerance, (int, float)):
        limit = min(distance for _, distance in points) + tolerance
    line = Line(name="distance", tone="plain", points=points)
    return line_chart("guard: distance from the untouched model", [line], limit)


def line_chart(caption: str, lines: Sequence[Line], limit: float | None = None) -> Chart:
    """Curves over the steps; `limit` is a dashed line."""
    thinned = [_thin(line.points) for line in lines]
    values = [v for rows in thinned for row in rows for v in row[1:]]
    values += [] if limit is None else [limit]
    logarithmic = min(values) > 0 and max(values) > LOG_RANGE * min(values)
    y = _y_axis(values, logarithmic)
    steps = [step for line in lines for step, _ in line.points]
    x = _Axis(
        low=min(steps), high=max(max(steps), min(steps) + 1), logarithmic=False,
        start=LEFT, end=WIDTH - RIGHT,
    )  # fmt: skip
    drawn = [_curve(line, rows, x, y) for line, rows in zip(lines, thinned, strict=True)]
    marks = Markup("").join([_frame(x, y), *drawn])
    if limit is not None:
        marks += _horizontal("limit", y.at(limit))
    label = f"{caption}, steps {format_number(x.low)} to {format_number(x.high)}. " + "; ".join(
        f"{line.name}: first {format_number(line.points[0][1])}, "
        f"last {format_number(line.points[-1][1])}"
        for line in lines
    )
    svg = _svg("chart", WIDTH, HEIGHT, label, marks)
    return Chart(caption=caption, lines=tuple(lines), svg=svg, logarithmic=logarithmic)


def _y_axis(values: Sequence[float], logarithmic: bool) -> _Axis:
    low, high = min(values), max(values)
    if logarithmic:
        low, high = low / 1.3, high * 1.3
        if math.floor(math.log10(high)) - math.ceil(math.log10(low)) < 1:  # two ticks at least
            low = 10.0 ** math.floor(math.log10(low))
    else:
        low = min(low, 0.0) if low < 0 or low < 0.5 * high else low
        spread = (high - low) or abs(high) or 1.0
        low, high = (low - 0.06 * spread if low else low), high + 0.06 * spread
    return _Axis(low=low, high=high, logarithmic=logarithmic, start=HEIGHT - BOTTOM, end=TOP)


def _thin(points: Points) -> list[tuple[float, float, float, float]]:
    """(step, mean, least, greatest) of at most BINS stretches."""
    size = max(1, math.ceil(len(points) / BINS))
    rows = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        ys = [y for _, y in part]
        rows.append((sum(x for x, _ in part) / len(part), sum(ys) / len(ys), min(ys), max(ys)))
    return rows


def _curve(
    line: Line, rows: Sequence[tuple[float, float, float, float]], x: _Axis, y: _Axis
) -> Markup:
    def path(column: int, order: Callable[[Any], Any] = iter) -> str:
        return " ".join(f"{x.at(row[0])},{y.at(row[column])}" for row in order(rows))

    if len(rows) == 1:
        at = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>')
        return at.format(line.tone, x.at(rows[0][0]), y.at(rows[0][1]))
    band = Markup("")
    if any(row[2] != row[3] for row in rows):
        area = f"{path(2)} {path(3, reversed)}"
        band = Markup('<polygon class="band {}" points="{}"/>').format(line.tone, area)
    curve = Markup('<polyline class="curve {}" points="{}"/>')
    return band + curve.format(line.tone, path(1))


def _frame(x: _Axis, y: _Axis) -> Markup:
    """Horizontal rules with their values, and the steps below."""
    parts = []
    for tick in y.ticks():
        parts.append(_horizontal("rule", y.at(tick)))
        text = Markup('<text class="tick end" x="{}" y="{}">{}</text>')
        parts.append(text.format(LEFT - 6, y.at(tick) + 3.5, _tick(tick)))
    for tick in x.ticks():
        at = x.at(tick)
        text = Markup('<text class="tick {}" x="{}" y="{}">{}</text>')
        kind, at = ("middle", at) if at < WIDTH - RIGHT - 14 else ("end", WIDTH - RIGHT)
        parts.append(text.format(kind, at, HEIGHT - 6, _tick(tick)))
    return Markup("").join(parts)


def _horizontal(kind: str, y: float) -> Markup:
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    return line.format(kind, LEFT, WIDTH - RIGHT, y, y)


def _tick(value: float) -> str:
    if value and not PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.6g}" if abs(value) >= 1 else f"{value:.3g}"


def _svg(kind: str, width: float, height: float, label: str, marks: Markup) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(kind, width, height, label, label, marks)


WHISKER_WIDTH, LANE, PAD = 220, 14, 8
SQUARE = 3.5  # half of a side
LEAST_SPAN = 0.1  # of a share's axis, so that a small difference does not look like a large one
LEAST_PART = 0.3  # the same for other units, as a part of the greatest number


def whiskers(result: Result) -> Markup | None:
    """Draw the result and all that it is to be compared with on one axis.

    None if a number of the result or the untouched model is not finite.
    """
    own = Value(value=result.value, low=result.low, high=result.high)
    rows = [("result", "this model", own), ("untouched", "untouched model", result.baseline)]
    if not all(_is_finite(row) for _, _, row in rows):
        return None
    more = (
        ("retrained", "model trained without", result.retrained),
        ("stranger", "pictures never seen", result.unseen),
    )
    rows += [(kind, name, row) for kind, name, row in more if row is not None and _is_finite(row)]
    numbers = [v for _, _, row in rows for v in (row.value, row.low, row.high)]
    axis = _whisker_axis(numbers, result.unit)
    bottom = LANE * len(rows) + 3
    marks = _scale(axis, bottom, result.unit)
    for lane, (kind, _, row) in enumerate(rows):
        marks += _whisker(kind, row, axis, LANE * (lane + 0.5))
    label = "; ".join(
        f"{name} {format_value(row.value, result.unit)} "
        f"({format_interval(row.low, row.high, result.unit)})"
        for _, name, row in rows
    )
    return _svg("whiskers", WHISKER_WIDTH, bottom + 14, label, marks)


def _is_finite(row: Value) -> bool:
    return all(map(math.isfinite, (row.value, row.low, row.high)))


def _whisker_axis(numbers: Sequence[float], unit: str) -> _Axis:
    """Choose round ends around all numbers, not too near to each other."""
    low, high = min(numbers), max(numbers)
    least = LEAST_SPAN if is_share(unit) else LEAST_PART * max(abs(low), abs(high)) or 1.0
    spare = max(0.0, least - (high - low)) / 2
    first, last = low - spare, high + spare
    step = _nice((last - first) / 4)
    first, last = math.floor(first / step + 1e-9) * step, math.ceil(last / step - 1e-9) * step
    if low >= 0:
        first = max(first, 0.0)
    if is_share(unit):
        last = min(last, 1.0)
    return _Axis(low=first, high=last, logarithmic=False, start=PAD, end=WHISKER_WIDTH - PAD)


def _scale(axis: _Axis, bottom: float, unit: str) -> Markup:
    line = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    parts = [line.format(axis.start, axis.end, bottom, bottom)]
    text = Markup('<text class="tick {}" x="{}" y="{}">{}</text>')
    for kind, value in (("", axis.low), ("end", axis.high)):
        shown = f"{100 * value:.3g}{SPACE}%" if is_share(unit) else _tick(value)
        parts.append(text.format(kind, axis.at(value), bottom + 11, shown))
    return Markup("").join(parts)


def _whisker(kind: str, row: Value, axis: _Axis, y: float) -> Markup:
    low, high, at = axis.at(row.low), axis.at(row.high), axis.at(row.value)
    bar = Markup('<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    marks = bar.format(kind, low, high, y, y)
    if kind in ("result", "untouched"):
        mark = Markup('<circle class="mark {}" cx="{}" cy="{}" r="4"/>')
        return marks + mark.format(kind, at, y)
    mark = Markup('<rect class="mark {}" x="{}" y="{}" width="{}" height="{}"/>')
    return marks + mark.format(kind, round(at - SQUARE, 2), y - SQUARE, 2 * SQUARE, 2 * SQUARE)
