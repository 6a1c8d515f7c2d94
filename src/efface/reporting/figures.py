"""Inline SVG: the curves of a run. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from efface.evaluation.wording import format_number
from efface.reporting.axes import Axis, Frame, draw_svg, widen
from efface.reporting.run_folder import Curves

Points = Sequence[tuple[float, float]]
Row = tuple[float, float, float, float]  # x, value, and the ends of its range or interval

FRAME = Frame(width=400, height=190, left=46, right=10, top=10, bottom=24)
BINS = 90  # a curve with more points is shown as mean and range of so many stretches
LOG_RANGE = 50.0  # positive values that spread wider than this get a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    tone: str  # CSS class: retain, forget, plain, or a model's
    points: Points


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure with its caption; `lines` are named in a legend when there are several."""

    caption: str
    lines: tuple[Line, ...]
    svg: Markup
    logarithmic: bool
    limited: bool = False  # whether it shows the guard's limit


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
        # A side without rows is logged as zeros.
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
    """Energy distance to the original model's samples, with the limit that the guard allows."""
    points = [(g["step"], g["distance"]) for g in guard if {"step", "distance"} <= g.keys()]
    points = [p for p in points if all(map(math.isfinite, p))]
    if not points:
        return None
    limit = None
    if isinstance(tolerance, (int, float)):
        limit = min(distance for _, distance in points) + tolerance
    line = Line(name="distance", tone="plain", points=points)
    return line_chart("guard: distance from the original model", [line], limit)


def line_chart(caption: str, lines: Sequence[Line], limit: float | None = None) -> Chart:
    """Curves over the steps; `limit` is a dashed line."""
    thinned = [_thin(line.points) for line in lines]
    values = [v for rows in thinned for row in rows for v in row[1:]]
    values += [] if limit is None else [limit]
    logarithmic = min(values) > 0 and max(values) > LOG_RANGE * min(values)
    y = FRAME.up(*widen(values, logarithmic), logarithmic)
    steps = [step for line in lines for step, _ in line.points]
    x = FRAME.across(min(steps), max(max(steps), min(steps) + 1))
    drawn = [draw_curve(line.tone, rows, x, y) for line, rows in zip(lines, thinned, strict=True)]
    marks = Markup("").join([FRAME.rules(x, y), *drawn])
    if limit is not None:
        marks += FRAME.horizontal("limit", y.at(limit))
    label = f"{caption}, steps {format_number(x.low)} to {format_number(x.high)}. " + "; ".join(
        f"{line.name}: first {format_number(line.points[0][1])}, "
        f"last {format_number(line.points[-1][1])}"
        for line in lines
    )
    return Chart(
        caption=caption,
        lines=tuple(lines),
        svg=draw_svg("chart", FRAME.width, FRAME.height, label, marks),
        logarithmic=logarithmic,
        limited=limit is not None,
    )


def _thin(points: Points) -> list[Row]:
    """(step, mean, least, greatest) of at most BINS stretches."""
    size = max(1, math.ceil(len(points) / BINS))
    rows = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        ys = [y for _, y in part]
        rows.append((sum(x for x, _ in part) / len(part), sum(ys) / len(ys), min(ys), max(ys)))
    return rows


def draw_curve(tone: str, rows: Sequence[Row], x: Axis, y: Axis) -> Markup:
    """A line with a shade from the third to the fourth number of each row; one row is a dot."""

    def path(column: int, order: Callable[[Any], Any] = iter) -> str:
        return " ".join(f"{x.at(row[0])},{y.at(row[column])}" for row in order(rows))

    if len(rows) == 1:
        at = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>')
        return at.format(tone, x.at(rows[0][0]), y.at(rows[0][1]))
    band = Markup("")
    if any(row[2] != row[3] for row in rows):
        area = f"{path(2)} {path(3, reversed)}"
        band = Markup('<polygon class="band {}" points="{}"/>').format(tone, area)
    curve = Markup('<polyline class="curve {}" points="{}"/>')
    return band + curve.format(tone, path(1))
