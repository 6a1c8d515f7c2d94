"""Curves and label matrices that an evaluation recorded: true to the numbers, safe, bounded."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from efface.records import Point
from efface.reporting.recorded_curves import FRAME, name_model, recorded_chart
from tests.reporting.full_runs import make_curve, make_points
from tests.reporting.pages import HOSTILE, elements


def places(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (p.split(",") for p in e.attrib["points"].split())]
        for e in elements(svg, "polyline", "curve")
    ]


def test_there_is_a_line_and_a_shade_per_model():
    chart = recorded_chart(make_curve())
    assert chart is not None
    assert [line.name for line in chart.lines] == [
        "this model", "original model", "retrained model",
    ]  # fmt: skip
    assert len(elements(chart.svg, "polygon", "band")) == 3
    assert "share of samples against copy distance (L2)" in chart.svg


def test_heights_follow_the_values():
    curve = make_curve()
    curve.lines = {"result": make_points({0: 0.0, 1: 0.5, 2: 1.0}, 0.0)}
    chart = recorded_chart(curve)
    assert chart is not None
    (a, b, c) = places(chart.svg)[0]
    assert b[1] == pytest.approx((a[1] + c[1]) / 2, abs=0.01)
    assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.01)
    assert a[1] > c[1] == pytest.approx(FRAME.top, abs=0.01)


def test_a_budget_of_zero_has_a_place_on_a_logarithmic_axis():
    curve = make_curve().model_copy(update={"log_x": True})
    curve.lines = {"result": make_points({0: 0.1, 1: 0.2, 10: 0.3, 100: 0.4})}
    chart = recorded_chart(curve)
    assert chart is not None and chart.logarithmic
    xs = [x for x, _ in places(chart.svg)[0]]
    assert xs[0] == FRAME.left and xs[2] - xs[1] == pytest.approx(xs[3] - xs[2], abs=0.02)
    labels = [e.text for e in elements(chart.svg, "text", "tick")]
    assert "0" in labels and "100" in labels


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_what_is_no_number_is_left_out(value: float):
    curve = make_curve()
    points = make_points({0: 0.1, 1: 0.2})
    curve.lines = {"result": [*points, Point(x=2, value=value, low=0, high=0)]}
    chart = recorded_chart(curve, [("level", value)])
    assert chart is not None and len(places(chart.svg)[0]) == 2
    curve.lines = {"result": [Point(x=value, value=0, low=0, high=0)]}
    assert recorded_chart(curve) is None


@pytest.mark.parametrize("x", [0.0, 1.0, -5.0, 1e12])
@pytest.mark.parametrize("log_x", [False, True])
def test_one_point_is_drawn_inside_the_frame(x: float, log_x: bool):
    curve = make_curve().model_copy(update={"log_x": log_x})
    curve.lines = {"result": make_points({x: 0.3})}
    chart = recorded_chart(curve)
    if chart is None:
        assert log_x and x < 0
        return
    dot = elements(chart.svg, "circle", "dot")[0]
    assert 0 <= float(dot.attrib["cx"]) <= FRAME.width
    assert 0 <= float(dot.attrib["cy"]) <= FRAME.height


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_stay_text(evil: str):
    curve = make_curve(evil)
    curve = curve.model_copy(update={"x_label": evil, "y_label": evil})
    curve.lines = {evil: make_points({0: 0.1, 1: 0.2})}
    chart = recorded_chart(curve)
    assert chart is not None
    root = ElementTree.fromstring(chart.svg)
    assert {e.tag for e in root.iter()} <= {"svg", "title", "line", "text", "polyline", "polygon"}
    assert not re.search(r"<(script|img)", chart.svg)


@pytest.mark.parametrize(
    "line, words",
    [
        ("result", "this model"),
        ("result_multi_step", "this model, sampled in many steps"),
        ("retrained_1_images", "retrained model, with 1 image"),
        ("result_by hand", "this model, by hand"),
        ("results", "results"),
        ("other_labels", "original model, other labels"),
    ],
)
def test_lines_are_named_in_words(line: str, words: str):
    assert name_model(line) == words
