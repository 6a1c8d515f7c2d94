"""Dot-and-whisker marks: a result and all that it is to be compared with, on one axis."""

import math
from dataclasses import dataclass

from efface.evaluation.wording import format_interval, format_value, is_share
from efface.records import Result
from efface.reporting.recorded_curves import MODELS


@dataclass(frozen=True, kw_only=True)
class Whiskers:
    """What the page's style sheet draws: rows of CSS class, value and ends, in percent.

    The axis begins at 0, or at the least number below, and that of shares ends at 1, so that a
    small difference does not look like a large one.
    """

    rows: list[tuple[str, float, float, float]]
    ends: tuple[str, str]  # of the axis
    described: str


def whiskers(result: Result) -> Whiskers | None:
    """Lay the result out beside all that it is to be compared with.

    None if a number of the result or the original model is not finite.
    """
    found = {"result": result.own, "baseline": result.baseline, "retrained": result.retrained,
             "distilled": result.distilled, "unseen": result.unseen}  # fmt: skip
    values = {
        MODELS[name]: (v.value, v.low, v.high)
        for name, v in found.items()
        if v is not None and all(map(math.isfinite, (v.value, v.low, v.high)))
    }
    if not {MODELS["result"], MODELS["baseline"]} <= values.keys():
        return None
    numbers = [number for span in values.values() for number in span]
    first = min(0.0, *numbers)
    last = 1.0 if is_share(result.unit) else max(numbers) if max(numbers) > first else first + 1
    rows = []
    for (_, kind), span in values.items():
        at, low, high = (round(100 * (v - first) / (last - first), 2) for v in span)
        rows.append((kind, at, low, high))
    described = "; ".join(
        f"{name} {format_value(value, result.unit)} ({format_interval(low, high, result.unit)})"
        for (name, _), (value, low, high) in values.items()
    )
    ends = format_value(first, result.unit), format_value(last, result.unit)
    return Whiskers(rows=rows, ends=ends, described=described)
