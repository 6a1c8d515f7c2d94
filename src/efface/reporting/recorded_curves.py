"""Curves that an evaluation or an attack recorded: a figure against a threshold or a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from efface.evaluation.wording import format_number, plural, shorten
from efface.records import Curve, Point
from efface.reporting.axes import Axis, Frame, draw_svg, widen, write
from efface.reporting.figures import Chart, Line, Row, draw_curve

FRAME = Frame(width=420, height=236, left=46, right=12, top=26, bottom=40)
PATTERNS = 5  # of dashes, for several lines of one model
LARGEST = 1e30  # what lies beyond is not drawn
BEFORE_ZERO = 2.0  # a budget of 0 stands so many times below the least one on a logarithmic axis
CURVES = {
    "copy_curve": "How often samples come near a forgotten image, by distance",
    "similarity_curve": "How often the image is generated, by similarity",
    "threshold_curve": "How often it is found, by threshold",
    "group_threshold_curve": "How often other prompts bring it back, by threshold",
}
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
Mark = tuple[str, float]  # words and height of a horizontal line


def name_curve(name: str) -> str:
    """What a recorded curve is called, as untrusted text made fit for a caption."""
    return CURVES.get(name, shorten(name.replace("_", " ")))


def name_model(name: str) -> str:
    """A line of a record in words: 'this model, sampled in many steps' of "result_multi_step"."""
    model, _ = _split(name)
    if model is None:
        return shorten(name.replace("_", " "))
    way = name_way(name)
    return f"{MODELS[model][0]}, {way}" if way else MODELS[model][0]


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


def _tones(names: Sequence[str]) -> list[str]:
    """CSS classes: a model's colour, and a pattern of dashes for each further way."""
    tones, counted = [], dict.fromkeys(MODELS, 0)
    for name in names:
        model, rest = _split(name)
        tone = "plain" if model is None else MODELS[model][1]
        if model is not None and rest:
            tone += f" way-{counted[model] % PATTERNS + 1}"
            counted[model] += 1
        tones.append(tone)
    return tones


def recorded_chart(curve: Curve, marks: Sequence[Mark] = ()) -> Chart | None:
    """Draw one line per model with the shade of its intervals; None where there is no point."""
    rows = {name: _rows(points, curve.log_x) for name, points in curve.lines.items()}
    rows = {name: found for name, found in rows.items() if found}
    if not rows:
        return None
    x, zero = _x_axis([row[0] for found in rows.values() for row in found], curve.log_x)
    marks = [(words, height) for words, height in marks if _is_drawable(height)]
    heights = [v for found in rows.values() for row in found for v in row[1:]]
    y = _y_axis([*heights, *(height for _, height in marks)], bool(marks))
    lines = tuple(
        Line(name=name_model(name), tone=tone, points=[(row[0], row[1]) for row in found])
        for (name, found), tone in zip(rows.items(), _tones(list(rows)), strict=True)
    )
    drawn = FRAME.rules(x, y, under=FRAME.bottom - 16) + _titles(curve)
    if zero is not None:
        drawn += write("tick start", FRAME.left, FRAME.height - FRAME.bottom + 16, "0")
    for words, height in marks:
        drawn += FRAME.horizontal("aim", y.at(height))
        drawn += write("tick end", FRAME.width - FRAME.right, y.at(height) - 4, words)
    for line, found in zip(lines, rows.values(), strict=True):
        placed = [(max(row[0], x.low), *row[1:]) for row in found]
        if "way-" in line.tone:  # many shades would hide each other
            placed = [(at, value, value, value) for at, value, _, _ in placed]
        drawn += draw_curve(line.tone, placed, x, y)
    return Chart(
        caption=name_curve(curve.name),
        lines=lines,
        svg=draw_svg("chart", FRAME.width, FRAME.height, _describe(curve, lines), drawn),
        logarithmic=curve.log_x,
    )


def _is_drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < LARGEST


def _rows(points: Sequence[Point], log_x: bool) -> list[Row]:
    """What can be drawn, from left to right; without finite ends there is no shade."""
    rows = []
    for point in points:
        if not (_is_drawable(point.x) and _is_drawable(point.value)) or (log_x and point.x < 0):
            continue
        low, high = (v if _is_drawable(v) else point.value for v in (point.low, point.high))
        rows.append((point.x, point.value, low, high))
    return sorted(rows)


def _x_axis(values: Sequence[float], log_x: bool) -> tuple[Axis, float | None]:
    """The axis, and where 0 stands on it if it is logarithmic and there is a 0."""
    positive = [value for value in values if value > 0]
    if not log_x or not positive:
        low = min(values)
        return FRAME.across(low, max(max(values), low + 1e-9 * max(1.0, abs(low)))), None
    low, high = min(positive), max(positive)
    zero = low / BEFORE_ZERO if min(values) <= 0 else None
    first = low if zero is None else zero
    return FRAME.across(first, max(high, first * 1.01), True), zero


def _y_axis(values: Sequence[float], marked: bool) -> Axis:
    """Shares end at 1, but where the words of a mark need room above."""
    low, high = widen(values, False)
    if not marked and min(values) >= 0 and max(values) <= 1:
        high = min(high, 1.0)
    return FRAME.up(low, high)


def _titles(curve: Curve) -> Markup:
    label = write("tick start", 4, 12, shorten(curve.y_label))
    middle = (FRAME.left + FRAME.width - FRAME.right) / 2
    return label + write("tick middle", middle, FRAME.height - 6, shorten(curve.x_label))


def _describe(curve: Curve, lines: Sequence[Line]) -> str:
    ends = "; ".join(
        f"{line.name}: {format_number(line.points[0][1])} at {format_number(line.points[0][0])}, "
        f"{format_number(line.points[-1][1])} at {format_number(line.points[-1][0])}"
        for line in lines
    )
    return f"{shorten(curve.y_label)} against {shorten(curve.x_label)}. {ends}"
