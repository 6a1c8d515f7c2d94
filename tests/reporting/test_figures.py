"""Inline SVG: well formed, described, and true to the numbers."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from efface.reporting.figures import FRAME, Line, guard_chart, line_chart, loss_charts
from efface.reporting.whiskers import whiskers
from tests.reporting.conftest import make_result
from tests.reporting.pages import elements


def test_every_phase_gets_losses_and_gradient_norm():
    points = [(1.0, 2.0), (2.0, 1.0)]
    names = ("retain_loss", "forget_loss", "gradient_norm")
    curves = {f"{p}_{n}": points for p in ("fake_score", "student") for n in names}
    captions = [chart.caption for chart in loss_charts(curves | {"images_per_second": points})]
    assert captions == [
        "fake score: loss",
        "fake score: gradient norm",
        "student: loss",
        "student: gradient norm",
    ]


def test_a_side_without_rows_is_not_drawn():
    curves = {"student_retain_loss": [(1.0, 2.0)], "student_forget_loss": [(1.0, 0.0)]}
    assert [line.name for line in loss_charts(curves)[0].lines] == ["retain"]


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-9, 1e12])
def test_any_curve_stays_inside_its_frame(count: int, value: float):
    points = [(float(n), value * (1 + n % 3)) for n in range(count)]
    svg = line_chart("loss", [Line(name="a", tone="retain", points=points)]).svg
    for curve in elements(svg, "polyline", "curve"):
        for point in curve.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= FRAME.width and 0 <= y <= FRAME.height


def test_a_wide_range_gets_a_logarithmic_axis():
    wide = [(1.0, 100.0), (2.0, 0.5)]
    assert line_chart("loss", [Line(name="a", tone="plain", points=wide)]).logarithmic
    signed = [(1.0, 100.0), (2.0, -0.5)]
    assert not line_chart("loss", [Line(name="a", tone="plain", points=signed)]).logarithmic


def test_the_guard_shows_its_limit():
    guard = [{"step": 100, "distance": 1.0}, {"step": 200, "distance": math.nan}]
    chart = guard_chart(guard, 0.25)
    assert chart is not None
    assert len(elements(chart.svg, "line", "limit")) == 1
    assert guard_chart([], 0.25) is None


def test_figures_are_described_for_those_who_cannot_see_them():
    result = make_result("fid", (6.0, 5.5, 6.5), (5.9, 5.4, 6.4))
    root = ElementTree.fromstring(str(whiskers(result)))
    assert root.attrib["role"] == "img"
    assert "6.00 (5.50 to 6.50)" in root.attrib["aria-label"]
    assert root.findtext("title") == root.attrib["aria-label"]


def test_names_in_figures_are_escaped():
    line = Line(name='"><script>', tone="plain", points=[(1.0, 1.0)])
    svg = line_chart("<b>", [line]).svg
    assert not re.search(r"<(script|b)>", svg)
    ElementTree.fromstring(svg)
