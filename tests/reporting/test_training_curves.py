"""The curves of a training run: which there are, how they are thinned, and the guard's limit."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from efface.reporting.charts import Chart
from efface.reporting.training_curves import BINS, guard_chart, training_charts
from tests.reporting.conftest import make_record
from tests.reporting.pages import assert_inside, bands, curves

RECORD = make_record(guard=[])


def loss_chart(*points: tuple[float, float]) -> Chart:
    (chart,) = training_charts({"student_retain_loss": list(points)}, RECORD)
    return chart


def test_every_phase_gets_losses_and_gradient_norm():
    points = [(1.0, 2.0), (2.0, 1.0)]
    names = ("retain_loss", "forget_loss", "gradient_norm")
    logged = {f"{p}_{n}": points for p in ("fake_score", "student") for n in names}
    captions = [
        chart.caption for chart in training_charts(logged | {"images_per_second": points}, RECORD)
    ]
    assert captions == [
        "fake score: loss",
        "fake score: gradient norm",
        "student: loss",
        "student: gradient norm",
    ]


def test_a_side_without_rows_is_not_drawn():
    logged = {"student_retain_loss": [(1.0, 2.0)], "student_forget_loss": [(1.0, 0.0)]}
    assert [line.name for line in training_charts(logged, RECORD)[0].lines] == ["retain"]
    zero = {"student_forget_loss": [(1.0, 0.0), (2.0, 0.0)]}
    assert [line.name for line in training_charts(zero, RECORD)[0].lines] == ["forget"]


@pytest.mark.parametrize("value", [1e308, -1e308, 1e-320])
def test_numbers_too_large_or_too_small_to_draw_are_left_out(value: float):
    chart = loss_chart((1.0, 2.0), (2.0, value), (3.0, 1.0))
    assert [row[1] for row in chart.lines[0].rows] == [2.0, 1.0]
    assert training_charts({"student_retain_loss": [(1.0, value)]}, RECORD) == []
    assert guard_chart([{"step": 1, "distance": value}], 0.25) is None


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-9, 1e12])
def test_any_curve_stays_inside_its_frame(count: int, value: float):
    chart = loss_chart(*((float(n), value * (1 + n % 3)) for n in range(count)))
    assert_inside(chart.svg)
    assert all(len(curve) <= BINS for curve in curves(chart.svg, "retain"))


def test_a_long_curve_is_its_mean_within_its_range():
    chart = loss_chart(*((float(n), float(n % 2)) for n in range(10 * BINS)))
    assert {row[1:] for row in chart.lines[0].rows} == {(0.5, 0.0, 1.0)}
    assert len(bands(chart.svg, "retain")) == 1


def test_a_wide_range_gets_a_logarithmic_axis():
    assert loss_chart((1.0, 100.0), (2.0, 0.5)).logarithmic
    assert not loss_chart((1.0, 100.0), (2.0, -0.5)).logarithmic


def test_the_guard_shows_its_limit():
    guard = [{"step": 100, "distance": 1.0}, {"step": 200, "distance": math.nan}]
    chart = guard_chart(guard, 0.25)
    assert chart is not None
    assert [line.name for line in chart.lines] == ["distance", "limit"]
    assert {row[1] for row in chart.lines[1].rows} == {1.25}
    assert len(curves(chart.svg, "bad")) == 1
    unlimited = guard_chart(guard, None)
    assert unlimited is not None and curves(unlimited.svg, "bad") == []
    assert guard_chart([], 0.25) is None


def test_names_of_phases_are_escaped():
    evil = '"><script><b>'
    (chart,) = training_charts({f"{evil}_retain_loss": [(1.0, 1.0)]}, RECORD)
    assert evil in chart.caption
    assert not re.search(r"<(script|b)>", chart.svg)
    ElementTree.fromstring(chart.svg)
