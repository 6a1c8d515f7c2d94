"""Charts as inline SVG by matplotlib: text stays text, and colours are the page's."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from efface.evaluation.wording import SPACE, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[float, float, float, float]  # x, value, and the ends of its range or interval
Span = tuple[float, float, float]  # value, and the ends of its interval

WIDTH = 360  # about that of a phone, where text then has its size
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 24, 40
TEXT, LINE = 11, 13  # size of text, height of a line
EXTREME = 1e30  # numbers beyond it, or so near to 0, are not drawn
NO_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # characters that it forbids
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
# The page's variables, and the colour that stands for each while matplotlib draws.
TONES = (
    *("ink", "soft", "line", "paper", "plain", "result", "original"),
    *("retrained", "distilled", "stranger", "weak"),
)
COLOURS = {tone: f"#{number:06x}" for number, tone in enumerate(TONES, start=1)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "efface", "text.parse_math": False,
    "font.size": TEXT, "axes.titlesize": TEXT, "axes.titley": 1.0,
    "axes.titlelocation": "left", "xaxis.labellocation": "left",
    "axes.titlecolor": COLOURS["soft"], "axes.labelcolor": COLOURS["soft"],
    "xtick.labelcolor": COLOURS["soft"], "ytick.labelcolor": COLOURS["soft"],
    "xtick.bottom": False, "ytick.left": False, "xtick.major.pad": 7,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": COLOURS["line"], "grid.linewidth": 1,
    "lines.linewidth": 1.8, "lines.scale_dashes": False, "lines.solid_capstyle": "round",
}  # fmt: skip


@dataclass(frozen=True)
class Axis:
    label: str
    logarithmic: bool = False
    percent: bool = False  # whether its values are shares
    less_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line with a band, or a dot; the page names lines in a legend."""

    name: str
    tone: str  # one of TONES
    rows: Sequence[Row]
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point with its intervals; the best ones are filled and joined."""

    name: str
    tone: str
    x: Span
    y: Span
    best: bool


@dataclass(frozen=True, kw_only=True)
class Chart:
    caption: str
    lines: tuple[Line, ...]
    svg: Markup
    logarithmic: bool


def is_drawable(value: float) -> bool:
    return value == 0 or 1 / EXTREME < abs(value) < EXTREME


def level(name: str, height: float, lines: Sequence[Line]) -> Line:
    """A dashed horizontal line from end to end of others."""
    xs = [row[0] for line in lines for row in line.rows]
    ends = min(xs), max(max(xs), min(xs) + 1)
    rows = [(x, height, height, height) for x in ends]
    return Line(name=name, tone="soft", rows=rows, dashes=(3, 3))


def line_chart(caption: str, lines: Sequence[Line], x: Axis, y: Axis) -> Chart:
    """Draw lines with their bands."""
    values = [value for line in lines for row in line.rows for value in row[1:]]
    with _frame(200) as (figure, axes):
        if x.logarithmic:
            _scale_logarithmically(axes, [row[0] for line in lines for row in line.rows])
        for line in lines:
            _draw_line(axes, line)
        axes.margins(x=0, y=0.06)
        if 0 <= min(values) <= max(values) / 2:
            axes.set_ylim(bottom=0)
        _label(axes, x, y)
        svg = _inline(figure, f"{y.label} against {x.label}. {_describe(lines)}")
    return Chart(caption=caption, lines=tuple(lines), svg=svg, logarithmic=x.logarithmic)


def spot_chart(spots: Sequence[Spot], x: Axis, y: Axis, described: str) -> Markup:
    """Draw points with their intervals and names; better lies to the right and above."""
    best = sorted((spot.x[0], spot.y[0]) for spot in spots if spot.best)
    with _frame(260) as (figure, axes):
        axes.plot([a for a, _ in best], [b for _, b in best], "--", color=COLOURS["result"])
        for spot in spots:
            _draw_spot(axes, spot)
        axes.margins(0.08)
        axes.xaxis.set_inverted(x.less_is_better)
        axes.yaxis.set_inverted(y.less_is_better)
        _label(axes, x, y)
        taken: list[tuple[float, float]] = []
        for spot in spots:
            at, up = axes.transData.transform((spot.x[0], spot.y[0]))
            while any(abs(at - a) < LINE and abs(up - b) < LINE for a, b in taken):
                up -= LINE
            taken.append((at, up))
            place = (at + 8, up + 4)
            axes.annotate(spot.name, place, xycoords="figure pixels", color=COLOURS[spot.tone])
        return _inline(figure, described)


@contextmanager
def _frame(height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty chart, and our style while it is made, whatever the user's is."""
    from matplotlib import style  # half a second, and not every page has a chart
    from matplotlib.figure import Figure

    with style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, frameon=False)
        size = (WIDTH - LEFT - RIGHT) / WIDTH, (height - TOP - BOTTOM) / height
        axes = figure.add_axes((LEFT / WIDTH, BOTTOM / height, *size), frame_on=False)
        axes.locator_params("x", nbins=4, steps=[1, 2, 2.5, 5, 10])
        axes.locator_params("y", nbins=6, steps=[1, 2, 5, 10])
        yield figure, axes


def _scale_logarithmically(axes: Axes, values: Sequence[float]) -> None:
    """Up to the first power of ten the axis is linear, so that 0 has a place."""
    least = min((value for value in values if value > 0), default=1.0)
    first = 10.0 ** math.floor(math.log10(least))
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    axes.set_xlim(0 if min(values) == 0 else first, max(*values, 10 * first))


def _draw_line(axes: Axes, line: Line) -> None:
    at, values, low, high = zip(*line.rows, strict=True)
    look: dict[str, Any] = {"color": COLOURS[line.tone], "clip_on": False}
    if low != high:
        axes.fill_between(at, low, high, alpha=0.16, linewidth=0, **look)
    look["linestyle"] = (0, line.dashes) if line.dashes else "-"
    axes.plot(at, values, marker="o" if len(at) == 1 else "", **look)


def _draw_spot(axes: Axes, spot: Spot) -> None:
    look: dict[str, Any] = {"color": COLOURS[spot.tone], "clip_on": False}
    (x, *across), (y, *up) = spot.x, spot.y
    axes.plot(across, (y, y), alpha=0.45, **look)
    axes.plot((x, x), up, alpha=0.45, **look)
    fill = look["color"] if spot.best else COLOURS["paper"]
    axes.plot(x, y, "o", markersize=8, markeredgewidth=1.5, markerfacecolor=fill, **look)


def _label(axes: Axes, x: Axis, y: Axis) -> None:
    axes.autoscale_view()  # now, since what follows has to know where values lie
    axes.set_title(y.label)
    axes.set_xlabel(x.label)
    axes.xaxis.set_major_formatter(lambda value, _: write_tick(value, x.percent))
    axes.yaxis.set_major_formatter(lambda value, _: write_tick(value, y.percent))
    axes.minorticks_off()


def write_tick(value: float, percent: bool = False) -> str:
    if percent:
        return f"{100 * value:.3g}{SPACE}%"
    return f"{value:,.6g}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-")


def _describe(lines: Sequence[Line]) -> str:
    return "; ".join(
        f"{line.name}: {format_number(line.rows[0][1])} at {format_number(line.rows[0][0])}, "
        f"{format_number(line.rows[-1][1])} at {format_number(line.rows[-1][0])}"
        for line in lines
    )


def _inline(figure: Figure, described: str) -> Markup:
    """The paths and texts of a figure and nothing else: no id, link, script or style sheet."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page has fonts of its own
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = ElementTree.fromstring(_clean(out.getvalue()))
    shapes = {path.get("id"): path.get("d", "") for path in drawn.iter(f"{SVG}path")}
    root = ElementTree.Element("svg", {"class": "chart", "viewBox": drawn.attrib["viewBox"]})
    root.attrib |= {"role": "img", "aria-label": _clean(described)}
    ElementTree.SubElement(root, "title").text = _clean(described)
    for element in drawn.iter():
        x, y = element.get("x", ""), element.get("y", "")
        given = {"style": _use_variables(element.get("style", ""))}
        if element.tag == f"{SVG}text":
            ElementTree.SubElement(root, "text", given | {"x": x, "y": y}).text = element.text
        elif element.tag == f"{SVG}use":
            given |= {"d": shapes[element.attrib[LINK][1:]], "transform": f"translate({x} {y})"}
            ElementTree.SubElement(root, "path", given)
        elif element.tag == f"{SVG}path" and "id" not in element.attrib:
            ElementTree.SubElement(root, "path", given | {"d": element.attrib["d"]})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(text: str) -> str:
    return re.sub(NO_XML, "\N{REPLACEMENT CHARACTER}", text)


def _use_variables(style: str) -> str:
    """The page's font, and its variables in place of the colours."""
    style = re.sub("font[a-z-]*: [^;]*;? ?", "", style)
    return re.sub("#([0-9a-f]{6})", lambda hit: f"var(--{TONES[int(hit[1], 16) - 1]})", style)
