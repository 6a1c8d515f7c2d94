"""The curves of a training run: losses, gradient norms, and how far the guard found it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from efface.records import RunRecord
from efface.reporting.charts import Axis, Chart, Line, is_drawable, level, line_chart
from efface.reporting.run_folder import Curves

BINS = 90  # a curve with more points is shown as mean and range of so many stretches
SIDES = ("retain", "forget")
LOG_RANGE = 50.0  # positive values that spread wider than this get a logarithmic axis


def training_charts(curves: Curves, record: RunRecord) -> list[Chart]:
    """All charts of a run, in the order in which their curves were logged."""
    train = record.settings.get("train")
    tolerance = train.get("guard_tolerance") if isinstance(train, dict) else None
    charts = [*loss_charts(curves), guard_chart(record.guard, tolerance)]
    return [chart for chart in charts if chart is not None]


def loss_charts(curves: Curves) -> list[Chart | None]:
    """Losses and gradient norm of every phase."""
    ends = ("_retain_loss", "_forget_loss")
    phases = [name.removesuffix(end) for name in curves for end in ends if name.endswith(end)]
    charts = []
    for phase in dict.fromkeys(phases):
        name = phase.replace("_", " ")
        losses = [_line(side, side, curves.get(f"{phase}_{side}_loss")) for side in SIDES]
        # A side without rows is logged as zeros.
        shown = [line for line in losses if any(any(row[1:]) for row in line.rows)] or losses
        norm = _line("gradient norm", "plain", curves.get(f"{phase}_gradient_norm"))
        charts += [_chart(f"{name}: loss", shown), _chart(f"{name}: gradient norm", [norm])]
    return charts


def guard_chart(guard: Sequence[dict[str, float]], tolerance: Any) -> Chart | None:
    """Energy distance to the original model's samples, with the limit that the guard allows."""
    points = [(g["step"], g["distance"]) for g in guard if {"step", "distance"} <= g.keys()]
    lines = [_line("distance", "plain", points)]
    if lines[0].rows and isinstance(tolerance, (int, float)):
        limit = min(least for _, _, least, _ in lines[0].rows) + tolerance
        lines += [level("limit", "bad", limit, lines)] if is_drawable(limit) else []
    return _chart("guard: distance from the original model", lines)


def _line(name: str, tone: str, points: Sequence[tuple[float, float]] | None) -> Line:
    """Step, mean, least and greatest value of at most BINS stretches."""
    points = [point for point in points or () if all(map(is_drawable, point))]
    size = max(1, math.ceil(len(points) / BINS))
    rows = []
    for start in range(0, len(points), size):
        xs, ys = zip(*points[start : start + size], strict=True)
        rows.append((sum(xs) / len(xs), sum(ys) / len(ys), min(ys), max(ys)))
    return Line(name=name, tone=tone, rows=rows)


def _chart(caption: str, lines: Sequence[Line]) -> Chart | None:
    """None where there is nothing to draw."""
    lines = [line for line in lines if line.rows]
    values = [value for line in lines for row in line.rows for value in row[1:]]
    if not values:
        return None
    logarithmic = min(values) > 0 and max(values) > LOG_RANGE * min(values)
    return line_chart(caption, lines, Axis("step"), Axis("", logarithmic=logarithmic))
