"""Dot-and-whisker marks: a result and all that it is to be compared with, on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from efface.evaluation.wording import format_interval, format_value, is_share
from efface.records import Result, Value
from efface.reporting.axes import Axis, draw_line, draw_svg, nice, write
from efface.reporting.recorded_curves import MODELS

WHISKER_WIDTH, LANE, PAD = 220, 14, 8
SQUARE = 3.5  # half of a side
LEAST_SPAN = 0.1  # of a share's axis, so that a small difference does not look like a large one
LEAST_PART = 0.3  # the same for other units, as a part of the greatest number


def whiskers(result: Result) -> Markup | None:
    """Draw the result and all that it is to be compared with on one axis.

    None if a number of the result or the original model is not finite.
    """
    own = Value(value=result.value, low=result.low, high=result.high)
    values = {"result": own, "baseline": result.baseline}
    if not all(map(_is_finite, values.values())):
        return None
    more = {"retrained": result.retrained, "distilled": result.distilled, "unseen": result.unseen}
    values |= {k: value for k, value in more.items() if value is not None and _is_finite(value)}
    rows = [(*MODELS[name], value) for name, value in values.items()]
    numbers = [v for _, _, row in rows for v in (row.value, row.low, row.high)]
    axis = _whisker_axis(numbers, result.unit)
    bottom = LANE * len(rows) + 3
    marks = _scale(axis, bottom)
    for lane, (_, kind, row) in enumerate(rows):
        marks += _whisker(kind, row, axis, LANE * (lane + 0.5))
    label = "; ".join(
        f"{name} {format_value(row.value, result.unit)} "
        f"({format_interval(row.low, row.high, result.unit)})"
        for name, _, row in rows
    )
    return draw_svg("whiskers", WHISKER_WIDTH, bottom + 14, label, marks)


def _is_finite(row: Value) -> bool:
    return all(map(math.isfinite, (row.value, row.low, row.high)))


def _whisker_axis(numbers: Sequence[float], unit: str) -> Axis:
    """Choose round ends around all numbers, not too near to each other."""
    low, high = min(numbers), max(numbers)
    least = LEAST_SPAN if is_share(unit) else LEAST_PART * max(abs(low), abs(high)) or 1.0
    spare = max(0.0, least - (high - low)) / 2
    first, last = low - spare, high + spare
    step = nice((last - first) / 4)
    first, last = math.floor(first / step + 1e-9) * step, math.ceil(last / step - 1e-9) * step
    if low >= 0:
        first = max(first, 0.0)
    if is_share(unit):
        last = min(last, 1.0)
    return Axis(low=first, high=last, logarithmic=False, start=PAD, end=WHISKER_WIDTH - PAD,
                percent=is_share(unit))  # fmt: skip


def _scale(axis: Axis, bottom: float) -> Markup:
    parts = [draw_line("axis", (axis.start, axis.end), (bottom, bottom))]
    for kind, value in (("", axis.low), ("end", axis.high)):
        parts.append(write(f"tick {kind}", axis.at(value), bottom + 11, axis.label(value)))
    return Markup("").join(parts)


def _whisker(kind: str, row: Value, axis: Axis, y: float) -> Markup:
    low, high, at = axis.at(row.low), axis.at(row.high), axis.at(row.value)
    marks = draw_line(f"whisker {kind}", (low, high), (y, y))
    if kind in ("result", "original"):
        mark = Markup('<circle class="mark {}" cx="{}" cy="{}" r="4"/>')
        return marks + mark.format(kind, at, y)
    mark = Markup('<rect class="mark {}" x="{}" y="{}" width="{}" height="{}"/>')
    return marks + mark.format(kind, round(at - SQUARE, 2), y - SQUARE, 2 * SQUARE, 2 * SQUARE)
