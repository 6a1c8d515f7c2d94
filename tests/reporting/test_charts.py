"""Charts: true to the numbers, described, inert, and the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.evaluation.wording import SPACE, shorten
from efface.reporting.charts import (
    Axis,
    Chart,
    Line,
    Row,
    Spot,
    level,
    line_chart,
    spot_chart,
    write_tick,
)  # fmt: skip
from tests.reporting.pages import (
    HOSTILE,
    assert_inside,
    bands,
    curves,
    dots,
    elements,
    places,
    texts,
)  # fmt: skip

STEP = Axis("step")
LETTER = 6.2  # room that a letter takes


def make_line(*values: float, name: str = "a", tone: str = "result", half: float = 0.0) -> Line:
    rows: list[Row] = [(float(n), v, v - half, v + half) for n, v in enumerate(values)]
    return Line(name=name, tone=tone, rows=rows)


def draw(*lines: Line, x: Axis = STEP, y: Axis = Axis("loss")) -> Chart:  # noqa: B008
    return line_chart("a caption", lines, x, y)


def ticks(svg: str, anchor: str) -> list[str]:
    """What stands beside the vertical axis ("end") or below the other one ("middle")."""
    return [e.text or "" for e in elements(svg, "text", f"text-anchor: {anchor}")]


def heights(chart: Chart) -> list[float]:
    return [float(text.replace(",", "")) for text in ticks(chart.svg, "end")]


def test_a_line_follows_its_values_within_its_band():
    svg = draw(make_line(1.0, 2.0, 3.0, half=0.5)).svg
    ((a, b, c),) = curves(svg, "result")
    assert b == (pytest.approx((a[0] + c[0]) / 2), pytest.approx((a[1] + c[1]) / 2))
    assert a[0] < c[0] and a[1] > c[1]
    (band,) = bands(svg, "result")
    edge = {round(y, 2) for x, y in places(band) if abs(x - b[0]) < 0.01}
    assert edge == {round(b[1] + sign * (a[1] - b[1]) / 2, 2) for sign in (-1, 1)}


def test_a_line_without_a_range_has_no_band_and_one_value_is_a_dot():
    assert bands(draw(make_line(1.0, 2.0)).svg, "result") == []
    chart = draw(make_line(0.3))
    assert len(dots(chart.svg, "result")) == 1
    assert_inside(chart.svg)


@pytest.mark.parametrize("highest", [0.7, 1.0, 3.0, 21.0, 9.7e4])
def test_ticks_are_round_and_few(highest: float):
    found = heights(draw(make_line(0.0, highest)))
    assert 3 <= len(found) <= 7 and found[0] == 0
    step = found[1] - found[0]
    assert float(f"{step:e}".partition("e")[0]) in (1, 2, 5)
    assert found == pytest.approx([n * step for n in range(len(found))])


def test_an_axis_begins_at_0_where_that_is_not_far():
    assert heights(draw(make_line(1.0, 4.0)))[0] == 0
    assert heights(draw(make_line(9.0, 10.0)))[0] >= 9
    assert heights(draw(make_line(-9.0, 10.0)))[0] < 0


@pytest.mark.parametrize("highest", [0.004, 0.4, 0.95, 1.0])
def test_shares_have_ticks_in_percent_and_none_beyond_1(highest: float):
    found = ticks(draw(make_line(0.0, highest), y=Axis("share", percent=True)).svg, "end")
    assert all(text.endswith(f"{SPACE}%") for text in found)
    assert 0 <= max(float(text.removesuffix(f"{SPACE}%")) for text in found) <= 100


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0"), (0.1 + 0.2, "0.3"), (1500.0, "1,500"),
        (1e6, "1e6"), (1e12, "1e12"), (1e-5, "1e-5"), (-2e-12, "-2e-12"),
    ],
)  # fmt: skip
def test_ticks_are_short(value: float, text: str):
    assert write_tick(value) == text


@pytest.mark.parametrize("last", [7, 90, 1500, 99999])
def test_ticks_do_not_cover_each_other(last: int):
    line = Line(name="a", tone="plain", rows=[(float(x), 1.0, 1.0, 1.0) for x in (0, last)])
    written = elements(draw(line).svg, "text", "text-anchor: middle")
    found = [(float(e.attrib["x"]), len(e.text or "")) for e in written]
    assert len(found) >= 3
    for (left, a), (right, b) in zip(found, found[1:], strict=False):
        assert right - left >= LETTER * (a + b) / 2


def test_a_level_reaches_from_end_to_end():
    line = make_line(0.0, 1.0, 2.0)
    ((a, b),) = curves(draw(line, level("limit", 1.0, [line])).svg, "soft")
    ((first, middle, last),) = curves(draw(line, level("limit", 1.0, [line])).svg, "result")
    assert (a[0], b[0]) == (first[0], last[0])
    assert a[1] == b[1] == pytest.approx(middle[1])
    one = make_line(0.5)
    ((a, b),) = curves(draw(one, level("limit", 1.0, [one])).svg, "soft")
    assert b[0] > a[0] + 100


def test_charts_are_described_for_those_who_cannot_see_them():
    chart = draw(make_line(0.5, 0.25, name="this model"), make_line(1, 2, name="the other"))
    root = ElementTree.fromstring(chart.svg)
    assert root.attrib["role"] == "img"
    told = "this model: 0.500 at 0, 0.250 at 1.00; the other: 1.00 at 0, 2.00 at 1.00"
    assert root.attrib["aria-label"] == root.findtext("title") == f"loss against step. {told}"


@pytest.mark.parametrize("evil", [*HOSTILE, "$x^2$", "$\\frac{", "\\$", "日本 \ufffe\uffff", "_a"])
def test_hostile_names_stay_text_and_nothing_else_is_in_a_chart(evil: str):
    lines = [make_line(1, 2, name=evil), make_line(2, 1, name="b", half=1)]
    spots = [Spot(name=evil, tone="result", x=(1, 0, 2), y=(1, 0, 2), best=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svgs = [draw(*lines, x=Axis(evil), y=Axis(evil)).svg]
        svgs += [spot_chart(spots, Axis(evil), Axis(evil), evil)]
    for svg in svgs:
        assert re.sub("[\ufffe\uffff]", "\ufffd", evil) in texts(svg)
        for element in ElementTree.fromstring(svg).iter():
            assert element.tag in {"svg", "title", "path", "text"}
            assert element.attrib.keys() <= {
                "class", "viewBox", "role", "aria-label", "style", "d", "transform", "x", "y",
            }  # fmt: skip
            assert "url" not in element.get("style", "")


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1))
def test_any_name_can_be_drawn(name: str):
    name = shorten(name)
    chart = draw(make_line(1, 2, name=name), make_line(2, 1), y=Axis(name))
    ElementTree.fromstring(chart.svg)


def test_every_colour_is_a_variable_of_the_page():
    lines = [make_line(1, 2, tone=tone, half=1) for tone in ("result", "original", "weak", "plain")]
    spot = Spot(name="1", tone="result", x=(1, 0, 2), y=(1, 0, 2), best=True)
    for svg in (draw(*lines).svg, spot_chart([spot], STEP, STEP, "")):
        styles = [e.attrib["style"] for e in ElementTree.fromstring(svg) if e.tag != "title"]
        colours = re.findall("(?:fill|stroke): ([^;]+)", ";".join(styles))
        assert {colour for colour in colours if not re.fullmatch(r"var\(--\w+\)", colour)} <= {
            "none"
        }
        assert "font" not in "".join(styles)


def test_a_chart_depends_on_nothing_but_what_it_shows():
    import matplotlib

    first = draw(make_line(1, 2, half=1)).svg
    own = {"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30, "axes.grid": False}
    with matplotlib.rc_context(own):
        before = dict(matplotlib.rcParams)
        assert draw(make_line(1, 2, half=1)).svg == first
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_for_charts_alone_and_pyplot_never():
    code = (
        "import sys, efface.reporting; assert 'matplotlib' not in sys.modules\n"
        "from efface.reporting.charts import Axis, Line, line_chart\n"
        "line = Line(name='a', tone='plain', rows=[(0, 1, 1, 1), (1, 2, 2, 2)])\n"
        "line_chart('a', [line], Axis('x'), Axis('y'))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_spots_lie_where_better_is_right_and_above():
    spots = [
        Spot(name=str(x), tone="result", x=(x, x - 1, x + 1), y=(x, x - 1, x + 1), best=x > 2)
        for x in (1.0, 3.0, 5.0)
    ]
    a, b, c = dots(spot_chart(spots, STEP, STEP, ""), "result")
    assert a[0] < b[0] < c[0] and a[1] > b[1] > c[1]
    less = Axis("less", less_is_better=True)
    a, b, c = dots(spot_chart(spots, less, less, ""), "result")
    assert a[0] > b[0] > c[0] and a[1] < b[1] < c[1]
    svg = spot_chart(spots, STEP, STEP, "")
    assert {"1.0", "3.0", "5.0"} <= texts(svg).keys()
    assert_inside(svg)
