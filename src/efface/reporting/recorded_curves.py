"""Figures drawn: curves by threshold or budget, and a result with its whiskers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.evaluation.wording import format_interval, format_value, is_share, plural, shorten
from efface.records import Curve, Point, Result
from efface.reporting.charts import Axis, Chart, Line, Row, is_drawable, level, line_chart

DASHES = {"original": (7, 4), "retrained": (2, 3), "weak": (9, 3, 2, 3), "distilled": (5, 2)}
WAYS = ((1, 3.5), (6, 3), (10, 3, 2, 3), (3, 3), (14, 4))  # of dashes, for lines of one model
MODELS = {  # name in the record -> words, CSS class
    "result": ("this model", "result"),
    "baseline": ("original model", "original"),
    "retrained": ("retrained model", "retrained"),
    "distilled": ("distilled model", "distilled"),
    "weak": ("knowingly weak erasure", "weak"),
    "unseen": ("unseen images", "stranger"),
    "other_labels": ("original model, other labels", "plain"),
    "other_prompts": ("original model, other prompts", "plain"),
}


def name_model(name: str) -> str:
    """A line of a record in words: 'this model, sampled in many steps' of "result_multi_step"."""
    model, _ = _split(name)
    if model is None:
        return shorten(name.replace("_", " "))
    return ", ".join(filter(None, (MODELS[model][0], name_way(name))))


def name_way(name: str) -> str:
    """How a line was sampled or attacked, where it is one of several of its model."""
    model, rest = _split(name)
    if model is None or not rest:
        return ""
    words = []
    images, _, after = rest.partition("_images")
    if images.isdigit():
        words.append(f"with {images} {plural(int(images), 'image')}")
        rest = after.removeprefix("_")
    if rest == "multi_step":
        words.append("sampled in many steps")
    elif rest:
        words.append(shorten(rest.replace("_", " ")))
    return ", ".join(words)


def _split(name: str) -> tuple[str | None, str]:
    """The model of a line, and what follows its name."""
    for model in MODELS:
        if name == model or name.startswith(f"{model}_"):
            return model, name[len(model) + 1 :]
    return None, name


def recorded_chart(curve: Curve, levels: Mapping[str, float] | None = None) -> Chart | None:
    """Draw one line per model with the band of its intervals; None where there is no point."""
    lines, ways = [], dict[str, tuple[float, ...]]()
    for name, points in curve.lines.items():
        model, rest = _split(name)
        tone = "plain" if model is None else MODELS[model][1]
        rows, dashes = _rows(points, curve.log_x), DASHES.get(tone, ())
        if model is not None and rest:  # many bands would hide each other
            dashes = ways.setdefault(rest, WAYS[len(ways) % len(WAYS)])
            rows = [(x, value, value, value) for x, value, _, _ in rows]
        if rows:
            lines.append(Line(name=name_model(name), tone=tone, rows=rows, dashes=dashes))
    if not lines:
        return None
    marks = [(words, height) for words, height in (levels or {}).items() if is_drawable(height)]
    lines += [level(words, height, lines) for words, height in marks]
    x = Axis(shorten(curve.x_label), logarithmic=curve.log_x)
    y = Axis(shorten(curve.y_label), percent=is_share(curve.y_label))
    return line_chart(shorten(curve.title), lines, x, y)


def _rows(points: Sequence[Point], log_x: bool) -> list[Row]:
    """What can be plotted, from left to right; without finite ends there is no band."""
    rows = []
    for point in points:
        if not (is_drawable(point.x) and is_drawable(point.value)) or (log_x and point.x < 0):
            continue
        low, high = (v if is_drawable(v) else point.value for v in (point.low, point.high))
        rows.append((point.x, point.value, low, high))
    return sorted(rows)


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
