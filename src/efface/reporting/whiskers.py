"""Dot-and-whisker marks: a result and all that it is to be compared with, on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from efface.evaluation.wording import format_interval, format_value, is_share
from efface.records import Result, Value
from efface.reporting.charts import write_tick
from efface.reporting.recorded_curves import MODELS

LEAST_SPAN = 0.1  # of a share's axis, so that a small difference does not look like a large one
LEAST_PART = 0.3  # the same for other units, as a part of the greatest number


@dataclass(frozen=True, kw_only=True)
class Whiskers:
    """What the page's style sheet draws: rows of CSS class, value and ends, in percent."""

    rows: list[tuple[str, float, float, float]]
    ends: tuple[str, str]  # of the axis
    described: str


def whiskers(result: Result) -> Whiskers | None:
    """Lay the result out beside all that it is to be compared with.

    None if a number of the result or the original model is not finite.
    """
    own = Value(value=result.value, low=result.low, high=result.high)
    found = {"result": own, "baseline": result.baseline, "retrained": result.retrained,
             "distilled": result.distilled, "unseen": result.unseen}  # fmt: skip
    values = {
        MODELS[name]: (v.value, v.low, v.high)
        for name, v in found.items()
        if v is not None and all(map(math.isfinite, (v.value, v.low, v.high)))
    }
    if not {MODELS["result"], MODELS["baseline"]} <= values.keys():
        return None
    first, last = _ends([number for span in values.values() for number in span], result.unit)
    rows = []
    for (_, kind), span in values.items():
        at, low, high = (round(100 * (v - first) / (last - first), 2) for v in span)
        rows.append((kind, at, low, high))
    described = "; ".join(
        f"{name} {format_value(value, result.unit)} ({format_interval(low, high, result.unit)})"
        for (name, _), (value, low, high) in values.items()
    )
    ends = write_tick(first, is_share(result.unit)), write_tick(last, is_share(result.unit))
    return Whiskers(rows=rows, ends=ends, described=described)


def _ends(numbers: Sequence[float], unit: str) -> tuple[float, float]:
    """Round ends around all numbers, not too near to each other."""
    low, high = min(numbers), max(numbers)
    least = LEAST_SPAN if is_share(unit) else LEAST_PART * max(abs(low), abs(high)) or 1.0
    spare = max(0.0, least - (high - low)) / 2
    step = 10.0 ** math.floor(math.log10(high - low + 2 * spare))
    first = math.floor((low - spare) / step + 1e-9) * step
    last = math.ceil((high + spare) / step - 1e-9) * step
    return max(first, 0.0) if low >= 0 else first, min(last, 1.0) if is_share(unit) else last
