"""Curves and label matrices that an evaluation recorded: true to the numbers, safe, bounded."""

from __future__ import annotations

import math
import re
import warnings
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.evaluation.wording import SPACE, shorten
from efface.records import Point
from efface.reporting.recorded_curves import name_model, recorded_chart
from tests.reporting.full_runs import make_curve, make_points
from tests.reporting.pages import HOSTILE, assert_inside, bands, curves, dots, texts


def test_there_is_a_line_and_a_band_per_model():
    chart = recorded_chart(make_curve())
    assert chart is not None
    assert [line.name for line in chart.lines] == [
        "this model", "original model", "retrained model",
    ]  # fmt: skip
    for tone in ("result", "original", "retrained"):
        assert len(curves(chart.svg, tone)) == len(bands(chart.svg, tone)) == 1
    assert chart.caption == "Copies by distance"
    assert {"share of samples", "copy distance (L2)"} <= texts(chart.svg).keys()
    assert "share of samples against copy distance (L2)" in chart.svg


def test_heights_follow_the_values():
    curve = make_curve()
    curve.lines = {"result": make_points({0: 0.0, 1: 0.5, 2: 1.0}, 0.0)}
    chart = recorded_chart(curve)
    assert chart is not None
    ((a, b, c),) = curves(chart.svg, "result")
    assert b[1] == pytest.approx((a[1] + c[1]) / 2, abs=0.01)
    assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.01)
    assert a[1] > c[1]
    written = texts(chart.svg)
    for text, (_, y) in ((f"0{SPACE}%", a), (f"100{SPACE}%", c)):
        assert written[text][1] == pytest.approx(y, abs=6)


def test_a_budget_of_zero_has_a_place_on_a_logarithmic_axis():
    curve = make_curve().model_copy(update={"log_x": True})
    curve.lines = {"result": make_points({0: 0.1, 1: 0.2, 10: 0.3, 100: 0.4})}
    chart = recorded_chart(curve)
    assert chart is not None and chart.logarithmic
    ((zero, one, ten, hundred),) = curves(chart.svg, "result")
    assert hundred[0] - ten[0] == pytest.approx(ten[0] - one[0], abs=0.02)
    assert zero[0] + 20 < one[0]
    written = texts(chart.svg)
    for text, (x, _) in (("0", zero), ("1", one), ("10", ten), ("100", hundred)):
        assert written[text][0] == pytest.approx(x, abs=0.02)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_what_is_no_number_is_left_out(value: float):
    curve = make_curve()
    points = make_points({0: 0.1, 1: 0.2})
    curve.lines = {"result": [*points, Point(x=2, value=value, low=0, high=0)]}
    chart = recorded_chart(curve, {"level": value})
    assert chart is not None and [len(c) for c in curves(chart.svg, "result")] == [2]
    assert [line.name for line in chart.lines] == ["this model"]
    curve.lines = {"result": [Point(x=value, value=0, low=0, high=0)]}
    assert recorded_chart(curve) is None


NUMBERS = st.floats() | st.sampled_from([0.0, 5e-324, 1e-29, 1e29, -1e29, 1e12])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[NUMBERS] * 4), max_size=4), st.booleans(), NUMBERS)
def test_whatever_was_recorded_is_drawn_inside_the_frame_or_left_out(rows, log_x, height):
    curve = make_curve().model_copy(update={"log_x": log_x})
    curve.lines = {"result": [Point(x=x, value=v, low=a, high=b) for x, v, a, b in rows]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = recorded_chart(curve, {"level": height})
    if chart is not None:
        assert_inside(chart.svg)


def test_without_finite_ends_there_is_no_band():
    curve = make_curve()
    curve.lines = {"result": [Point(x=x, value=0.5, low=math.nan, high=math.inf) for x in (0, 1)]}
    chart = recorded_chart(curve)
    assert chart is not None and bands(chart.svg, "result") == []
    assert len(curves(chart.svg, "result")) == 1


@pytest.mark.parametrize("x", [0.0, 1.0, -5.0, 1e12])
@pytest.mark.parametrize("log_x", [False, True])
def test_one_point_is_drawn_inside_the_frame(x: float, log_x: bool):
    curve = make_curve().model_copy(update={"log_x": log_x})
    curve.lines = {"result": make_points({x: 0.3})}
    chart = recorded_chart(curve)
    if chart is None:
        assert log_x and x < 0
        return
    assert len(dots(chart.svg, "result")) == 1
    assert_inside(chart.svg)


def test_levels_are_drawn_and_named():
    chart = recorded_chart(make_curve(), {"as before forgetting": 0.4, "as retrained": 0.0})
    assert chart is not None and len(curves(chart.svg, "soft")) == 2
    names = [line.name for line in chart.lines]
    assert names[-2:] == ["as before forgetting", "as retrained"]


def test_ways_of_one_model_differ_in_their_dashes_and_hide_no_other_by_bands():
    curve, names = make_curve(), ("result_1_images", "result_4_images", "retrained_1_images")
    curve.lines |= {name: make_points({0: 0.1, 1: 0.2}) for name in names}
    chart = recorded_chart(curve)
    assert chart is not None
    dashes = {line.name: line.dashes for line in chart.lines}
    one, four, other = (dashes[name_model(name)] for name in names)
    assert one == other != four and () not in (one, four)
    assert len(bands(chart.svg, "result")) == 1 and len(curves(chart.svg, "result")) == 3


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_stay_text(evil: str):
    curve = make_curve(evil)
    curve = curve.model_copy(update={"x_label": evil, "y_label": evil})
    curve.lines = {evil: make_points({0: 0.1, 1: 0.2})}
    chart = recorded_chart(curve)
    assert chart is not None
    root = ElementTree.fromstring(chart.svg)
    assert {e.tag for e in root.iter()} <= {"svg", "title", "path", "text"}
    assert shorten(evil) in texts(chart.svg)
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
